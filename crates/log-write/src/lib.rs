//! The writers of container log files, tiny: the shim links it.
//!
//! Today Docker's json-file. A writer gets what a process wrote, as it comes, cuts it into lines and appends them in
//! one `write(2)` a call; it never syncs. It never reads the clock: the caller says when.

mod escape;
mod json_file;
mod lines;
mod time;

pub use json_file::{Error, JsonFile, Limits};
pub use lines::{LINE_MAX, Lines};
pub use time::Time;

/// Which of a process's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1, and everything of a terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}
