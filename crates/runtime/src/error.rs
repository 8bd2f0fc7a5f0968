//! Everything that can go wrong, by operation.

use std::io;
use std::path::PathBuf;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A value of the configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// A document could not be parsed.
    #[error("parse {}{}{field}", path.display(), if field.is_empty() { "" } else { ": " })]
    Parse {
        /// File.
        path: PathBuf,
        /// Path of the field in it, as far as it is known: `linux.namespaces[2].type`.
        field: String,
        /// Cause, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// An operation on a path failed.
    #[error("{operation} {}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// An operation failed.
    #[error("{operation}")]
    Call {
        /// What was tried.
        operation: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A command whose errors callers know by its name.
    #[error("{}{command} failed", if *command == "exec" { "" } else { "runc " })]
    Command {
        /// `create`, `run` or `exec`.
        command: &'static str,
        /// Cause.
        #[source]
        source: Box<Error>,
    },
    /// The container is not there.
    #[error("container does not exist")]
    NoContainer,
    /// The name is taken.
    #[error("container with given ID already exists")]
    Exists,
    /// The container is in a state that does not allow the command.
    #[error("{0}")]
    State(String),
    /// A cgroup operation.
    #[error(transparent)]
    Cgroup(#[from] lighter_cgroups::Error),
    /// A path inside the container's root.
    #[error(transparent)]
    Root(#[from] lighter_safe_fs::Error),
    /// The seccomp profile.
    #[error("compile seccomp profile")]
    Seccomp(#[source] lighter_seccomp::Error),
    /// The seccomp profile's listener.
    #[error("failed to connect with seccomp agent specified in the seccomp profile")]
    Agent(#[source] Box<Error>),
    /// A mount of the configuration.
    #[error("error mounting {what:?} to rootfs at {destination:?}")]
    Mount {
        /// Source or kind.
        what: String,
        /// Path in the container.
        destination: PathBuf,
        /// Cause.
        #[source]
        source: Box<Error>,
    },
    /// A hook failed.
    #[error("error running {kind} hook #{number}: {}: {reason}", path.display())]
    Hook {
        /// Which list it is in.
        kind: &'static str,
        /// Where in the list, from 0.
        number: usize,
        /// Program.
        path: PathBuf,
        /// What it did.
        reason: String,
    },
    /// The process inside failed before it ran the user's program. Worded as runc does, for those that parse it.
    #[error("unable to start container process: {}{text}", if *init { "error during container init: " } else { "" })]
    Inside {
        /// Whether it was to be the first process.
        init: bool,
        /// The process's own words.
        text: String,
    },
    /// The process in between could not be doubled: its fork is the one that joins the container.
    #[error("unable to start container process: {}clone", if *init { "error during container init: " } else { "" })]
    Fork {
        /// As in [`Error::Inside`].
        init: bool,
        /// Cause, as the kernel gave it to that process.
        #[source]
        source: io::Error,
    },
    /// The user's program cannot be run: `exec: "x": executable file not found in $PATH`.
    #[error("exec: {name:?}: {reason}")]
    Program {
        /// As the user gave it.
        name: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// With what runc puts in front of the errors of this command.
    pub(crate) fn of_command(self, command: &'static str) -> Self {
        let source = Box::new(self);
        Self::Command { command, source }
    }
}

/// The result of a command or a part of it.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Names the operation that failed.
pub(crate) trait Context<T> {
    fn on(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T>;
    fn doing(self, operation: &'static str) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn on(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|error| Error::Path {
            operation,
            path: path.into(),
            source: error.into(),
        })
    }

    fn doing(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| Error::Call {
            operation,
            source: error.into(),
        })
    }
}
