//! What can go wrong with a registry.

use std::path::PathBuf;
use std::time::Duration;

use lighter_oci::Digest;
use lighter_stdx::kind::Kind;

/// The result of a registry operation.
pub type Result<T> = std::result::Result<T, Error>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failure to get something from a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host's configuration is not readable or makes no sense.
    #[error("registry configuration {}", path.display())]
    Hosts {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Source,
    },
    /// A certificate, a key or a bundle is not usable.
    #[error("certificates of the registry")]
    Tls(#[source] Source),
    /// There is no such host, it does not answer, or it speaks something else.
    #[error("{method} {url}")]
    Connect {
        /// The request's method.
        method: &'static str,
        /// The request's address.
        url: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The answer, or its next part, did not come.
    #[error("{method} {url}: no answer within {} s", after.as_secs_f32())]
    Stalled {
        /// The request's method.
        method: &'static str,
        /// The request's address.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// Credentials are missing or wrong (401).
    #[error("{url}: unauthorized: {message}")]
    Unauthorized {
        /// The request's address.
        url: String,
        /// In the registry's words.
        message: String,
    },
    /// Not for this user (403).
    #[error("{url}: denied: {message}")]
    Denied {
        /// The request's address.
        url: String,
        /// In the registry's words.
        message: String,
    },
    /// No such manifest, blob or repository (404).
    #[error("{url}: not found: {message}")]
    NotFound {
        /// The request's address.
        url: String,
        /// In the registry's words: `manifest unknown: ...`.
        message: String,
    },
    /// The manifest is there, and a blob of it is not (404).
    #[error("{url}: unknown blob: {message}")]
    NoBlob {
        /// The request's address.
        url: String,
        /// In the registry's words.
        message: String,
    },
    /// A manifest is said to be something that is neither a manifest nor an index of an image.
    #[error("{url}: unsupported manifest media type and no default available: {media_type}")]
    MediaType {
        /// The request's address.
        url: String,
        /// What it is said to be.
        media_type: String,
    },
    /// Too many requests (429).
    #[error("{url}: toomanyrequests: {message}")]
    TooMany {
        /// The request's address.
        url: String,
        /// In the registry's words.
        message: String,
    },
    /// Any other answer that is not a success.
    #[error("{url}: unexpected status {status}: {message}")]
    Status {
        /// The request's address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// In the registry's words, or the start of the body.
        message: String,
    },
    /// The answer is a success, and not what the protocol says.
    #[error("{url}: {why}")]
    Answer {
        /// The request's address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// What came is not what was asked for.
    #[error("{url}: the content has digest {actual}, {expected} was expected")]
    Digest {
        /// The request's address.
        url: String,
        /// Of what came.
        actual: Digest,
        /// Of what was asked for.
        expected: Digest,
    },
    /// The body ended early, again and again.
    #[error("{url}: the body was cut at byte {at} of {size}")]
    Cut {
        /// The request's address.
        url: String,
        /// Bytes that came.
        at: u64,
        /// Bytes there should be.
        size: u64,
        /// How the last try ended.
        #[source]
        source: Option<Source>,
    },
    /// No configured host may do this.
    #[error("no host of {0:?} may be asked for this")]
    NoHost(String),
}

impl Error {
    /// What sort of failure this is. Refused credentials are [`Kind::FailedPrecondition`]: see [`Error::is_refused`].
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotFound { .. } | Error::NoBlob { .. } | Error::NoHost(_) => Kind::NotFound,
            Error::Unauthorized { .. } | Error::Denied { .. } | Error::Digest { .. } => {
                Kind::FailedPrecondition
            }
            Error::Hosts { .. } | Error::Tls(_) | Error::MediaType { .. } => Kind::InvalidArgument,
            Error::Connect { .. } | Error::Stalled { .. } | Error::Cut { .. } | Error::TooMany { .. } => {
                Kind::Unavailable
            }
            Error::Status { status, .. } if *status >= 500 => Kind::Unavailable,
            Error::Status { .. } | Error::Answer { .. } => Kind::Internal,
        }
    }

    /// The registry wants (other) credentials.
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::Unauthorized { .. } | Error::Denied { .. })
    }

    /// Nobody listens there: told at once when it is the first thing that happens.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self, Error::Connect { source, .. } if says(source.as_ref(), "connection refused"))
    }

    /// Trying the same again may succeed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Error::Connect { source, .. } => {
                // No such host, or no TLS that we could speak with it: so it is the next time.
                let lasting = [
                    "failed to lookup address",
                    "received corrupt message",
                    "invalid peer certificate",
                ];
                !lasting.iter().any(|words| says(source.as_ref(), words))
            }
            Error::Stalled { .. } | Error::Cut { .. } | Error::TooMany { .. } => true,
            Error::Status { status, .. } => matches!(status, 408 | 500 | 502..=504),
            _ => false,
        }
    }
}

/// Whether a cause of `error` says so.
fn says(error: &(dyn std::error::Error + 'static), words: &str) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // The system's own words begin with a capital, ours do not.
        if error.to_string().to_ascii_lowercase().contains(words) {
            return true;
        }
        next = error.source();
    }
    false
}
