//! Progress of a pull: lines that change on a terminal, else one line a change of state.

use std::collections::HashMap;
use std::fmt::Write as _;

use lighter_engine_api::{JsonMessage, ProgressDetail};

use crate::show;

/// Turns messages into text for one screen.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Columns of the terminal; `None` when it is none.
    columns: Option<u16>,
    /// The line of each layer, counted from the first.
    lines: HashMap<String, usize>,
}

impl Progress {
    /// `columns` of the terminal it goes to, or `None`.
    pub(crate) fn new(columns: Option<u16>) -> Progress {
        Progress {
            columns,
            lines: HashMap::new(),
        }
    }

    /// What to write for `message`; an error message is the caller's.
    pub(crate) fn show(&mut self, message: &JsonMessage) -> String {
        let mut text = String::new();
        let moves =
            !message.id.is_empty() && (message.progress_detail.is_some() || !message.progress.is_empty());
        let mut up = 0;
        if moves {
            let next = self.lines.len();
            let known = self.lines.contains_key(&message.id);
            let line = *self.lines.entry(message.id.clone()).or_insert(next);
            up = self.lines.len() - line;
            if self.columns.is_some() {
                if !known {
                    text.push('\n');
                }
                // Writing to a String cannot fail.
                let _ = write!(text, "\u{1b}[{up}A");
            }
        } else {
            // What comes now stands below; the lines above stay as they are.
            self.lines.clear();
        }
        self.line(message, &mut text);
        if self.columns.is_some() && !message.id.is_empty() && up > 0 {
            let _ = write!(text, "\u{1b}[{up}B");
        }
        text
    }

    fn line(&self, message: &JsonMessage, text: &mut String) {
        let bar = message
            .progress_detail
            .as_ref()
            .map(|detail| bar(detail, self.columns));
        let mut end = "";
        match (&bar, self.columns) {
            (Some(_), Some(_)) if message.stream.is_empty() => {
                text.push_str("\u{1b}[2K\r");
                end = "\r";
            }
            (Some(bar), None) if !bar.is_empty() => return,
            _ => {}
        }
        if !message.id.is_empty() {
            let _ = write!(text, "{}: ", message.id);
        }
        let status = &message.status;
        let _ = match (&bar, self.columns.is_some()) {
            (Some(bar), true) => write!(text, "{status} {bar}{end}"),
            _ if !message.stream.is_empty() => write!(text, "{}{end}", message.stream),
            _ => writeln!(text, "{status}{end}"),
        };
    }
}

/// `[====>   ]  1.2MB/3.4MB`; the brackets only where there is room. Nothing when nothing is known.
fn bar(detail: &ProgressDetail, columns: Option<u16>) -> String {
    let ProgressDetail { current, total } = *detail;
    if current <= 0 && total <= 0 {
        return String::new();
    }
    if total <= 0 {
        return format!("{:>8}", show::size(current));
    }
    let done = usize::try_from(current.saturating_mul(50) / total)
        .unwrap_or(0)
        .min(50);
    let mut text = String::new();
    if columns.unwrap_or(200) > 110 {
        let _ = write!(text, "[{}>{}] ", "=".repeat(done), " ".repeat(50 - done));
    }
    let _ = write!(text, "{:>8}", show::size(current));
    if current <= total {
        let _ = write!(text, "/{}", show::size(total));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, status: &str, detail: Option<(i64, i64)>) -> JsonMessage {
        JsonMessage {
            progress_detail: detail.map(|(current, total)| ProgressDetail { current, total }),
            ..JsonMessage::about(id, status)
        }
    }

    #[test]
    fn without_a_terminal_only_states_are_shown() {
        let mut progress = Progress::new(None);
        let mut text = String::new();
        for (id, status, detail) in [
            ("latest", "Pulling from library/x", None),
            ("aa", "Pulling fs layer", Some((0, 0))),
            ("aa", "Downloading", Some((1, 2))),
            ("aa", "Pull complete", Some((0, 0))),
            ("", "Status: done", None),
        ] {
            text.push_str(&progress.show(&message(id, status, detail)));
        }
        assert_eq!(
            text,
            "latest: Pulling from library/x\naa: Pulling fs layer\naa: Pull complete\nStatus: done\n"
        );
    }

    #[test]
    fn on_a_terminal_lines_change_in_place() {
        let mut progress = Progress::new(Some(200));
        assert_eq!(
            progress.show(&message("aa", "Waiting", Some((0, 0)))),
            "\n\u{1b}[1A\u{1b}[2K\raa: Waiting \r\u{1b}[1B"
        );
        progress.show(&message("bb", "Waiting", Some((0, 0))));
        let shown = progress.show(&message("aa", "Downloading", Some((500, 1000))));
        assert!(
            shown.starts_with("\u{1b}[2A\u{1b}[2K\raa: Downloading [=========================>"),
            "{shown:?}"
        );
        assert!(shown.ends_with("]     500B/1kB\r\u{1b}[2B"), "{shown:?}");
    }
}
