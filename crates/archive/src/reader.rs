//! A tar archive, entry by entry, from a stream.

use std::ffi::OsString;
use std::io::{BufRead, ErrorKind};
use std::os::unix::ffi::OsStringExt;

use crate::entry::{Entry, Kind, Metadata, Segment, Time};
use crate::pax::Pax;
use crate::{Error, Result, sparse};

const BLOCK: usize = 512;
/// Bytes of a long name or an extended header: they are kept in memory.
const MOST_EXTENSION: u64 = 1 << 20;

/// Reads ustar, PAX and GNU archives, also sparse files in all four of their formats. Global PAX headers are skipped, as Go's
/// reader does, on which the other container tools stand.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes taken from the source.
    offset: u64,
    /// Bytes of the current entry's data that were not read.
    left: u64,
    /// Padding behind them.
    padding: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `source`, uncompressed.
    pub fn new(source: R) -> Self {
        Self {
            source,
            offset: 0,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; `None` at the end of the archive. What was not read of the one before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let (mut path, mut link, mut pax) = (None, None, Pax::default());
        loop {
            self.skip_data()?;
            let offset = self.offset;
            let bad = |why| Error::Malformed { offset, why };
            let Some(block) = self.header()? else {
                return Ok(None);
            };
            let header = Header::parse(&block).map_err(bad)?;
            match header.kind {
                b'x' | b'X' => pax = Pax::parse(&self.extension(header.size)?).map_err(bad)?,
                b'L' => path = Some(text(&self.extension(header.size)?)),
                b'K' => link = Some(text(&self.extension(header.size)?)),
                // A global header, a volume's label.
                b'g' | b'V' | b'N' => self.expect_data(header.size),
                b'M' => return Err(bad("archives in several volumes are not supported")),
                _ => return self.entry(&header, path, link, pax, offset).map(Some),
            }
        }
    }

    /// Some bytes of the current entry's data; empty at its end. Call [`Reader::consume`] for what was used.
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        // Twice, because the borrow checker takes the first for the whole function; the second gives the same at once.
        if fill(&mut self.source)?.is_empty() {
            return Err(self.cut());
        }
        let available = fill(&mut self.source)?;
        let length = usize::try_from(self.left).map_or(available.len(), |left| left.min(available.len()));
        Ok(&available[..length])
    }

    /// Marks `length` bytes of [`Reader::data`] as used.
    pub fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.offset += length as u64;
        self.left -= length as u64;
    }

    /// Gives back the source: what follows the end of the archive is still in it.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        path: Option<OsString>,
        link: Option<OsString>,
        pax: Pax,
        offset: u64,
    ) -> Result<Entry> {
        let bad = |why| Error::Malformed { offset, why };
        let link = pax.link.or(link).unwrap_or_else(|| text(header.field(157, 100)));
        let path = pax
            .sparse
            .name
            .clone()
            .or(pax.path)
            .or(path)
            .unwrap_or_else(|| header.path());
        let is_directory = path.as_encoded_bytes().ends_with(b"/");
        let id = |from_pax: Option<u64>, from_header: i64| {
            from_pax
                .or(u64::try_from(from_header).ok())
                .and_then(|id| u32::try_from(id).ok())
        };
        let metadata = Metadata {
            mode: header.mode & 0o7777,
            uid: id(pax.uid, header.uid).ok_or_else(|| bad("owner out of range"))?,
            gid: id(pax.gid, header.gid).ok_or_else(|| bad("group out of range"))?,
            modified: pax.modified.unwrap_or(Time {
                seconds: header.modified,
                nanoseconds: 0,
            }),
            accessed: pax.accessed,
            xattrs: pax.xattrs,
        };
        let kind = match header.kind {
            0 if is_directory => {
                // How the oldest archives said it.
                self.expect_data(header.size);
                Kind::Directory
            }
            b'0' | 0 | b'7' | b'S' => {
                let stored = pax.size.unwrap_or(header.size);
                self.expect_data(stored);
                self.file(header, &pax.sparse, stored)
                    .map_err(|error| match error {
                        Error::Malformed { why, .. } => bad(why),
                        other => other,
                    })?
            }
            b'1' => Kind::Hardlink(link),
            b'2' => Kind::Symlink(link),
            b'3' | b'4' => {
                let number =
                    |number: i64| u32::try_from(number).map_err(|_| bad("device number out of range"));
                let (major, minor) = (number(header.major)?, number(header.minor)?);
                if header.kind == b'3' {
                    Kind::Character(major, minor)
                } else {
                    Kind::Block(major, minor)
                }
            }
            b'5' => Kind::Directory,
            b'D' => {
                // GNU's list of names: a directory with data that is of no use here.
                self.expect_data(header.size);
                Kind::Directory
            }
            b'6' => Kind::Fifo,
            _ => return Err(bad("entry of an unknown type")),
        };
        Ok(Entry {
            path,
            kind,
            metadata,
            offset,
        })
    }

    /// A regular file, with the map of a sparse one.
    fn file(&mut self, header: &Header<'_>, said: &crate::pax::Sparse, stored: u64) -> Result<Kind> {
        let bad = |why| Error::Malformed { offset: 0, why };
        let (segments, size) = if header.kind == b'S' {
            let mut segments = Vec::new();
            sparse::old_gnu(&header.block[386..482], &mut segments).map_err(bad)?;
            let size = number(header.field(483, 12)).and_then(|size| u64::try_from(size).ok());
            let mut more = header.block[482] != 0;
            while more {
                // Blocks of the map are not counted in the entry's size.
                let mut block = [0; BLOCK];
                self.read_exact(&mut block)?;
                sparse::old_gnu(&block[..504], &mut segments).map_err(bad)?;
                more = block[504] != 0;
            }
            (segments, size.ok_or_else(|| bad("bad size of a sparse file"))?)
        } else if said.map_in_data {
            let size = said.size.ok_or_else(|| bad("sparse file without a size"))?;
            (self.sparse_map()?, size)
        } else if let Some(size) = said.size.filter(|_| !said.segments.is_empty() || stored == 0) {
            (said.segments.clone(), size)
        } else {
            return Ok(Kind::File {
                size: stored,
                segments: None,
            });
        };
        sparse::check(&segments, size, self.left).map_err(bad)?;
        Ok(Kind::File {
            size,
            segments: Some(segments),
        })
    }

    /// The map of a sparse file of version 1.0: decimal lines in whole blocks in front of the data.
    fn sparse_map(&mut self) -> Result<Vec<Segment>> {
        let bad = |why| Error::Malformed { offset: 0, why };
        let mut digits = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            if self.left < BLOCK as u64 {
                return Err(bad("sparse map is cut"));
            }
            self.left -= BLOCK as u64;
            self.read_exact(&mut block)?;
            for byte in block {
                match byte {
                    b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                    b'\n' => {
                        let number = std::str::from_utf8(&digits)
                            .ok()
                            .and_then(|digits| digits.parse().ok());
                        numbers.push(number.ok_or_else(|| bad("bad sparse map"))?);
                        digits.clear();
                        let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
                        if count > sparse::MOST_SEGMENTS {
                            return Err(bad("sparse map too long"));
                        }
                        if numbers.len() == 1 + 2 * count {
                            let pairs = numbers[1..].chunks_exact(2);
                            return Ok(pairs
                                .map(|pair| Segment {
                                    offset: pair[0],
                                    length: pair[1],
                                })
                                .collect());
                        }
                    }
                    _ => return Err(bad("bad sparse map")),
                }
            }
        }
    }

    fn expect_data(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_data(&mut self) -> Result<()> {
        self.left = self.left.checked_add(self.padding).ok_or(Error::Malformed {
            offset: self.offset,
            why: "size out of range",
        })?;
        self.padding = 0;
        while self.left > 0 {
            let length = self.data()?.len();
            self.consume(length);
        }
        Ok(())
    }

    /// The data of a long name or an extended header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MOST_EXTENSION {
            return Err(Error::Malformed {
                offset: self.offset,
                why: "extended header too long",
            });
        }
        self.expect_data(size);
        let mut data = Vec::new();
        while self.left > 0 {
            let some = self.data()?;
            data.extend_from_slice(some);
            let length = some.len();
            self.consume(length);
        }
        Ok(data)
    }

    /// The next header; `None` at two zero blocks, or where the stream ends between two entries.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        for _ in 0..2 {
            if fill(&mut self.source)?.is_empty() {
                return Ok(None);
            }
            let mut block = [0; BLOCK];
            self.read_exact(&mut block)?;
            if block.iter().any(|byte| *byte != 0) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let available = fill(&mut self.source)?;
            if available.is_empty() {
                return Err(self.cut());
            }
            let length = available.len().min(buffer.len() - done);
            buffer[done..done + length].copy_from_slice(&available[..length]);
            self.source.consume(length);
            self.offset += length as u64;
            done += length;
        }
        Ok(())
    }

    fn cut(&self) -> Error {
        Error::Malformed {
            offset: self.offset,
            why: "the archive is cut",
        }
    }
}

