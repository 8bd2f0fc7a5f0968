//! Sizes, durations and shortened text for people.

use jiff::SignedDuration;

/// A size in powers of a thousand with four digits: `1.984MB`.
pub(crate) fn size(bytes: i64) -> String {
    scaled(
        bytes as f64,
        4,
        1000.0,
        &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"],
    )
}

/// A size in powers of a thousand with three digits: `1.98MB`.
pub(crate) fn size_precise(bytes: i64, digits: usize) -> String {
    scaled(
        bytes as f64,
        digits,
        1000.0,
        &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"],
    )
}

/// A size in powers of 1024: `23.54GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    scaled(
        bytes as f64,
        4,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"],
    )
}

fn scaled(mut size: f64, digits: usize, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    general(size, digits) + units[unit]
}

/// `%.<digits>g`
fn general(n: f64, digits: usize) -> String {
    if n == 0.0 {
        return "0".into();
    }
    let scientific = format!("{n:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        return format!(
            "{}e{}{:02}",
            short(mantissa),
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        );
    }
    short(&format!("{n:.*}", (digits as i32 - 1 - exponent).max(0) as usize))
}

/// A duration as a person would say it: `3 hours`.
pub(crate) fn duration(d: SignedDuration) -> String {
    let seconds = d.as_secs();
    let minutes = seconds / 60;
    let hours = (d.as_secs_f64() / 3600.0 + 0.5) as i64;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `text` in at most `most` characters, the last one `…` when some are missing.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The first twelve digits of an ID.
pub(crate) fn short_id(id: &str) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, three, four) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1_984_000, "1.98MB", "1.984MB"),
            (164_000_000, "164MB", "164MB"),
            (999_900, "1e+03kB", "999.9kB"),
            (11_650_000_000, "11.7GB", "11.65GB"),
        ] {
            assert_eq!(
                (size_precise(bytes, 3), size(bytes)),
                (three.to_owned(), four.to_owned())
            );
        }
        assert_eq!(binary_size(25_276_063_744), "23.54GiB");
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (61 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(ellipsis("short", 5), "short");
        assert_eq!(ellipsis("longer", 5), "long…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
