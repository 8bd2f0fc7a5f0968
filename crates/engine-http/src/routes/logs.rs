//! `/containers/{id}/logs`.

use std::fmt::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use lighter_engine::containers::StreamKind;
use lighter_engine::logs::LogOptions;
use lighter_logs::{Entry, Source};

use crate::answer::{Failure, Result, streamed};
use crate::hijack::{MULTIPLEXED, RAW, head};
use crate::request::{Call, Version};

/// As many lines as are there go out in one chunk.
const BATCH: usize = 256;

/// How the lines are to look.
#[derive(Debug, Clone, Copy)]
struct Look {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
    multiplexed: bool,
}

pub(crate) fn answer(call: Call, id: &str) -> Result {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Failure::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let options = LogOptions {
        follow: query.flag("follow"),
        // What is no number, and what is less than none, is all.
        tail: query.text("tail").parse().ok(),
        since: query.time("since")?,
        until: query.time("until")?,
    };
    let (tty, entries) = call.engine.logs(id, options)?;
    let look = Look {
        stdout,
        stderr,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        multiplexed: !tty,
    };
    let named = look.multiplexed && call.version >= Version(1, 42);
    let media_type = if named { MULTIPLEXED } else { RAW };
    let entries = entries.take_while(|entry| {
        if let Err(error) = entry {
            tracing::warn!(
                error = lighter_stdx::error::chain(error),
                "a log cannot be read further"
            );
        }
        std::future::ready(entry.is_ok())
    });
    let chunks = entries
        .filter_map(|entry| std::future::ready(entry.ok()))
        .ready_chunks(BATCH)
        .map(move |entries| written(&entries, look))
        .filter(|chunk| std::future::ready(!chunk.is_empty()));
    Ok(streamed(media_type, chunks))
}

fn written(entries: &[Entry], look: Look) -> Bytes {
    let mut out = BytesMut::with_capacity(entries.iter().map(|entry| entry.line.len() + 48).sum());
    for entry in entries {
        let (stream, wanted) = match entry.source {
            Source::Stdout => (StreamKind::Stdout, look.stdout),
            Source::Stderr => (StreamKind::Stderr, look.stderr),
        };
        if !wanted {
            continue;
        }
        let mut before = String::new();
        if look.timestamps {
            before = fixed(entry.time);
            before.push(' ');
        }
        if look.details {
            let attrs: Vec<_> = entry
                .attrs
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            before.push_str(&attrs.join(","));
            before.push(' ');
        }
        if look.multiplexed {
            out.put_slice(&head(stream, before.len() + entry.line.len()));
        }
        out.put_slice(before.as_bytes());
        out.put_slice(&entry.line);
    }
    out.freeze()
}

/// A time with nine digits behind the dot, always.
fn fixed(time: Timestamp) -> String {
    let whole = time.to_string();
    let seconds = whole.split(['.', 'Z']).next().unwrap_or_default();
    let mut text = String::with_capacity(30);
    // Writing to a String cannot fail.
    let _ = write!(text, "{seconds}.{:09}Z", time.subsec_nanosecond());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        for (time, expected) in [
            ("2026-11-24T09:03:35Z", "2026-11-24T09:03:35.000000000Z"),
            ("2026-11-24T09:03:35.12Z", "2026-11-24T09:03:35.120000000Z"),
        ] {
            assert_eq!(fixed(time.parse().unwrap()), expected);
        }
    }

    #[test]
    fn lines_are_framed_and_filtered() {
        let entry = |source, line: &'static str| Entry {
            source,
            time: Timestamp::UNIX_EPOCH,
            line: Bytes::from_static(line.as_bytes()),
            attrs: Default::default(),
        };
        let entries = [entry(Source::Stdout, "a\n"), entry(Source::Stderr, "b\n")];
        let look = Look {
            stdout: true,
            stderr: true,
            timestamps: false,
            details: false,
            multiplexed: true,
        };
        assert_eq!(
            written(&entries, look),
            &b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x02b\n"[..]
        );
        let bare = Look {
            stderr: false,
            timestamps: true,
            multiplexed: false,
            ..look
        };
        assert_eq!(written(&entries, bare), "1970-01-01T00:00:00.000000000Z a\n");
    }
}
