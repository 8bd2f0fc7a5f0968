//! Content digests: `sha256:<hex>`.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A checked digest: a known algorithm, and lower-case hex of the right length.
///
/// Source: OCI image-spec, descriptor.md#digests. The texts of the errors are go-digest's, which Docker shows.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// The whole text, `algorithm:hex`.
    text: Box<str>,
}

/// The registered algorithms, as the image-spec lists them, and sha384 that Go's library takes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `algorithm:hex`.
    #[error("invalid checksum digest format")]
    Format,
    /// The hex is too short or too long for the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// Well formed, of an algorithm that is not known.
    #[error("unsupported digest algorithm")]
    Unsupported,
}

impl Algorithm {
    const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Length of the hash in bytes.
    pub fn size(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 => 64,
        }
    }

    /// A running hash of this algorithm.
    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Hasher::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        }
    }

    /// The digest of all that `source` gives. Blocks.
    pub fn digest(self, mut source: impl Read) -> io::Result<Digest> {
        let (mut hasher, mut buffer) = (self.hasher(), vec![0; 256 << 10]);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Digest {
    /// The sha256 of `data`.
    pub fn sha256(data: &[u8]) -> Digest {
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(data);
        hasher.finish()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hex after the colon.
    pub fn encoded(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn of(algorithm: Algorithm, hash: &[u8]) -> Digest {
        Digest {
            algorithm,
            text: format!("{}:{}", algorithm.name(), hex::encode(hash)).into(),
        }
    }
}

/// A hash being computed.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// sha256
    Sha256(sha2::Sha256),
    /// sha384
    Sha384(sha2::Sha384),
    /// sha512
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Takes in more data.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(data),
            Hasher::Sha384(hash) => hash.update(data),
            Hasher::Sha512(hash) => hash.update(data),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hash) => Digest::of(Algorithm::Sha256, &hash.finalize()),
            Hasher::Sha384(hash) => Digest::of(Algorithm::Sha384, &hash.finalize()),
            Hasher::Sha512(hash) => Digest::of(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (name, encoded) = text.split_once(':').ok_or(DigestError::Format)?;
        if name.is_empty() || encoded.is_empty() {
            return Err(DigestError::Format);
        }
        let Some(algorithm) = Algorithm::ALL.into_iter().find(|known| known.name() == name) else {
            let error = if unknown_but_well_formed(name, encoded) {
                DigestError::Unsupported
            } else {
                DigestError::Format
            };
            return Err(error);
        };
        if encoded.len() != algorithm.size() * 2 {
            return Err(DigestError::Length);
        }
        if !encoded
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(DigestError::Format);
        }
        Ok(Digest {
            algorithm,
            text: text.into(),
        })
    }
}

/// The image-spec's general grammar: components of letters and digits joined by one of `+._-`, then base64url characters.
fn unknown_but_well_formed(algorithm: &str, encoded: &str) -> bool {
    let component =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    algorithm.split(['+', '.', '_', '-']).all(component)
        && encoded
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'=' | b'_' | b'-'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_knows_its_parts() {
        let digest = Digest::sha256(b"");
        assert_eq!(
            digest.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.encoded().len(), 64);
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn what_is_no_digest_is_refused_as_go_digest_does() {
        let zeros = "0".repeat(64);
        let cases = [
            (String::new(), DigestError::Format),
            ("sha256".into(), DigestError::Format),
            ("sha256:".into(), DigestError::Format),
            (format!(":{zeros}"), DigestError::Format),
            ("sha256:abc".into(), DigestError::Length),
            (format!("sha512:{zeros}"), DigestError::Length),
            (format!("sha256:{}", "A".repeat(64)), DigestError::Format),
            (format!("sha256:{}", "g".repeat(64)), DigestError::Format),
            (format!("md5:{zeros}"), DigestError::Unsupported),
            (format!("a+b.c:{zeros}"), DigestError::Unsupported),
            (format!("a++b:{zeros}"), DigestError::Format),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    #[test]
    fn json_holds_the_text() {
        let digest = Digest::sha256(b"x");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"sha256:zz\"").is_err());
    }
}
