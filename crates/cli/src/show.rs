//! What is shown: tables, templates, details.
//!
//! Each function takes what its command was told and gives the text for standard output back; the words, the columns and the
//! errors are those of Docker's own client.

mod ask;
mod containers;
mod details;
mod format;
mod history;
mod images;
mod info;
mod inspect;
mod ports;
mod tab;
pub(crate) mod typed;
mod units;
mod version;

pub(crate) use containers::{PsOptions, ps};
pub(crate) use format::Clock;
pub(crate) use history::{HistoryOptions, history};
pub(crate) use images::{ImagesOptions, images};
pub(crate) use info::info;
pub(crate) use inspect::{InspectOptions, Kind, inspect};
pub(crate) use units::size;
pub(crate) use version::{ClientVersion, version};

/// Why nothing, or not everything, could be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The engine did not answer, or not with what was asked for.
    #[error(transparent)]
    Client(#[from] lighter_client::Error),
    /// `--format` or another option does not fit; in Docker's words.
    #[error("{0}")]
    Text(String),
    /// `--format` of `inspect`, `version` or `info` is no template: exit code 64.
    #[error("{0}")]
    Format(String),
}

impl Error {
    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Error::Format(_) => 64,
            Error::Client(_) | Error::Text(_) => 1,
        }
    }
}

impl From<String> for Shown {
    fn from(out: String) -> Self {
        Shown {
            out,
            ..Shown::default()
        }
    }
}

/// What is to be printed, and what there is to say beside it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// For standard output.
    pub(crate) out: String,
    /// For standard error, a line each; the exit code does not know.
    pub(crate) warnings: Vec<String>,
    /// For standard error, a line each; with any, the exit code is 1.
    pub(crate) errors: Vec<Error>,
}
