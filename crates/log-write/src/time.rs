//! RFC 3339 with nanoseconds, as Go prints it.

use std::io::Write;

/// A moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970, leap seconds not counted.
    pub seconds: u64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Time {
    /// Appends `2006-01-02T15:04:05.999999999Z`, zeros at the end of the fraction left out (Go's `RFC3339Nano`).
    pub fn put(self, out: &mut Vec<u8>) {
        let (days, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = civil(days);
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
        if self.nanos > 0 {
            let _ = write!(out, ".{:09}", self.nanos);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        out.push(b'Z');
    }
}

/// Year, month and day of a count of days since 1970-01-01 (proleptic Gregorian calendar). Years are counted from
/// March, so that the leap day is the last of its year, in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (
        era * 400 + year + u64::from(month <= 2),
        month,
        day - (153 * shifted + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, nanos: u32, expected: &str) {
        let mut out = Vec::new();
        Time { seconds, nanos }.put(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn times_read_as_go_prints_them() {
        check(0, 0, "1970-01-01T00:00:00Z");
        check(951_827_696, 120_000_000, "2000-02-29T12:34:56.12Z");
        check(1_709_251_199, 1, "2024-02-29T23:59:59.000000001Z");
        check(1_709_251_200, 10, "2024-03-01T00:00:00.00000001Z");
        check(4_102_444_799, 999_999_999, "2099-12-31T23:59:59.999999999Z");
    }
}
