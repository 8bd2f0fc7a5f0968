//! The command line that containerd gives to shims: Go's flags, then a verb.

use std::path::PathBuf;

/// What the shim is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Become a server, or find the one that runs, and print its address.
    Start,
    /// Clean up after a server that died.
    Delete,
    /// Print what this is, for people.
    Version,
    /// Print what this and its runtime are, for programs.
    Info,
}

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// containerd namespace.
    pub namespace: String,
    /// Container id.
    pub id: String,
    /// Address of the caller's gRPC socket.
    pub address: String,
    /// Bundle directory; empty: the working directory.
    pub bundle: PathBuf,
    /// What to do.
    pub verb: Verb,
}

/// A command line that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// An option that shims do not have.
    #[error("unknown option {0}")]
    Unknown(String),
    /// An option at the end without its value.
    #[error("option {0} needs a value")]
    Value(String),
    /// Neither start nor delete.
    #[error("unknown verb {0:?}: start and delete are known, and the options -v and -info")]
    Verb(String),
    /// `-namespace` or `-id` is missing.
    #[error("-namespace and -id are needed")]
    Missing,
}

impl Arguments {
    /// Reads the words after the program's name. Options have one dash or two, their value follows or is joined by `=`.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgumentsError> {
        let mut parsed = Self {
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: PathBuf::new(),
            verb: Verb::Start,
        };
        let mut verb = None;
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-') else {
                verb = Some(word);
                break;
            };
            let option = option.strip_prefix('-').unwrap_or(option);
            let (name, joined) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            match name {
                "debug" => continue,
                "v" | "version" => {
                    return Ok(Self {
                        verb: Verb::Version,
                        ..parsed
                    });
                }
                "info" => {
                    parsed.verb = Verb::Info;
                    continue;
                }
                _ => {}
            }
            if !["namespace", "id", "address", "bundle", "publish-binary", "socket"].contains(&name) {
                return Err(ArgumentsError::Unknown(word));
            }
            let value = joined
                .or_else(|| words.next())
                .ok_or_else(|| ArgumentsError::Value(word.clone()))?;
            match name {
                "namespace" => parsed.namespace = value,
                "id" => parsed.id = value,
                "address" => parsed.address = value,
                "bundle" => parsed.bundle = value.into(),
                _ => {}
            }
        }
        if parsed.verb == Verb::Info {
            return Ok(parsed);
        }
        parsed.verb = match verb.as_deref() {
            Some("start") => Verb::Start,
            Some("delete") => Verb::Delete,
            other => return Err(ArgumentsError::Verb(other.unwrap_or_default().to_owned())),
        };
        if parsed.namespace.is_empty() || parsed.id.is_empty() {
            return Err(ArgumentsError::Missing);
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_containerd_is_read() {
        let words = "-namespace moby --id=c1 -address /run/c.sock -publish-binary /usr/bin/containerd -debug -bundle /b delete";
        let parsed = Arguments::parse(words.split(' ').map(str::to_owned)).unwrap();
        assert_eq!(
            (parsed.namespace.as_str(), parsed.id.as_str(), parsed.verb),
            ("moby", "c1", Verb::Delete)
        );
        for wrong in [
            "start",
            "-namespace x -id y",
            "-namespace x -id y fly",
            "-x start",
            "-namespace",
        ] {
            assert!(
                Arguments::parse(wrong.split(' ').map(str::to_owned)).is_err(),
                "{wrong}"
            );
        }
    }
}
