//! An entry of an archive.

use std::ffi::OsString;

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds; may be negative.
    pub seconds: i64,
    /// Nanoseconds, always counted forward from `seconds`.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of `size` bytes, of which only `segments` are in the archive, if it is sparse.
    File {
        /// Apparent size.
        size: u64,
        /// Where its data goes; `None`: all of it, in order.
        segments: Option<Vec<Segment>>,
    },
    /// A directory.
    Directory,
    /// A symbolic link with this text.
    Symlink(OsString),
    /// Another name of the file that this path names.
    Hardlink(OsString),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A piece of a sparse file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Who may do what with it, and what else is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change.
    pub modified: Time,
    /// Time of the last access, if known.
    pub accessed: Option<Time>,
    /// Extended attributes: full name, value.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// An entry. Its data, if it has any, is read from the [`Reader`](crate::Reader) that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, as the archive has it: may be absolute, contain `..`, or end in a slash.
    pub path: OsString,
    /// What it is.
    pub kind: Kind,
    /// The rest.
    pub metadata: Metadata,
    /// Where its header is in the archive.
    pub offset: u64,
}
