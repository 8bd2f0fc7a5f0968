//! The profile as the configuration writes it.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp

use serde::{Deserialize, Deserializer};

/// A whole filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// For calls that no rule matches. Required: what nobody said cannot be guessed.
    pub default_action: Action,
    /// Error number of a default action that has one; missing: EPERM.
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_*`; our own is always in.
    #[serde(default, deserialize_with = "null")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*`; missing: `SPEC_ALLOW`.
    pub flags: Option<Vec<String>>,
    /// Socket that the notification descriptor is sent to.
    #[serde(default, deserialize_with = "null")]
    pub listener_path: String,
    /// Sent along.
    #[serde(default, deserialize_with = "null")]
    pub listener_metadata: String,
    /// Rules.
    #[serde(default, deserialize_with = "null")]
    pub syscalls: Vec<Rule>,
}

fn null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What to do with some calls.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Names of calls; those that an architecture lacks are left out there.
    #[serde(default, deserialize_with = "null")]
    pub names: Vec<String>,
    /// What to do.
    pub action: Action,
    /// Error number of an action that has one; missing: EPERM.
    pub errno_ret: Option<u32>,
    /// All must hold; but those of the same index are alternatives.
    #[serde(default, deserialize_with = "null")]
    pub args: Vec<Argument>,
}

/// A comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// 0 to 5.
    pub index: u8,
    /// Compared with; the mask of `MaskedEqual`.
    pub value: u64,
    /// Compared with after masking.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: Operator,
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident, $list:ident, $list_doc:literal; $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)*) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)*
        }
        #[doc = $list_doc]
        pub const $list: &[&str] = &[$($text),*];
    };
}

named! {
    /// What happens to a call.
    Action, ACTIONS, "Names of actions.";
    /// The thread dies (older name).
    Kill = "SCMP_ACT_KILL",
    /// The process dies.
    KillProcess = "SCMP_ACT_KILL_PROCESS",
    /// The thread dies.
    KillThread = "SCMP_ACT_KILL_THREAD",
    /// SIGSYS.
    Trap = "SCMP_ACT_TRAP",
    /// An error number is returned.
    Errno = "SCMP_ACT_ERRNO",
    /// The tracer is told.
    Trace = "SCMP_ACT_TRACE",
    /// It happens.
    Allow = "SCMP_ACT_ALLOW",
    /// It happens and is logged.
    Log = "SCMP_ACT_LOG",
    /// The listener decides.
    Notify = "SCMP_ACT_NOTIFY",
}

impl Default for Action {
    /// The strictest: a missing action must not allow anything.
    fn default() -> Self {
        Self::KillProcess
    }
}

named! {
    /// How an argument is compared (all unsigned).
    Operator, OPERATORS, "Names of operators.";
    /// `arg != value`
    NotEqual = "SCMP_CMP_NE",
    /// `arg < value`
    LessThan = "SCMP_CMP_LT",
    /// `arg <= value`
    LessEqual = "SCMP_CMP_LE",
    /// `arg == value`
    EqualTo = "SCMP_CMP_EQ",
    /// `arg >= value`
    GreaterEqual = "SCMP_CMP_GE",
    /// `arg > value`
    GreaterThan = "SCMP_CMP_GT",
    /// `arg & value == value_two`
    MaskedEqual = "SCMP_CMP_MASKED_EQ",
}
