//! What can go wrong in the engine, as a caller of the Engine API sees it.

use std::error::Error as StdError;

/// What an error means to the caller; `engine-http` maps it to a status in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The thing named does not exist.
    NotFound,
    /// The state of the thing forbids what was asked.
    Conflict,
    /// The request is wrong whatever the state.
    InvalidParameter,
    /// It is already so.
    NotModified,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Not allowed.
    Forbidden,
    /// Known to Docker, not (yet) to us.
    NotImplemented,
    /// Something the engine needs is away; the same request may work later.
    Unavailable,
    /// Everything else.
    System,
}

/// An error of the engine. `message` is what Docker would say, word for word where Docker has words for it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What it means to the caller.
    pub kind: Kind,
    /// What the user reads.
    pub message: String,
    /// What it came from.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of an operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident,)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Self { kind: Kind::$kind, message: message.into(), source: None }
            })*
        }
    };
}

constructors! {
    /// An error of [`Kind::NotFound`].
    not_found => NotFound,
    /// An error of [`Kind::Conflict`].
    conflict => Conflict,
    /// An error of [`Kind::InvalidParameter`].
    invalid => InvalidParameter,
    /// An error of [`Kind::NotModified`].
    not_modified => NotModified,
    /// An error of [`Kind::Unauthorized`].
    unauthorized => Unauthorized,
    /// An error of [`Kind::Forbidden`].
    forbidden => Forbidden,
    /// An error of [`Kind::NotImplemented`].
    not_implemented => NotImplemented,
    /// An error of [`Kind::Unavailable`].
    unavailable => Unavailable,
    /// An error of [`Kind::System`].
    system => System,
}

impl Error {
    /// The same error with what it came from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The whole text: the message and its causes. What the API sends.
    pub fn text(&self) -> String {
        lighter_stdx::error::chain(self)
    }

    /// A copy, for callers that share one outcome. The causes are flattened into the message.
    pub fn duplicate(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.text(),
            source: None,
        }
    }

    /// What a call to the layer below answered.
    pub fn from_layer(status: &tonic::Status) -> Self {
        use tonic::Code;
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Kind::Conflict,
            Code::InvalidArgument | Code::OutOfRange => Kind::InvalidParameter,
            Code::Unauthenticated => Kind::Unauthorized,
            Code::PermissionDenied => Kind::Forbidden,
            Code::Unimplemented => Kind::NotImplemented,
            Code::Unavailable => Kind::Unavailable,
            _ => Kind::System,
        };
        let message = match status.message() {
            // A layer without the service says nothing but that.
            "" => format!("containerd: {}", status.code().description()),
            message => message.to_owned(),
        };
        Self {
            kind,
            message,
            source: None,
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::from_layer(&status)
    }
}
