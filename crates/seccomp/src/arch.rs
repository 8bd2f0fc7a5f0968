//! Architectures whose calls one kernel takes.

/// The names that a profile on this machine may list and that have an effect here.
#[cfg(target_arch = "x86_64")]
pub const NAMES: &[&str] = &["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"];
/// The names that a profile on this machine may list and that have an effect here.
#[cfg(target_arch = "aarch64")]
pub const NAMES: &[&str] = &["SCMP_ARCH_AARCH64"];

/// Whether a profile may list `name`: also of other machines, whose calls never get here.
pub(crate) fn is_known(name: &str) -> bool {
    const SHORT: [&str; 24] = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
        "NATIVE",
    ];
    name.strip_prefix("SCMP_ARCH_")
        .is_some_and(|short| SHORT.contains(&short))
}

/// One way to number the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    #[cfg(target_arch = "x86_64")]
    X86_64,
    #[cfg(target_arch = "x86_64")]
    X32,
    #[cfg(target_arch = "x86_64")]
    X86,
    #[cfg(target_arch = "aarch64")]
    Aarch64,
}

/// Added to x32 call numbers.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

impl Numbering {
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NATIVE: Self = Self::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(crate) const NATIVE: Self = Self::Aarch64;

    /// By the profile's name; an architecture of another machine is `None`, no call of it gets here.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            #[cfg(target_arch = "x86_64")]
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            #[cfg(target_arch = "x86_64")]
            "SCMP_ARCH_X32" => Some(Self::X32),
            #[cfg(target_arch = "x86_64")]
            "SCMP_ARCH_X86" => Some(Self::X86),
            #[cfg(target_arch = "aarch64")]
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*`: what the kernel tells a filter.
    pub(crate) fn audit(self) -> u32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86_64 | Self::X32 => 0xc000_003e,
            #[cfg(target_arch = "x86_64")]
            Self::X86 => 0x4000_0003,
            #[cfg(target_arch = "aarch64")]
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Whether arguments have 64 bits.
    pub(crate) fn is_wide(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86 => false,
            _ => true,
        }
    }

    /// The number of the call `name`.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86_64 => crate::table::x86_64::CALLS.number(name),
            #[cfg(target_arch = "x86_64")]
            Self::X86 => crate::table::x86::CALLS.number(name),
            #[cfg(target_arch = "x86_64")]
            Self::X32 => crate::table::x32::CALLS
                .number(name)
                .or_else(|| {
                    let absent = crate::table::x32::ABSENT.binary_search(&name).is_ok();
                    if absent {
                        None
                    } else {
                        crate::table::x86_64::CALLS.number(name)
                    }
                })
                .map(|number| number | X32_BIT),
            #[cfg(target_arch = "aarch64")]
            Self::Aarch64 => crate::table::aarch64::CALLS.number(name),
        }
    }
}
