//! Compression of what is written, and the digest of what it was before.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use lighter_oci::{Algorithm, Digest, Hasher};

use crate::decode::Compression;

/// Compresses what is written to it. The same bytes give the same bytes: no time and no name is in them.
#[derive(Debug)]
pub struct Encoder<W: Write> {
    inner: Inner<W>,
    hasher: Hasher,
}

enum Inner<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> std::fmt::Debug for Inner<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Inner::None(_) => "None",
            Inner::Gzip(_) => "Gzip",
            Inner::Zstd(_) => "Zstd",
        })
    }
}

impl<W: Write> Encoder<W> {
    /// Writes to `sink` what is compressed at the usual level (gzip 6, zstd 3).
    pub fn new(sink: W, compression: Compression) -> io::Result<Encoder<W>> {
        let inner = match compression {
            Compression::None => Inner::None(sink),
            Compression::Gzip => Inner::Gzip(GzEncoder::new(sink, flate2::Compression::default())),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Inner::Zstd(encoder)
            }
        };
        let hasher = Algorithm::Sha256.hasher();
        Ok(Encoder { inner, hasher })
    }

    /// Ends the stream; gives the sink, and the digest of what was written uncompressed.
    pub fn finish(self) -> io::Result<(W, Digest)> {
        let sink = match self.inner {
            Inner::None(sink) => sink,
            Inner::Gzip(encoder) => encoder.finish()?,
            Inner::Zstd(encoder) => encoder.finish()?,
        };
        Ok((sink, self.hasher.finish()))
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = match &mut self.inner {
            Inner::None(sink) => sink.write(buffer),
            Inner::Gzip(encoder) => encoder.write(buffer),
            Inner::Zstd(encoder) => encoder.write(buffer),
        }?;
        self.hasher.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::None(sink) => sink.flush(),
            Inner::Gzip(encoder) => encoder.flush(),
            Inner::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_is_encoded_is_decoded() {
        let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let encode = || {
                let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
                encoder.write_all(&data).unwrap();
                encoder.finish().unwrap()
            };
            let (encoded, digest) = encode();
            assert_eq!(digest, Digest::sha256(&data));
            assert_eq!(encode().0, encoded);
            let (told, mut decoded) = crate::decode(encoded.as_slice()).unwrap();
            let mut plain = Vec::new();
            decoded.read_to_end(&mut plain).unwrap();
            assert_eq!((told, plain == data), (compression, true));
        }
    }
}
