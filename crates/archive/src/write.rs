//! Writing a tar archive, entry by entry, to a stream.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use crate::entry::{Entry, Kind, Metadata, Segment, Time};

const BLOCK: usize = 512;
/// The largest number of a field of eight bytes, seven of them octal digits.
const MOST_SHORT: u64 = 0o777_7777;
/// The largest number of a field of twelve bytes.
const MOST_LONG: u64 = 0o777_7777_7777;

/// Writes ustar headers, with a PAX header in front where something does not fit: long names, large numbers, nanoseconds, attributes. The
/// same entries give the same bytes.
///
/// Sources: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual, "PAX Format, Version 1.0".
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// Bytes of the current entry's data that are still to come.
    left: u64,
    /// Padding behind them.
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes to `sink`.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            left: 0,
            padding: 0,
        }
    }

    /// Begins an entry; all data of the one before was given. `entry.offset` is not looked at. A path that ends in a slash is that of a directory.
    pub fn begin(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_entry()?;
        let map = match &entry.kind {
            Kind::File {
                segments: Some(segments),
                ..
            } => sparse_map(segments),
            _ => Vec::new(),
        };
        let (flag, size) = match &entry.kind {
            Kind::File { size, segments: None } => (b'0', *size),
            Kind::File {
                segments: Some(segments),
                ..
            } => {
                let stored: u64 = segments.iter().map(|segment| segment.length).sum();
                (b'0', stored + map.len() as u64)
            }
            Kind::Hardlink(_) => (b'1', 0),
            Kind::Symlink(_) => (b'2', 0),
            Kind::Character(..) => (b'3', 0),
            Kind::Block(..) => (b'4', 0),
            Kind::Directory => (b'5', 0),
            Kind::Fifo => (b'6', 0),
        };
        let mut header = Header::new(flag);
        let mut pax = Vec::new();
        if let Kind::File {
            size: whole,
            segments: Some(_),
        } = &entry.kind
        {
            record(&mut pax, b"GNU.sparse.major", b"1");
            record(&mut pax, b"GNU.sparse.minor", b"0");
            record(&mut pax, b"GNU.sparse.name", entry.path.as_bytes());
            record(&mut pax, b"GNU.sparse.realsize", whole.to_string().as_bytes());
        }
        header.path(&entry.path, &mut pax);
        if let Kind::Hardlink(target) | Kind::Symlink(target) = &entry.kind {
            header.link(target, &mut pax);
        }
        if let Kind::Character(major, minor) | Kind::Block(major, minor) = &entry.kind {
            header.octal(329, 8, u64::from(*major));
            header.octal(337, 8, u64::from(*minor));
        }
        header.metadata(&entry.metadata, &mut pax);
        header.number(124, 12, MOST_LONG, size, b"size", &mut pax);
        if !pax.is_empty() {
            let mut extended = Header::new(b'x');
            extended.bytes(0, b"PaxHeaders/entry");
            extended.octal(100, 8, 0o644);
            for field in [108, 116] {
                extended.octal(field, 8, 0);
            }
            extended.octal(124, 12, pax.len() as u64);
            extended.octal(136, 12, 0);
            self.sink.write_all(&extended.signed())?;
            pax.resize(pax.len().next_multiple_of(BLOCK), 0);
            self.sink.write_all(&pax)?;
        }
        self.sink.write_all(&header.signed())?;
        self.left = size;
        self.padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        if !map.is_empty() {
            self.data(&map)?;
        }
        Ok(())
    }

    /// Some of the current entry's data: of a sparse file, that of its segments. More than it has room for is an error.
    pub fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(data.len() as u64)
            .ok_or_else(|| io::Error::other("more data than the entry has room for"))?;
        self.sink.write_all(data)
    }

    /// Ends the archive and gives back the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.sink.write_all(&[0; 2 * BLOCK])?;
        Ok(self.sink)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("less data than the entry has room for"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.sink.write_all(&[0; BLOCK][..padding])
    }
}

