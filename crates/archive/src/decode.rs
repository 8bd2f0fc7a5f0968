//! Compression, told by the first bytes.

use std::io::{BufRead, BufReader, Read};

use crate::{Error, Result};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, of one or more members (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

const BUFFER: usize = 256 << 10;

/// The compression of a stream that begins with `start`. An error names one that is known and not supported.
fn detect(start: &[u8]) -> Result<Compression> {
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => Err(Error::Compression("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::Compression("xz")),
        _ => Ok(Compression::None),
    }
}

/// The uncompressed bytes of `source`, whatever it is compressed with.
pub fn decode<'a>(source: impl Read + Send + 'a) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut source = BufReader::with_capacity(BUFFER, Prefixed::new(source)?);
    let compression = detect(source.fill_buf().map_err(Error::Read)?)?;
    let decoded: Box<dyn Read + Send> = match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source).map_err(Error::Read)?),
    };
    Ok((compression, decoded))
}

/// A stream whose first read gives enough to tell the compression, however short the reads of its source are.
struct Prefixed<R> {
    start: [u8; 8],
    length: usize,
    source: R,
}

impl<R: Read> Prefixed<R> {
    fn new(mut source: R) -> Result<Self> {
        let (mut start, mut length) = ([0; 8], 0);
        while length < start.len() {
            match source.read(&mut start[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        Ok(Self {
            start,
            length,
            source,
        })
    }
}

impl<R: Read> Read for Prefixed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.length == 0 {
            return self.source.read(buffer);
        }
        let start = &self.start[..self.length];
        let taken = start.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&start[..taken]);
        self.start.copy_within(taken.., 0);
        self.length -= taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Gives one byte a read.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn check(data: &[u8], compression: Compression, expected: &[u8]) {
        for slow in [false, true] {
            let source: Box<dyn Read + Send> = if slow {
                Box::new(Slow(data))
            } else {
                Box::new(data)
            };
            let (found, mut decoded) = decode(source).unwrap();
            let mut plain = Vec::new();
            decoded.read_to_end(&mut plain).unwrap();
            assert_eq!((found, plain.as_slice()), (compression, expected));
        }
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        let plain = vec![7_u8; 100_000];
        check(&plain, Compression::None, &plain);
        check(b"", Compression::None, b"");
        check(b"ab", Compression::None, b"ab");
        check(&gzip(&plain), Compression::Gzip, &plain);
        check(
            &zstd::encode_all(plain.as_slice(), 1).unwrap(),
            Compression::Zstd,
            &plain,
        );
        let members = [gzip(b"one, "), gzip(b"two")].concat();
        check(&members, Compression::Gzip, b"one, two");
    }

    #[test]
    fn what_is_cut_or_unknown_is_an_error() {
        let data = gzip(&vec![7; 100_000]);
        let (_, mut decoded) = decode(&data[..data.len() - 5]).unwrap();
        assert!(decoded.read_to_end(&mut Vec::new()).is_err());
        assert!(matches!(
            decode(&b"BZh91AY"[..]),
            Err(Error::Compression("bzip2"))
        ));
        assert!(matches!(
            decode(&b"\xfd7zXZ\0\0\0"[..]),
            Err(Error::Compression("xz"))
        ));
    }
}
