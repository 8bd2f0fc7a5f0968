//! What can go wrong with a group.

use std::io;
use std::path::PathBuf;

/// What failed, on which file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A group's directory could not be made.
    #[error("create cgroup {}", path.display())]
    Create {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of a group could not be written.
    #[error("write {value:?} to {}", path.display())]
    Write {
        /// File.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file or directory of a group could not be read.
    #[error("read {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A limit asks for a controller that this machine lacks.
    #[error("no {controller} cgroup controller to set {file}")]
    NoController {
        /// Controller.
        controller: String,
        /// File that was to be written.
        file: String,
    },
    /// The device program of cgroup v2 was refused.
    #[error("control devices of {}", path.display())]
    Devices {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A group could not be removed.
    #[error("remove cgroup {}", path.display())]
    Remove {
        /// Directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A field of `linux.resources` could not be put in force.
    #[error("set linux.resources.{field}")]
    Limit {
        /// Its name, as the configuration has it.
        field: String,
        /// Which file said no.
        #[source]
        source: Box<Error>,
    },
    /// A field of `linux.resources` that no kernel takes.
    #[error("linux.resources.{field}: {reason}")]
    Value {
        /// Its name, as the configuration has it.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The memory limit is below what is in use.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    InUse {
        /// Bytes that were asked for.
        limit: String,
        /// Bytes in use.
        usage: u64,
        /// Most bytes ever in use.
        peak: u64,
    },
    /// v1 has no files that `unified` could name.
    #[error("invalid configuration: cannot use unified on cgroup v1")]
    NoUnified,
    /// A file of `unified` that is not there.
    #[error("unified resource {file:?} can't be set: controller {controller:?} not available")]
    NoUnifiedController {
        /// File.
        file: String,
        /// Its controller.
        controller: String,
    },
    /// Somebody lives in the group that a new container is to have.
    #[error("container's cgroup is not empty: {0} process(es) found")]
    NotEmpty(usize),
    /// A process in the group that a new container is to have would never run.
    #[error("container's cgroup unexpectedly frozen")]
    Frozen,
    /// A path below a container's group that leaves it, or a controller that is none.
    #[error("{0}")]
    SubGroup(String),
    /// Files of a group could not be given to the container's user.
    #[error("change the owner of {}", path.display())]
    Owner {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Memory events could not be watched.
    #[error("watch {}", path.display())]
    Watch {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The machine's hierarchies could not be looked at.
    #[error("look at cgroups")]
    Look(#[source] io::Error),
    /// The systemd driver cannot be used, or not with this name.
    #[error(transparent)]
    Driver(crate::systemd::Error),
    /// The systemd driver.
    #[error("{operation} unit {unit:?}")]
    Systemd {
        /// What was tried.
        operation: &'static str,
        /// Name of the unit.
        unit: String,
        /// Cause.
        #[source]
        source: crate::systemd::Error,
    },
}

impl Error {
    /// Whether the kernel refused because of who asks: what an ordinary user without a delegated group sees.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Create { source, .. }
            | Self::Write { source, .. }
            | Self::Owner { source, .. }
            | Self::Devices { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
                    || source.kind() == io::ErrorKind::ReadOnlyFilesystem
            }
            Self::Limit { source, .. } => source.is_permission(),
            _ => false,
        }
    }
}
