//! The user's terminal.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether standard input is a terminal.
pub(crate) fn is_input() -> bool {
    isatty(rustix::stdio::stdin())
}

/// Rows and columns of the terminal that standard output is.
pub(crate) fn size() -> Option<(u16, u16)> {
    size_of(rustix::stdio::stdout())
}

/// Rows and columns of the terminal that `fd` is.
pub(crate) fn size_of(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 || size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Columns to lay text out for: the terminal's, else 80.
pub(crate) fn columns() -> usize {
    size().map_or(80, |(_, columns)| usize::from(columns).max(40))
}

/// Standard input in raw mode, as it was before once this is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Every key goes through as it is; nothing is echoed.
    pub(crate) fn enter() -> io::Result<Raw> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
