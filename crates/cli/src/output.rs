//! Writing to this process's standard streams.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// Writes to standard output. A closed pipe ends the command, as SIGPIPE would.
pub(crate) fn out(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(141),
            _ => Failure::new(format!("write /dev/stdout: {error}")),
        })
}

/// Writes a line to standard output.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    out(format!("{}\n", text.as_ref()))
}

/// Writes to standard error, where nobody may listen.
pub(crate) fn error(text: impl AsRef<str>) {
    let _ = io::stderr().lock().write_all(text.as_ref().as_bytes());
}
