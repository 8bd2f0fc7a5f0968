//! Help, laid out as Docker's.

use crate::command::Command;
use crate::flag::Flag;

/// The help of one command. `path` is how it was called: `container run`.
pub(crate) fn command(program: &str, path: &str, command: &Command, columns: usize) -> String {
    let mut text = format!("Usage:  {program} {path}");
    if !command.usage.is_empty() {
        text.push_str(&format!(" {}", command.usage));
    }
    text.push_str(&format!("\n\n{}\n", command.about));
    if command.paths.len() > 1 {
        let all: Vec<String> = command
            .paths
            .iter()
            .map(|path| format!("{program} {path}"))
            .collect();
        text.push_str(&format!("\nAliases:\n  {}\n", all.join(", ")));
    }
    let flags = flags(command.flags, columns);
    if !flags.is_empty() {
        text.push_str(&format!("\nOptions:\n{flags}"));
    }
    text
}

/// A list of names and what they are.
pub(crate) fn list(title: &str, entries: &[(String, String)]) -> String {
    let width = entries
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(11);
    let mut text = format!("\n{title}:\n");
    for (name, about) in entries {
        text.push_str(&format!("  {name:width$} {about}\n"));
    }
    text
}

/// A table of flags, sorted by name, as wide as `columns`.
pub(crate) fn flags(lists: &[&'static [Flag]], columns: usize) -> String {
    let mut flags: Vec<&Flag> = lists.iter().flat_map(|list| list.iter()).collect();
    flags.retain(|flag| !flag.about.is_empty());
    flags.sort_by_key(|flag| flag.long);
    let heads: Vec<String> = flags.iter().map(|flag| head(flag)).collect();
    let indent = heads.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (flag, head) in flags.iter().zip(heads) {
        let about = wrapped(&about(flag), columns.saturating_sub(indent), indent);
        text.push_str(&format!("{head:indent$}{about}\n"));
    }
    text
}

fn head(flag: &Flag) -> String {
    let mut head = match flag.short {
        "" => format!("      --{}", flag.long),
        short => format!("  -{short}, --{}", flag.long),
    };
    if !flag.is_switch() {
        head.push_str(&format!(" {}", flag.word));
    }
    head
}

fn about(flag: &Flag) -> String {
    match flag.default {
        "" | "false" => flag.about.to_owned(),
        default if flag.word == "string" => format!("{} (default \"{default}\")", flag.about),
        default => format!("{} (default {default})", flag.about),
    }
}

/// Breaks between words so that no line is longer than `width`; a line too narrow to break stays whole.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    if width < 24 {
        return text.to_owned();
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{alias, switch, value};

    static FLAGS: &[Flag] = &[
        value("tail", "n", "string", "How many lines").or("all"),
        switch(
            "all",
            "a",
            "Those that have ended, too, and one more thing that is too long for a line",
        ),
        alias("every", "", "all"),
    ];

    #[test]
    fn a_table_of_flags() {
        assert_eq!(
            flags(&[FLAGS], 60),
            "  -a, --all           Those that have ended, too, and one\n                      more thing that is too long for a line\n  -n, --tail string   How many lines (default \"all\")\n"
        );
    }
}
