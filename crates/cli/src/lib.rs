//! The command line: flags as data, output, hints, exit codes.

pub(crate) mod show;
