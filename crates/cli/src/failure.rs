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
        Error::Denied { .. } => Some("run as root, or as a member of the socket's group (usually `docker`)"),
        _ => None,
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
