//! Times as users give them, and the user's time zone.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::value;

/// `--since` and `--until` as the engine takes them: seconds since 1970 with a fraction. The complaint is Docker's.
pub(crate) fn parameter(context: &Context, text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let now = context.environment.clock.now();
    convert(text, now, || zone(context))
}

fn convert(text: &str, now: Timestamp, zone: impl Fn() -> TimeZone) -> Result<String, String> {
    // Seconds since 1970 already.
    if text
        .chars()
        .all(|letter| letter.is_ascii_digit() || letter == '.')
    {
        return Ok(text.to_owned());
    }
    if let Ok(before) = value::duration(text) {
        let at = now - jiff::SignedDuration::from_nanos(before);
        return Ok(at.as_second().to_string());
    }
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let local = text.parse::<DateTime>().ok();
        let local = local.or_else(|| text.parse::<Date>().ok().map(DateTime::from));
        zone().to_timestamp(local?).ok()
    });
    match at {
        Some(at) => Ok(format!("{}.{:09}", at.as_second(), at.subsec_nanosecond())),
        None => Err(format!("failed to parse value as time or duration: \"{text}\"")),
    }
}

/// The zone that `TZ` or the machine names; UTC when there is none.
pub(crate) fn zone(context: &Context) -> TimeZone {
    let path = match context.environment.variable("TZ") {
        None => "/etc/localtime".to_owned(),
        Some(name) => format!("/usr/share/zoneinfo/{}", name.trim_start_matches(':')),
    };
    let read = std::fs::read(path).ok();
    read.and_then(|bytes| TimeZone::tzif("Local", &bytes).ok())
        .unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let read = |text: &str| convert(text, now, || TimeZone::UTC);
        assert_eq!(read("10m"), Ok("999400".into()));
        assert_eq!(read("5"), Ok("5".into()));
        assert_eq!(read("1970-01-02T00:00:00.5Z"), Ok("86400.500000000".into()));
        assert_eq!(read("1970-01-02"), Ok("86400.000000000".into()));
        assert_eq!(read("1970-01-02T01:00"), Ok("90000.000000000".into()));
        assert_eq!(
            read("x"),
            Err("failed to parse value as time or duration: \"x\"".into())
        );
    }
}
