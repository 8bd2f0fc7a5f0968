//! PAX extended headers: records of `length key=value\n`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::entry::{Segment, Time};

/// What the extended header of one entry says. Source: POSIX.1-2017 `pax`, "pax Extended Header"; star's
/// `SCHILY.xattr`; the GNU tar manual, "Storing Sparse Files".
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<OsString>,
    pub(crate) link: Option<OsString>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) modified: Option<Time>,
    pub(crate) accessed: Option<Time>,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
    pub(crate) sparse: Sparse,
}

/// The GNU words about a sparse file.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    /// Version 1.0: the map is in front of the data.
    pub(crate) map_in_data: bool,
    pub(crate) size: Option<u64>,
    pub(crate) name: Option<OsString>,
    pub(crate) segments: Vec<Segment>,
}

impl Pax {
    /// Takes in a header. The error says what is wrong.
    pub(crate) fn parse(data: &[u8]) -> Result<Pax, &'static str> {
        let mut pax = Pax::default();
        let mut rest = data;
        // Some writers pad with zeros.
        while !rest.is_empty() && rest[0] != 0 {
            let (record, after) = next(rest).ok_or("damaged extended header")?;
            let at = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or("extended header without a value")?;
            pax.take(&record[..at], &record[at + 1..])?;
            rest = after;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let text = || Some(OsString::from_vec(value.to_vec())).filter(|_| !value.is_empty());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.modified = time(value)?,
            b"atime" => self.accessed = time(value)?,
            b"GNU.sparse.major" => self.sparse.map_in_data = value == b"1",
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = number(value)?,
            b"GNU.sparse.name" => self.sparse.name = text(),
            // Version 0.0: pairs of records.
            b"GNU.sparse.offset" => {
                let offset = number(value)?.ok_or("sparse map without a number")?;
                self.sparse.segments.push(Segment { offset, length: 0 });
            }
            b"GNU.sparse.numbytes" => {
                let last = self.sparse.segments.last_mut().ok_or("sparse map out of order")?;
                last.length = number(value)?.ok_or("sparse map without a number")?;
            }
            // Version 0.1: one list.
            b"GNU.sparse.map" if value.is_empty() => self.sparse.segments.clear(),
            b"GNU.sparse.map" => {
                let numbers: Vec<u64> = value
                    .split(|byte| *byte == b',')
                    .map(|part| number(part)?.ok_or("sparse map without a number"))
                    .collect::<Result<_, _>>()?;
                let pairs = numbers.chunks_exact(2);
                if !pairs.remainder().is_empty() {
                    return Err("sparse map with half a pair");
                }
                self.sparse.segments = pairs
                    .map(|pair| Segment {
                        offset: pair[0],
                        length: pair[1],
                    })
                    .collect();
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs
                        .push((OsString::from_vec(name.to_vec()), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// The first record without its length and newline, and what is behind it.
fn next(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let record = data.get(space + 1..length)?;
    Some((record.strip_suffix(b"\n")?, &data[length..]))
}

/// A decimal number; nothing means "as if the record were not there".
fn number(value: &[u8]) -> Result<Option<u64>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| "number with odd characters in extended header")?;
    text.parse()
        .map(Some)
        .map_err(|_| "number out of range in extended header")
}

/// Seconds with any number of decimals; more than nine are cut.
fn time(value: &[u8]) -> Result<Option<Time>, &'static str> {
    const BAD: &str = "bad time in extended header";
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| BAD)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    let seconds: i64 = whole.parse().map_err(|_| BAD)?;
    let digits = format!("{:0<9}", &fraction[..fraction.len().min(9)]);
    let nanoseconds: u32 = digits.parse().map_err(|_| BAD)?;
    // -1.25 is 0.25 before -1: counted forward, -2 and 0.75.
    Ok(Some(match whole.starts_with('-') && nanoseconds > 0 {
        true => Time {
            seconds: seconds.checked_sub(1).ok_or(BAD)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
        false => Time { seconds, nanoseconds },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let data = b"30 mtime=1700000000.123456789\n11 path=a\nb\n12 size=123\n29 SCHILY.xattr.user.k=\x00a=\n\xff\n21 comment=whatever\n";
        // Lengths count themselves.
        let pax = Pax::parse(data);
        assert!(pax.is_err());
        let record = |key: &str, value: &[u8]| {
            let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut length = body.len() + 1;
            while length.to_string().len() + body.len() != length {
                length += 1;
            }
            [length.to_string().as_bytes(), &body].concat()
        };
        let data = [
            record("mtime", b"1700000000.1234567891"),
            record("atime", b"-1.25"),
            record("path", b"a\nb"),
            record("size", b"123"),
            record("SCHILY.xattr.user.k", b"\0a=\n\xff"),
            record("comment", b"whatever"),
            record("GNU.sparse.map", b"0,1,5,6"),
        ]
        .concat();
        let pax = Pax::parse(&data).unwrap();
        assert_eq!(pax.path.unwrap(), "a\nb");
        assert_eq!(pax.size, Some(123));
        assert_eq!(
            pax.modified,
            Some(Time {
                seconds: 1_700_000_000,
                nanoseconds: 123_456_789
            })
        );
        assert_eq!(
            pax.accessed,
            Some(Time {
                seconds: -2,
                nanoseconds: 750_000_000
            })
        );
        assert_eq!(pax.xattrs, [("user.k".into(), b"\0a=\n\xff".to_vec())]);
        assert_eq!(
            pax.sparse.segments,
            [Segment { offset: 0, length: 1 }, Segment { offset: 5, length: 6 }]
        );
    }

    #[test]
    fn damaged_records_are_errors() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"6 a=bc",
            b"5 ab\n\n",
            b"2 ",
            b"0 a=b\n",
            b"11 size=-1\n",
            b"11 size=1e\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{bad:?}");
        }
    }
}
