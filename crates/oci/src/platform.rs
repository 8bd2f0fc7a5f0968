//! Platforms: `linux/arm64/v8`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a CPU, in Go's words, normalised.
///
/// Source: OCI image-spec, image-index.md (platform); normalisation and matching as containerd's `platforms` documents it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, like `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, like `linux`.
    #[serde(default)]
    pub os: String,
    /// CPU variant, like `v7`; empty for the plain one.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "crate::config::null_is_default"
    )]
    pub variant: String,
    /// Version of the operating system (Windows).
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "crate::config::null_is_default"
    )]
    pub os_version: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Characters that no part may have.
    #[error(
        "{part:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The part.
        part: String,
        /// The whole.
        text: String,
    },
    /// A single word that is neither.
    #[error("{text:?}: unknown operating system or architecture: invalid argument")]
    Unknown {
        /// The word.
        text: String,
    },
    /// More than three parts.
    #[error("{text:?}: cannot parse platform specifier: invalid argument")]
    Parts {
        /// The whole.
        text: String,
    },
}

const SYSTEMS: [&str; 18] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];
const ARCHITECTURES: [&str; 28] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "x86_64",
    "aarch64",
    "armhf",
    "armel",
];

impl Platform {
    /// A platform of these words, normalised.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let os = match os.to_ascii_lowercase() {
            macos if macos == "macos" => "darwin".into(),
            other => other,
        };
        let (architecture, variant) =
            normal(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Platform {
            architecture,
            os,
            variant,
            os_version: String::new(),
        }
    }

    /// The platform this program was built for.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform::new(std::env::consts::OS, architecture, "")
    }

    /// The same in normal words: what a document says is not always normal.
    pub fn normalized(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            ..Platform::new(&self.os, &self.architecture, &self.variant)
        }
    }

    /// Whether what is built for `other` is exactly for this one (in normal words).
    pub fn matches(&self, other: &Platform) -> bool {
        let (one, two) = (self.normalized(), other.normalized());
        one.os == two.os && one.architecture == two.architecture && one.variant == two.variant
    }

    /// What this platform runs, best first: itself, lower variants, then the 32-bit kin.
    pub fn preferences(&self) -> Vec<Platform> {
        let own = self.normalized();
        let kin = |architecture: &str, variant: &str| Platform::new(&own.os, architecture, variant);
        let level = own.variant.trim_start_matches('v').parse::<u32>().ok();
        let mut list = vec![own.clone()];
        match own.architecture.as_str() {
            "amd64" => {
                list.extend(
                    (1..level.unwrap_or(1))
                        .rev()
                        .map(|lower| kin("amd64", &format!("v{lower}"))),
                );
                list.push(kin("386", ""));
            }
            "arm" => list.extend(
                (5..level.unwrap_or(7))
                    .rev()
                    .map(|lower| kin("arm", &format!("v{lower}"))),
            ),
            "arm64" => {
                list.extend(
                    (8..level.unwrap_or(8))
                        .rev()
                        .map(|lower| kin("arm64", &format!("v{lower}"))),
                );
                list.extend((5..=8).rev().map(|lower| kin("arm", &format!("v{lower}"))));
            }
            _ => {}
        }
        list
    }
}

/// Architecture and variant in normal words; the variant that is an architecture's plain one is left out.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.into(), variant.into())
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is missing is the host's.
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        // `windows(10.0.17763)/amd64` names a version.
        let (os, version) = match parts[0].strip_suffix(')').and_then(|rest| rest.split_once('(')) {
            Some((os, version)) => (os, version),
            None => (parts[0], ""),
        };
        for part in std::iter::once(os).chain(parts[1..].iter().copied()) {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            if part.is_empty() || !part.bytes().all(allowed) {
                return Err(PlatformError::Component {
                    part: part.into(),
                    text: text.into(),
                });
            }
        }
        let host = Platform::host();
        let mut platform = match parts.as_slice() {
            [_] => {
                let system = Platform::new(os, &host.architecture, &host.variant);
                let architecture = Platform::new(&host.os, os, "");
                if SYSTEMS.contains(&system.os.as_str()) {
                    system
                } else if ARCHITECTURES.contains(&architecture.architecture.as_str()) {
                    architecture
                } else {
                    return Err(PlatformError::Unknown { text: text.into() });
                }
            }
            [_, architecture] => Platform::new(os, architecture, ""),
            [_, architecture, variant] => Platform::new(os, architecture, variant),
            _ => return Err(PlatformError::Parts { text: text.into() }),
        };
        platform.os_version = version.into();
        Ok(platform)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_normalised() {
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows/amd64"),
            ("s390x", "linux/s390x"),
            ("i686", "linux/386"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                text.parse::<Platform>().map(|p| p.to_string()).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        assert_eq!(
            "linux".parse::<Platform>().unwrap().architecture,
            Platform::host().architecture
        );
        assert_eq!(
            "windows(10.0.17763)/amd64"
                .parse::<Platform>()
                .unwrap()
                .os_version,
            "10.0.17763"
        );
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for (text, words) in [
            ("", "invalid component"),
            ("linux/", "invalid component"),
            ("/amd64", "invalid component"),
            ("linux/&", "invalid component"),
            ("foo", "unknown operating system or architecture"),
            ("linux/arm/v7/x", "cannot parse platform specifier"),
        ] {
            let error = text.parse::<Platform>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn json_keeps_what_was_said() {
        let json = r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#;
        let platform: Platform = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&platform).unwrap(), json);
        assert!(platform.matches(&"linux/arm64".parse().unwrap()));
    }
}
