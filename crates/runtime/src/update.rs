//! `update`: other limits for a container that is there.

use std::path::Path;

use lighter_cgroups::{BlockIo, Cpu, Memory, Pids, Resources};

use crate::arguments::Parsed;
use crate::error::{Context, Error, Result};
use crate::json;
use crate::state::{Home, Record, Status};

/// The resources that the flags mean. With a document the flags for resources do not count.
pub(crate) fn parse(parsed: &Parsed) -> Result<Resources> {
    for (flag, what) in [
        ("l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        (
            "mem-bw-schema",
            "Intel RDT/MBA: memory bandwidth schema is not enabled",
        ),
    ] {
        if parsed.value(flag).is_some_and(|value| !value.is_empty()) {
            return Err(Error::Config(what.into()));
        }
    }
    if let Some(path) = parsed.value("resources").filter(|path| !path.is_empty()) {
        let text = if path == "-" {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut text).doing("read stdin")?;
            text
        } else {
            std::fs::read(path).on("open", path)?
        };
        return json::parse(Path::new(path), &text);
    }
    // An empty value is as none, as runc has it.
    let bytes = |name: &str| {
        let value = parsed.value(name).filter(|value| !value.is_empty());
        value.map(|text| size(name, text)).transpose()
    };
    let text = |name: &str| parsed.value(name).unwrap_or_default().to_owned();
    let weight = number(parsed, "blkio-weight")?.filter(|weight| *weight != 0);
    Ok(Resources {
        memory: Some(Memory {
            limit: bytes("memory")?,
            reservation: bytes("memory-reservation")?,
            swap: bytes("memory-swap")?,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: number(parsed, "cpu-share")?,
            quota: number(parsed, "cpu-quota")?,
            burst: number(parsed, "cpu-burst")?,
            period: number(parsed, "cpu-period")?,
            realtime_period: number(parsed, "cpu-rt-period")?,
            realtime_runtime: number(parsed, "cpu-rt-runtime")?,
            cpus: text("cpuset-cpus"),
            mems: text("cpuset-mems"),
            idle: number(parsed, "cpu-idle")?,
        }),
        pids: number(parsed, "pids-limit")?.map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo {
            weight: Some(weight),
            ..BlockIo::default()
        }),
        ..Resources::default()
    })
}

fn number<T: std::str::FromStr>(parsed: &Parsed, name: &str) -> Result<Option<T>> {
    let value = parsed.value(name).filter(|value| !value.is_empty());
    let bad = |text: &str| {
        Error::Usage(format!(
            "invalid value for {name}: parsing {text:?}: invalid syntax"
        ))
    };
    value.map(|text| text.parse().map_err(|_| bad(text))).transpose()
}

/// Bytes, also as `1.5g` or `64MiB` (1024 each); -1: no limit.
fn size(name: &str, text: &str) -> Result<i64> {
    let bad = || Error::Usage(format!("invalid value for {name}: invalid size: '{text}'"));
    if text == "-1" {
        return Ok(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    if let Ok(whole) = count.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(bad);
    }
    let bytes = count.parse::<f64>().map_err(|_| bad())? * f64::from(shift).exp2();
    if !bytes.is_finite() || bytes >= 2f64.powi(63) {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range: checked above")]
    let bytes = bytes as i64;
    Ok(bytes)
}

/// Puts `new` in force over what the container was created with and was updated to, and remembers it. When a limit is
/// refused those before are put back.
pub(crate) fn update(home: &Home, record: &mut Record, new: &Resources) -> Result<()> {
    match home.status(record) {
        Status::Stopped => return Err(Error::State("container not running".into())),
        Status::Creating => {
            return Err(Error::State(
                "cannot update a container that is being created".into(),
            ));
        }
        _ => {}
    }
    let old = record.resources.take().unwrap_or_default();
    let resources = old.updated(new);
    let group = record.group();
    if let Err(error) = group.update(&resources) {
        // The refusal is what the caller wants to know.
        let _ = group.update(&old);
        return Err(error.into());
    }
    record.resources = Some(resources);
    home.save(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("33554432", Some(32 << 20)),
            ("64m", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("7 KB", Some(7 << 10)),
            ("", None),
            ("x", None),
            ("-5", None),
            ("9999999p", None),
            ("1q", None),
            ("9e99", None),
        ] {
            assert_eq!(size("memory", text).ok(), expected, "{text:?}");
        }
    }
}
