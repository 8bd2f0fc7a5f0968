//! How a command fails: words, a hint, an exit code.

use lighter_client::Error;
use lighter_stdx::error::chain;

/// The end of a command that did not do what was asked. An empty message prints nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What failed, on what, why.
    pub(crate) message: String,
    /// What the user can do about it.
    pub(crate) hint: Option<String>,
    /// The process's exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// With exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            hint: None,
            code: 1,
        }
    }

    /// Only a code: all was said, or there is nothing to say.
    pub(crate) fn silent(code: u8) -> Failure {
        Failure {
            message: String::new(),
            hint: None,
            code,
        }
    }

    /// With another code.
    pub(crate) fn with_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// With 1, and the hint that the engine's words suggest.
    pub(crate) fn of_engine(message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure {
            hint: hint_for(&message).map(str::to_owned),
            message,
            code: 1,
        }
    }

    /// With what the user can do about it.
    pub(crate) fn with_hint(mut self, hint: &str) -> Failure {
        self.hint = Some(hint.to_owned());
        self
    }

    /// All that is printed, from the message to the hint.
    pub(crate) fn text(&self) -> String {
        let mut text = self.message.clone();
        if !text.is_empty() {
            text.push('\n');
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let hint = hint(&error).map(str::to_owned);
        Failure {
            message: chain(&error),
            hint,
            code: 1,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::new(message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::NotRunning(_) => Some("start an engine (`lighterd`), or name one with -H or DOCKER_HOST"),
        Error::Connect { .. } => {
            Some("name an engine as unix:///path/of/its/socket or tcp://address:port, with -H or DOCKER_HOST")
        }
        Error::Denied { .. } => Some("run as root, or as a member of the socket's group (usually `docker`)"),
        Error::Engine { message, .. } => hint_for(message),
        _ => None,
    }
}

/// What helps against failures between the engine and a registry.
fn hint_for(message: &str) -> Option<&'static str> {
    let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if has(&["dns error", "failed to lookup address", "no such host"]) {
        Some(
            "the engine's host cannot find the registry by its name: see to its DNS (/etc/resolv.conf), or to the name",
        )
    } else if has(&["HTTP response to HTTPS client", "certificate"]) && has(&["https://"]) {
        Some("a registry without a known certificate has to be listed in the engine's insecure-registries")
    } else if has(&["https://", "http://"])
        && has(&[
            "Connection refused",
            "connection refused",
            "timed out",
            "unreachable",
        ])
    {
        Some(
            "the registry does not answer: see whether it runs, and to the engine's way there (a proxy, a firewall)",
        )
    } else {
        None
    }
}

/// Gathers what several things failed at, as Docker does: a line each, the exit code 1.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<Failure>);

impl Failures {
    pub(crate) fn add(&mut self, failure: impl Into<Failure>) {
        self.0.push(failure.into());
    }

    /// All as one; `Ok` without any.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let hint = self.0.iter().find_map(|failure| failure.hint.clone());
        match self.0.as_slice() {
            [] => Ok(()),
            all => {
                let lines: Vec<&str> = all.iter().map(|failure| failure.message.as_str()).collect();
                Err(Failure {
                    message: lines.join("\n"),
                    hint,
                    code: 1,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_cannot_be_reached_gets_a_hint_and_a_missing_image_none() {
        let hint = |message: &str| Failure::of_engine(message).hint.unwrap_or_default();
        assert!(
            hint("HEAD https://nosuch/v2/x/manifests/latest: dns error: failed to lookup address")
                .contains("DNS")
        );
        assert!(hint("Get \"https://r/v2/\": Connection refused (os error 111)").contains("does not answer"));
        assert_eq!(hint("No such image: nope:latest"), "");
    }
}
