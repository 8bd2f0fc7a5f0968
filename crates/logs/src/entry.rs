//! One line of a log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

/// Where a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Its output.
    Stdout,
    /// Its errors.
    Stderr,
}

/// What a container wrote: a line with its end, or a piece of a longer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub source: Source,
    /// When.
    pub time: Timestamp,
    /// What, the line's end included.
    pub line: Bytes,
    /// Labels and variables that the log was told to keep with each line.
    pub attrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// How each line of the format begins.
const START: &[u8] = b"{\"log\":";

impl Entry {
    /// Reads a line of the file, without its end. `None` for one that makes no sense: of a writer that died within it.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        Self::parse_whole(line).or_else(|| {
            // The next writer went on behind the half line that a dead one left.
            let start = line.windows(START.len()).rposition(|window| window == START)?;
            (start > 0).then(|| Self::parse_whole(&line[start..])).flatten()
        })
    }

    fn parse_whole(line: &[u8]) -> Option<Self> {
        let written: Written<'_> = serde_json::from_slice(line).ok()?;
        Some(Self {
            source: match written.stream.as_ref() {
                "stderr" => Source::Stderr,
                _ => Source::Stdout,
            },
            time: written.time.parse().ok()?,
            line: Bytes::from(written.log.into_owned()),
            attrs: written.attrs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let entry = Entry::parse(
            br#"{"log":"a\tb \u003c\"x\"\n","stream":"stderr","attrs":{"k":"v"},"time":"2026-11-24T09:03:35.162484714Z"}"#,
        )
        .unwrap();
        assert_eq!(entry.line, "a\tb <\"x\"\n");
        assert_eq!(
            (entry.source, entry.time.subsec_nanosecond()),
            (Source::Stderr, 162_484_714)
        );
        assert_eq!(entry.attrs["k"], "v");
    }

    #[test]
    fn what_follows_a_half_line_is_found() {
        let entry =
            Entry::parse(br#"{"log":"ha{"log":"whole\n","stream":"stdout","time":"2026-11-24T09:03:35Z"}"#);
        assert_eq!(entry.unwrap().line, "whole\n");
        for nonsense in [&b""[..], b"{}", b"\0\0\0", br#"{"log":"x","time":"never"}"#] {
            assert_eq!(Entry::parse(nonsense), None);
        }
    }
}
