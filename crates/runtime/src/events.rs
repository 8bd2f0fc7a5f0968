//! `events`: statistics and out-of-memory events of a container, a JSON object a line.

use std::io::Write;
use std::time::Duration;

use lighter_cgroups::{Group, Noticed, Stats, Watch};
use serde::Serialize;

use crate::arguments::Parsed;
use crate::error::{Context, Error, Result};
use crate::state::{Home, Record, Status};

/// What it is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    interval: Duration,
    /// Once, then no more.
    stats: bool,
}

impl Options {
    pub(crate) fn parse(parsed: &Parsed) -> Result<Self> {
        let interval = match parsed.value("interval") {
            None => Duration::from_secs(5),
            Some(text) => duration(text).ok_or_else(|| {
                Error::Usage(format!("invalid value {text:?} for flag -interval: parse error"))
            })?,
        };
        if interval.is_zero() {
            return Err(Error::Usage("duration interval must be greater than 0".into()));
        }
        Ok(Self {
            interval,
            stats: parsed.is_set("stats"),
        })
    }
}

/// As Go writes durations: `5s`, `1m30s`, `100ms`, `1.5h`. Negative ones are as 0: no use here.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &after[..end])?;
        seconds += count * unit;
        rest = &after[end..];
    }
    if negative {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

/// Prints events on stdout until the container has ended or nobody reads.
pub(crate) fn events(home: &Home, record: &Record, options: &Options) -> Result<()> {
    if home.status(record) == Status::Stopped {
        return Err(Error::State(format!(
            "container with id {} is not running",
            record.id
        )));
    }
    let group = record.group();
    let tell = |kind, data| {
        let event = Event {
            kind,
            id: &record.id,
            data,
        };
        // Plain data: cannot fail.
        let line = serde_json::to_string(&event).unwrap_or_default() + "\n";
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .doing("write an event")
    };
    if options.stats {
        return tell("stats", Some(group.stats()?));
    }
    let mut watch = Watch::new(&group)?;
    let mut next = std::time::Instant::now() + options.interval;
    loop {
        let left = next.saturating_duration_since(std::time::Instant::now());
        match watch.next(left)? {
            Noticed::End => return Ok(()),
            Noticed::OutOfMemory => tell("oom", None)?,
            Noticed::Nothing if left.is_zero() => {
                if ended(&group, record) {
                    return Ok(());
                }
                match group.stats() {
                    Ok(stats) => tell("stats", Some(stats))?,
                    // Removed since we looked.
                    Err(_) if !group.exists() => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
                next = std::time::Instant::now() + options.interval;
            }
            Noticed::Nothing => {}
        }
    }
}

/// v1 tells nothing when the last process leaves.
fn ended(group: &Group, record: &Record) -> bool {
    !record.is_alive() && !group.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_go_writes_them() {
        for (text, expected) in [
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("0", Some(0)),
            ("-1s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("1x", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }
}
