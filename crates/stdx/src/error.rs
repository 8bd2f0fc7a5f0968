//! Errors as people read them.

use std::error::Error;

/// The message of `error` and of each of its causes, joined by `: `. Errors of this house never repeat their source, so
/// the chain reads once. What the system says is put as Docker's users know it: `connection refused`, without a number.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = plain(error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&plain(cause.to_string()));
        source = cause.source();
    }
    text
}

/// `open x: No such file or directory (os error 2)` becomes `open x: no such file or directory`.
fn plain(mut text: String) -> String {
    let Some((before, number)) = text.rsplit_once(" (os error ") else {
        return text;
    };
    let is_number = number
        .strip_suffix(')')
        .is_some_and(|number| number.parse::<u32>().is_ok());
    if !is_number {
        return text;
    }
    let length = before.len();
    let start = before.rfind(": ").map_or(0, |place| place + 2);
    text.truncate(length);
    if let Some(message) = text.get_mut(start..) {
        // `I/O error` is not to become `i/O error`.
        let is_word = message.chars().nth(1).is_some_and(char::is_lowercase);
        if is_word && let Some(first) = message.get_mut(..1) {
            first.make_ascii_lowercase();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_speaks_in_small_letters() {
        for (said, read) in [
            (
                "open x: No such file or directory (os error 2)",
                "open x: no such file or directory",
            ),
            ("Connection refused (os error 111)", "connection refused"),
            ("I/O error (os error 5)", "I/O error"),
            ("Plain (os error)", "Plain (os error)"),
            ("Text", "Text"),
        ] {
            assert_eq!(plain(said.to_owned()), read);
        }
        let error = std::io::Error::from_raw_os_error(13);
        assert_eq!(chain(&error), "permission denied");
    }
}
