//! What can go wrong with a layer.

use std::io;
use std::path::PathBuf;

/// The result of an archive operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure to read, to unpack or to make an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes did not come: a download broke, a file could not be read, a compressed stream ends early or is damaged.
    #[error("read archive")]
    Read(#[source] io::Error),
    /// The bytes are not a tar archive, or a damaged one.
    #[error("malformed archive at byte {offset}: {why}")]
    Malformed {
        /// Of the header in the uncompressed archive.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A compression that layers do not have.
    #[error("archives compressed with {0} are not supported")]
    Compression(&'static str),
    /// An entry that no honest layer has.
    #[error("refused archive entry {:?}: {why}", name)]
    Refused {
        /// As the archive has it.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// More bytes than the caller allows.
    #[error("archive is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// What was made of a tree could not be passed on.
    #[error("write archive")]
    Write(#[source] io::Error),
    /// A layer of an overlay that says where to look in others (`redirect_dir`, `metacopy`).
    #[error("overlay layer: {:?} points into another layer; it has to be mounted to be read", .0)]
    Indirect(PathBuf),
    /// A system call on what is being unpacked, or compared, failed.
    #[error("{operation} {:?}", path)]
    Io {
        /// The operation.
        operation: &'static str,
        /// The path below the root of the tree.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path below the target could not be resolved.
    #[error("resolve below the target")]
    Resolve(#[from] lighter_safe_fs::Error),
}

impl Error {
    /// No space, or no quota, is left.
    pub fn is_disk_full(&self) -> bool {
        let full = |number: Option<i32>| {
            [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT]
                .iter()
                .any(|errno| number == Some(errno.raw_os_error()))
        };
        match self {
            Error::Io { source, .. } | Error::Write(source) => full(source.raw_os_error()),
            Error::Resolve(error) => full(error.errno()),
            _ => false,
        }
    }
}