/// The map in front of a sparse file's data, in whole blocks.
fn sparse_map(segments: &[Segment]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len()).into_bytes();
    for segment in segments {
        map.extend_from_slice(format!("{}\n{}\n", segment.offset, segment.length).as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// Appends `length key=value\n`, the length counting itself.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        pax.extend_from_slice(part);
    }
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(flag: u8) -> Header {
        let mut header = Header([0; BLOCK]);
        header.0[156] = flag;
        header.bytes(257, b"ustar\x0000");
        for field in [329, 337] {
            header.octal(field, 8, 0);
        }
        header
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn octal(&mut self, at: usize, length: usize, value: u64) {
        let digits = format!("{value:0width$o}", width = length - 1);
        self.bytes(at, digits.as_bytes());
    }

    /// A number in its field, or in a record when it is too large.
    fn number(&mut self, at: usize, length: usize, most: u64, value: u64, key: &[u8], pax: &mut Vec<u8>) {
        if value > most {
            record(pax, key, value.to_string().as_bytes());
        }
        self.octal(at, length, if value > most { 0 } else { value });
    }

    /// The path: in one field, in two at a slash, or in a record (the field then has its beginning, for readers that know no better).
    fn path(&mut self, path: &OsStr, pax: &mut Vec<u8>) {
        let path = path.as_bytes();
        if path.len() <= 100 {
            return self.bytes(0, path);
        }
        let fits = |at: &usize| {
            let rest = path.len() - at - 1;
            *at > 0 && *at <= 155 && rest > 0 && rest <= 100
        };
        let mut slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        if let Some(at) = slashes.find(fits) {
            self.bytes(345, &path[..at]);
            return self.bytes(0, &path[at + 1..]);
        }
        record(pax, b"path", path);
        self.bytes(0, &path[..100]);
    }

    fn link(&mut self, target: &OsStr, pax: &mut Vec<u8>) {
        let target = target.as_bytes();
        if target.len() > 100 {
            record(pax, b"linkpath", target);
        }
        self.bytes(157, &target[..target.len().min(100)]);
    }

    fn metadata(&mut self, metadata: &Metadata, pax: &mut Vec<u8>) {
        self.octal(100, 8, u64::from(metadata.mode & 0o7777));
        self.number(108, 8, MOST_SHORT, metadata.uid.into(), b"uid", pax);
        self.number(116, 8, MOST_SHORT, metadata.gid.into(), b"gid", pax);
        let whole = u64::try_from(metadata.modified.seconds)
            .ok()
            .filter(|seconds| *seconds <= MOST_LONG);
        if whole.is_none() || metadata.modified.nanoseconds != 0 {
            record(pax, b"mtime", decimal(metadata.modified).as_bytes());
        }
        self.octal(136, 12, whole.unwrap_or(0));
        if let Some(accessed) = metadata.accessed {
            record(pax, b"atime", decimal(accessed).as_bytes());
        }
        for (name, value) in &metadata.xattrs {
            let key = [b"SCHILY.xattr.", name.as_bytes()].concat();
            record(pax, &key, value);
        }
    }

    /// The block with its checksum: the sum of all bytes, the field itself taken as spaces.
    fn signed(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.bytes(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// Seconds with decimals, as few as say it.
fn decimal(time: Time) -> String {
    if time.nanoseconds == 0 {
        return time.seconds.to_string();
    }
    // Nanoseconds count forward: -2 and 0.75 is -1.25.
    let (sign, seconds, nanoseconds) = if time.seconds < 0 {
        ("-", -(time.seconds + 1), 1_000_000_000 - time.nanoseconds)
    } else {
        ("", time.seconds, time.nanoseconds)
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    fn check(entries: &[(Entry, Vec<u8>)]) {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.begin(entry).unwrap();
            writer.data(data).unwrap();
        }
        let archive = writer.finish().unwrap();
        let mut reader = Reader::new(archive.as_slice());
        for (entry, data) in entries {
            let mut found = reader.next_entry().unwrap().unwrap();
            found.offset = 0;
            assert_eq!(found, *entry);
            let mut read = Vec::new();
            loop {
                let some = reader.data().unwrap();
                let length = some.len();
                read.extend_from_slice(some);
                if length == 0 {
                    break;
                }
                reader.consume(length);
            }
            assert_eq!(read, *data);
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    fn entry(path: &str, kind: Kind, metadata: Metadata) -> (Entry, Vec<u8>) {
        let entry = Entry {
            path: path.into(),
            kind,
            metadata,
            offset: 0,
        };
        (entry, Vec::new())
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Metadata {
            mode: 0o4755,
            ..Metadata::default()
        };
        let rich = Metadata {
            mode: 0o1777,
            uid: 3_000_000_000,
            gid: 0o777_7777,
            modified: Time {
                seconds: -2,
                nanoseconds: 750_000_000,
            },
            accessed: Some(Time {
                seconds: 1 << 40,
                nanoseconds: 1,
            }),
            xattrs: vec![("user.k".into(), b"\0=\n\xff".to_vec())],
        };
        let file = |data: &[u8]| Kind::File {
            size: data.len() as u64,
            segments: None,
        };
        let long = format!("{}/{}", "d".repeat(155), "n".repeat(100));
        let longer = format!("{}/{}", "d".repeat(156), "n".repeat(100));
        let unsplit = "n".repeat(101);
        let mut entries = vec![
            entry("dir/", Kind::Directory, plain.clone()),
            entry("dir/f", file(b"data"), rich.clone()),
            entry(&long, file(&[7; 512]), plain.clone()),
            entry(&longer, Kind::Fifo, rich.clone()),
            entry(&unsplit, Kind::Hardlink(longer.clone().into()), plain.clone()),
            entry("l", Kind::Symlink("t".repeat(100).into()), rich.clone()),
            entry("c", Kind::Character(1, 3), plain.clone()),
            entry("b", Kind::Block(4095, 1_048_575), plain),
        ];
        entries[1].1 = b"data".to_vec();
        entries[2].1 = vec![7; 512];
        check(&entries);
        for segments in [
            vec![],
            vec![Segment {
                offset: 1 << 40,
                length: 3,
            }],
        ] {
            let data = vec![1; 3 * segments.len()];
            let kind = Kind::File {
                size: (1 << 40) + 3,
                segments: Some(segments),
            };
            let mut sparse = entry("sparse", kind, rich.clone());
            sparse.1 = data;
            check(&[sparse]);
        }
    }

    #[test]
    fn times_are_short_and_exact() {
        for (seconds, nanoseconds, expected) in [
            (0, 0, "0"),
            (5, 100, "5.0000001"),
            (-1, 0, "-1"),
            (-2, 750_000_000, "-1.25"),
            (-1, 500_000_000, "-0.5"),
        ] {
            assert_eq!(decimal(Time { seconds, nanoseconds }), expected);
        }
    }
}
