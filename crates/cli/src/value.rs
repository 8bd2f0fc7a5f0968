//! Values of flags, read as Go reads them; complaints in Go's and Docker's words.

use crate::options::devices;

/// Go's `strconv.ParseBool`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// Checks a number for `strconv.ParseInt` or `ParseUint` with base 0.
pub(crate) fn int(text: &str, function: &str, least: i64, most: u64) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("strconv.{function}: parsing \"{text}\": {why}"));
    let Some(number) = whole(text) else {
        return wrong("invalid syntax");
    };
    match number < i128::from(least) || number > i128::from(most) {
        true if least == 0 && number < 0 => wrong("invalid syntax"),
        true => wrong("value out of range"),
        false => Ok(()),
    }
}

/// A whole number as Go's base 0 reads it: `0x10`, `0o7`, `017`, `0b1`.
pub(crate) fn whole(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(digits, base)
        .ok()
        .map(|number| sign * number)
}

/// Bytes: `64m`, `1.5g`, `1KiB`; powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let end = end.ok_or_else(invalid)? + 1;
    let (number, suffix) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    if number < 0.0 {
        return Err(invalid());
    }
    let lower = suffix.to_ascii_lowercase();
    let mut letters = lower.chars();
    let first = letters.next();
    let rest: String = letters.collect();
    let power = match first {
        None => 0,
        Some('b') if rest.is_empty() => 0,
        Some(letter) => {
            let known = "kmgtp"
                .find(letter)
                .filter(|_| matches!(rest.as_str(), "" | "b" | "ib"));
            known.ok_or_else(|| format!("invalid suffix: '{suffix}'"))? + 1
        }
    };
    Ok((number * f64::from(1 << 10).powi(i32::try_from(power).unwrap_or(0))) as i64)
}

/// As [`bytes`], with -1 for without limit.
pub(crate) fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// `1.5` processors as billionths of one. `1/2` is a number too.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, String> {
    let wrong = || format!("failed to parse {text} as a rational number");
    let parse = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = match text.split_once('/') {
        Some((over, under)) => {
            let (over, under) = (parse(over).ok_or_else(wrong)?, parse(under).ok_or_else(wrong)?);
            over / under
        }
        None => parse(text).ok_or_else(wrong)?,
    };
    let nano = number * 1e9;
    if (nano - nano.round()).abs() > 1e-3 {
        return Err("value is too precise".into());
    }
    Ok(nano.round() as i64)
}

/// Go's `time.ParseDuration`: `1h30m`, `1.5s`, `300ms`. Nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        total += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "" => return Err(format!("time: missing unit in duration \"{text}\"")),
                _ => return Err(format!("time: unknown unit \"{unit}\" in duration \"{text}\"")),
            };
        rest = after;
    }
    Ok((sign * total) as i64)
}

/// What particular flags want of their values.
pub(crate) fn of_flag(long: &str, text: &str) -> Result<(), String> {
    match long {
        "attach" if !matches!(text.to_ascii_lowercase().as_str(), "stdin" | "stdout" | "stderr") => {
            Err("valid streams are STDIN, STDOUT and STDERR".into())
        }
        "add-host"
            if text
                .split_once([':', '='])
                .is_none_or(|(name, _)| name.is_empty()) =>
        {
            Err(format!("bad format for add-host: \"{text}\""))
        }
        "dns" if text.trim().parse::<std::net::IpAddr>().is_err() => {
            Err(format!("IP address is not correctly formatted: {text}"))
        }
        "label" if text.is_empty() || text.starts_with('=') => {
            Err(format!("invalid label '{text}': empty name"))
        }
        "env" if text.is_empty() || text.starts_with('=') => {
            Err(format!("invalid environment variable: {text}"))
        }
        "sysctl" if !text.contains('=') => Err(format!("sysctl '{text}' is not allowed")),
        "dns-search" if text != "." && text.trim().is_empty() => {
            Err(format!("{} is not a valid domain", text.trim()))
        }
        "link" if text.is_empty() || text.split(':').count() > 2 => {
            Err(format!("bad format for links: {text}"))
        }
        "device-read-bps" | "device-write-bps" => devices::rate(text).map(drop),
        "device-read-iops" | "device-write-iops" => devices::count(text).map(drop),
        "blkio-weight-device" => devices::weight(text).map(drop),
        "gpus" => crate::options::gpus(text).map(drop),
        "mount" if text.is_empty() => Err("EOF".into()),
        "ulimit" => ulimit(text).map(drop),
        "mount" => crate::options::mount(text).map(drop),
        "network" => crate::options::network(text).map(drop),
        "platform" if text.contains(',') => Err("only one platform can be given".into()),
        _ => Ok(()),
    }
}

/// `nofile=1024:2048`.
pub(crate) fn ulimit(text: &str) -> Result<lighter_engine_api::Ulimit, String> {
    const KNOWN: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !KNOWN.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        int(text, "ParseInt", i64::MIN, i64::MAX.unsigned_abs())?;
        Ok::<i64, String>(
            whole(text)
                .and_then(|number| i64::try_from(number).ok())
                .unwrap_or(0),
        )
    };
    let (soft, hard) = match limits.split_once(':') {
        None => (number(limits)?, number(limits)?),
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
    };
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(lighter_engine_api::Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("64m", Ok(64 << 20)),
            ("1.5g", Ok(3 << 29)),
            ("7", Ok(7)),
            ("7b", Ok(7)),
            ("2KiB", Ok(2048)),
            ("1 kb", Ok(1024)),
            ("3x", Err("invalid suffix: 'x'")),
            ("x", Err("invalid size: 'x'")),
            ("-1", Err("invalid size: '-1'")),
        ] {
            assert_eq!(bytes(text), expected.map_err(str::to_owned), "{text}");
        }
        assert_eq!(swap("-1"), Ok(-1));
    }

    #[test]
    fn durations_and_processors() {
        assert_eq!(duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(duration("1"), Err("time: missing unit in duration \"1\"".into()));
        assert_eq!(duration("x"), Err("time: invalid duration \"x\"".into()));
        assert_eq!(nano_cpus("0.5"), Ok(500_000_000));
        assert_eq!(nano_cpus("3/2"), Ok(1_500_000_000));
        assert_eq!(
            nano_cpus("x"),
            Err("failed to parse x as a rational number".into())
        );
    }

    #[test]
    fn numbers_are_gos() {
        assert_eq!(whole("0x10"), Some(16));
        assert_eq!(whole("010"), Some(8));
        assert_eq!(whole("-3"), Some(-3));
        assert_eq!(whole("0"), Some(0));
        assert_eq!(whole("x"), None);
        assert_eq!(
            int("70000", "ParseUint", 0, 65535),
            Err("strconv.ParseUint: parsing \"70000\": value out of range".into())
        );
    }

    #[test]
    fn ulimits() {
        let limit = ulimit("nofile=10:20").unwrap();
        assert_eq!((limit.soft, limit.hard), (10, 20));
        assert_eq!(ulimit("x").unwrap_err(), "invalid ulimit argument: x");
        assert_eq!(ulimit("x=1").unwrap_err(), "invalid ulimit type: x");
    }
}
