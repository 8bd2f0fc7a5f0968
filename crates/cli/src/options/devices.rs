//! Limits of block devices: `PATH:VALUE`.

use lighter_engine_api::{ThrottleDevice, WeightDevice};

use crate::value;

/// Bytes a second.
pub(crate) fn rate(text: &str) -> Result<ThrottleDevice, String> {
    let wrong = || {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    };
    let (path, number) = split(text)?;
    let rate = value::bytes(number).map_err(|_| wrong())?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate: u64::try_from(rate).map_err(|_| wrong())?,
    })
}

/// Operations a second.
pub(crate) fn count(text: &str) -> Result<ThrottleDevice, String> {
    let (path, number) = split(text)?;
    let rate = number.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// A weight of 10 to 1000, or 0.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, number) = split(text)?;
    let weight = number
        .parse()
        .ok()
        .filter(|weight| *weight == 0 || (10..=1000).contains(weight));
    Ok(WeightDevice {
        path: path.to_owned(),
        weight: weight.ok_or_else(|| format!("invalid weight for device: {text}"))?,
    })
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let (path, number) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_devices() {
        assert_eq!(rate("/dev/sda:1m").unwrap().rate, 1 << 20);
        assert_eq!(count("/dev/sda:7").unwrap().rate, 7);
        assert_eq!(weight("/dev/sda:10").unwrap().weight, 10);
        assert!(rate("/dev/sda").is_err() && count("/x:1").is_err() && weight("/dev/sda:5").is_err());
    }
}