fn fill(source: &mut impl BufRead) -> Result<&[u8]> {
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    // What was read is in the buffer: this gives it without another read.
    source.fill_buf().map_err(Error::Read)
}

/// The fields of a header block that all kinds have.
struct Header<'a> {
    block: &'a [u8; BLOCK],
    kind: u8,
    size: u64,
    mode: u32,
    uid: i64,
    gid: i64,
    modified: i64,
    major: i64,
    minor: i64,
}

impl<'a> Header<'a> {
    fn parse(block: &'a [u8; BLOCK]) -> std::result::Result<Header<'a>, &'static str> {
        let field = |from: usize, length: usize| number(&block[from..from + length]);
        // The sum of all bytes, the field itself taken as spaces. Very old writers summed signed bytes.
        let bytes = || {
            block
                .iter()
                .enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte })
        };
        let unsigned: i64 = bytes().map(i64::from).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let sum = field(148, 8).ok_or("not a tar header")?;
        if sum != unsigned && sum != signed {
            return Err("not a tar header, or a damaged one");
        }
        let size = field(124, 12)
            .and_then(|size| u64::try_from(size).ok())
            .ok_or("bad size")?;
        // Links, devices, directories and pipes have no data, whatever their size says.
        let has_data = !matches!(block[156], b'1'..=b'6');
        // Only these two have fields for device numbers.
        let has_devices = &block[257..262] == b"ustar";
        let device = |from| {
            if has_devices {
                field(from, 8).unwrap_or(-1)
            } else {
                0
            }
        };
        Ok(Header {
            block,
            kind: block[156],
            size: if has_data { size } else { 0 },
            mode: field(100, 8)
                .and_then(|mode| u32::try_from(mode).ok())
                .ok_or("bad mode")?,
            uid: field(108, 8).ok_or("bad owner")?,
            gid: field(116, 8).ok_or("bad group")?,
            modified: field(136, 12).ok_or("bad time")?,
            major: device(329),
            minor: device(337),
        })
    }

    fn field(&self, from: usize, length: usize) -> &[u8] {
        &self.block[from..from + length]
    }

    /// The name, with the prefix that POSIX headers have (GNU's use its place for other things).
    fn path(&self) -> OsString {
        let name = text(self.field(0, 100));
        let prefix = text(self.field(345, 155));
        if &self.block[257..263] != b"ustar\0" || prefix.is_empty() {
            return name;
        }
        let mut path = prefix;
        path.push("/");
        path.push(name);
        path
    }
}

/// A number: octal digits between spaces and zeros, or base 256 with the top bit set.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // Two's complement over the whole field, the marker bit taken off.
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && !negative { byte & 0x7f } else { *byte };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let is_filler = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !is_filler(byte))
        .unwrap_or(field.len());
    let digits = field[start..].split(is_filler).next().unwrap_or_default();
    let digit = |value: Option<i64>, byte: &u8| match byte {
        b'0'..=b'7' => value?.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    };
    digits.iter().fold(Some(0), digit)
}

/// Bytes up to the first zero.
fn text(field: &[u8]) -> OsString {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    OsString::from_vec(field[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777"), Some(0o77_777_777));
        assert_eq!(number(b"00008\0\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }
}
