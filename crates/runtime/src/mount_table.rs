//! `/proc/self/mountinfo`, for what no descriptor tells.

use std::path::{Path, PathBuf};

/// A line of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path inside the file system that is mounted.
    pub(crate) top: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// Kind of file system.
    pub(crate) kind: String,
}

pub(crate) const FILE: &str = "/proc/self/mountinfo";

/// The entries of the text of mountinfo, in its order.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = Entry> {
    text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        Some(Entry {
            top: unescape(fields.next()?).into(),
            point: unescape(fields.next()?).into(),
            kind: right.split(' ').next()?.to_owned(),
        })
    })
}

/// The kind of file system that holds `path`.
pub(crate) fn filesystem_of(path: &Path) -> Option<String> {
    let path = std::fs::canonicalize(path).ok()?;
    let text = std::fs::read_to_string(FILE).ok()?;
    // Of several on one point the last hides the others.
    parse(&text)
        .filter(|entry| path.starts_with(&entry.point))
        .enumerate()
        .max_by_key(|(number, entry)| (entry.point.components().count(), *number))
        .map(|(_, entry)| entry.kind)
}

/// Blanks and backslashes are octal there.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_entries() {
        let text = "36 35 98:0 /sub /mnt\\040a rw,noatime master:1 - ext3 /dev/root rw\n\
                    37 36 0:5 / /proc rw shared:5 - proc proc rw\nnonsense\n";
        let entry = |top: &str, point: &str, kind: &str| Entry {
            top: top.into(),
            point: point.into(),
            kind: kind.into(),
        };
        assert_eq!(
            parse(text).collect::<Vec<_>>(),
            [entry("/sub", "/mnt a", "ext3"), entry("/", "/proc", "proc")]
        );
    }
}
