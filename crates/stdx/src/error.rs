//! Errors as people read them.

use std::error::Error;
use std::fmt::Write as _;

/// The message of `error` and of each of its causes, joined by `: `. Errors of this house never repeat their source, so
/// the chain reads once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
