//! Seccomp: from a profile with conditions (Docker's file format) to the flat rules of `config.json`.
//!
//! Sources: OCI runtime-spec config-linux.md, "Seccomp"; Docker's documentation of seccomp profiles.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The default profile; the same rules as Docker's.
static DEFAULT: LazyLock<Profile> = LazyLock::new(|| {
    // A file of ours, read by a test: an empty profile would deny everything, and never let more through.
    serde_json::from_str(include_str!("../../../../packaging/seccomp-default.json")).unwrap_or_default()
});

/// The rules for one container.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seccomp {
    default_action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    architectures: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    syscalls: Vec<Rule>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    syscalls: Option<Vec<ConditionalRule>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConditionalRule {
    /// The old form of a single name.
    name: String,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Argument>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The default rules for a process with these capabilities.
pub(crate) fn default(capabilities: &[String]) -> Seccomp {
    resolve(&DEFAULT, capabilities)
}

/// The rules of a profile that the client sent as JSON.
pub(crate) fn custom(json: &str, capabilities: &[String]) -> Result<Seccomp> {
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}")))?;
    if profile
        .architectures
        .as_ref()
        .is_some_and(|list| !list.is_empty())
        && profile.arch_map.as_ref().is_some_and(|list| !list.is_empty())
    {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ));
    }
    Ok(resolve(&profile, capabilities))
}

fn resolve(profile: &Profile, capabilities: &[String]) -> Seccomp {
    let (own, native) = architecture();
    let mut architectures = profile.architectures.clone().unwrap_or_default();
    if let Some(map) = profile
        .arch_map
        .iter()
        .flatten()
        .find(|map| map.architecture == native)
    {
        architectures.push(map.architecture.clone());
        architectures.extend(map.sub_architectures.iter().flatten().cloned());
    }
    let applies = |rule: &&ConditionalRule| {
        rule.includes.as_ref().is_none_or(|condition| {
            condition
                .arches
                .iter()
                .flatten()
                .next()
                .is_none_or(|_| condition.arches.iter().flatten().any(|arch| arch == own))
                && condition
                    .caps
                    .iter()
                    .flatten()
                    .all(|cap| capabilities.contains(cap))
                && condition.min_kernel.as_deref().is_none_or(kernel_at_least)
        }) && rule.excludes.as_ref().is_none_or(|condition| {
            !condition.arches.iter().flatten().any(|arch| arch == own)
                && !condition
                    .caps
                    .iter()
                    .flatten()
                    .any(|cap| capabilities.contains(cap))
                && !condition.min_kernel.as_deref().is_some_and(kernel_at_least)
        })
    };
    let rules = profile
        .syscalls
        .iter()
        .flatten()
        .filter(applies)
        .map(|rule| Rule {
            names: match &rule.names {
                Some(names) if rule.name.is_empty() => names.clone(),
                _ => vec![rule.name.clone()],
            },
            action: rule.action.clone(),
            errno_ret: rule.errno_ret,
            args: rule.args.clone().unwrap_or_default(),
        });
    Seccomp {
        default_action: profile.default_action.clone(),
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags.clone().unwrap_or_default(),
        syscalls: rules.collect(),
    }
}

/// This machine's architecture in Go's word and in libseccomp's.
fn architecture() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
        "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
        "s390x" => ("s390x", "SCMP_ARCH_S390X"),
        "riscv64" => ("riscv64", "SCMP_ARCH_RISCV64"),
        "powerpc64" => ("ppc64le", "SCMP_ARCH_PPC64LE"),
        other => (other, ""),
    }
}

fn kernel_at_least(wanted: &str) -> bool {
    static RELEASE: LazyLock<(u32, u32)> =
        LazyLock::new(|| version(&rustix::system::uname().release().to_string_lossy()));
    *RELEASE >= version(wanted)
}

/// Major and minor number; what cannot be read is 0.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(seccomp: &Seccomp) -> Vec<&str> {
        seccomp
            .syscalls
            .iter()
            .filter(|rule| rule.action == "SCMP_ACT_ALLOW")
            .flat_map(|rule| &rule.names)
            .map(String::as_str)
            .collect()
    }

    #[test]
    fn the_default_profile_obeys_its_conditions() {
        let plain = default(&[]);
        assert_eq!(plain.default_action, "SCMP_ACT_ERRNO");
        assert!(names(&plain).len() > 350, "{}", names(&plain).len());
        assert!(names(&plain).contains(&"openat") && names(&plain).contains(&"ptrace"));
        assert!(!names(&plain).contains(&"mount") && !names(&plain).contains(&"bpf"));
        let clone3 = plain
            .syscalls
            .iter()
            .find(|rule| rule.names == ["clone3"])
            .unwrap();
        assert_eq!(clone3.errno_ret, Some(38));
        let admin = default(&["CAP_SYS_ADMIN".to_owned()]);
        assert!(names(&admin).contains(&"mount") && names(&admin).contains(&"clone3"));
        assert!(!admin.syscalls.iter().any(|rule| rule.names == ["clone3"]));
    }

    #[test]
    fn a_profile_of_the_users_own_is_read_or_refused() {
        let json =
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO"}]}"#;
        let seccomp = custom(json, &[]).unwrap();
        assert_eq!(seccomp.syscalls[0].names, ["chmod"]);
        assert!(
            custom("{", &[])
                .unwrap_err()
                .message
                .starts_with("Decoding seccomp profile failed")
        );
    }
}
