//! Image names as people write them.
//!
//! Source: the grammar in the package documentation of distribution's `reference`, and Docker's rules for short names.
//!
//! ```text
//! reference := [domain "/"] path [":" tag] ["@" digest]
//! domain    := host [":" digits]          host := name ("." name)* | "[" hex-and-colons "]"
//! path      := component ("/" component)* component := [a-z0-9]+ (separator [a-z0-9]+)*
//! separator := "." | "_" | "__" | "-"+    tag := [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError};

/// The domain of a name that gives none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of a name that gives neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const PATH_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A normalised name: `ubuntu` is `docker.io/library/ubuntu`.
///
/// `Display` writes it in full; [`familiar`](Reference::familiar) writes it as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a name. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not of the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository has upper case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// It would be fine in lower case.
    #[error("repository name must be lowercase")]
    MustBeLowercase,
    /// The path is longer than 255 bytes.
    #[error("repository name must not be more than {PATH_MAX} characters")]
    TooLong,
    /// Looks like a full image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The part behind `@` is not a digest that is known.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The tag is not of the grammar (when given alone).
    #[error("invalid tag format")]
    Tag,
}

impl Reference {
    /// Reads a name as Docker's commands do.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::Identifier(text.into()));
        }
        let (domain, remainder) = split_domain(text);
        let remote = remainder.split(':').next().unwrap_or_default();
        if remote.to_lowercase() != remote {
            return Err(ReferenceError::Uppercase(remote.into()));
        }
        parse_full(&format!("{domain}/{remainder}"))
    }

    /// The registry, as written: `docker.io`, `localhost:5000`. Empty for the odd name whose first part looks like a domain
    /// and is none (`foo_bar.com/x`), which Docker takes and cannot pull.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag that was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/ubuntu`.
    pub fn name(&self) -> String {
        if self.domain.is_empty() {
            self.path.clone()
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    /// The name as Docker shows it: `ubuntu`, `me/app`, `localhost/x`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') => short.into(),
            _ => self.path.clone(),
        }
    }

    /// The name, tag and digest as Docker shows them.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The same with `:latest` when it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.into());
        }
        self
    }

    /// Neither tag nor digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// The same name without tag and digest.
    #[must_use]
    pub fn without_version(&self) -> Reference {
        Reference {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// The same name (and digest) with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag);
        }
        Ok(Reference {
            tag: Some(tag.into()),
            ..self.clone()
        })
    }

    /// The same name (and tag) with another digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

/// Splits what a user wrote into a domain and the rest, filling in what short names leave out.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, rest) = match text.split_once('/') {
        None => return (DEFAULT_DOMAIN, format!("{OFFICIAL}{text}")),
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        Some(_) => (DEFAULT_DOMAIN, text),
    };
    match domain == DEFAULT_DOMAIN && !rest.contains('/') {
        true => (domain, format!("{OFFICIAL}{rest}")),
        false => (domain, rest.into()),
    }
}

/// Reads a name with its domain.
fn parse_full(text: &str) -> Result<Reference, ReferenceError> {
    let Some(parts) = Parts::of(text) else {
        let lower = text.to_lowercase();
        return Err(if Parts::of(&lower).is_some() {
            ReferenceError::MustBeLowercase
        } else {
            ReferenceError::Format
        });
    };
    if parts.path.len() > PATH_MAX {
        return Err(ReferenceError::TooLong);
    }
    let digest = parts.digest.map(str::parse).transpose()?;
    Ok(Reference {
        domain: parts.domain.into(),
        path: parts.path.into(),
        tag: parts.tag.map(Into::into),
        digest,
    })
}

/// The parts of a text that has the form of a reference.
struct Parts<'a> {
    domain: &'a str,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Parts<'a>> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the domain.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last..].split_once(':') {
            Some((component, tag)) => (&rest[..last + component.len()], Some(tag)),
            None => (rest, None),
        };
        let (domain, path) = match name.split_once('/') {
            Some((domain, path)) if is_domain(domain) && is_path(path) => (domain, path),
            _ if is_path(name) => ("", name),
            _ => return None,
        };
        let good = tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        good.then_some(Parts {
            domain,
            path,
            tag,
            digest,
        })
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after))
                if !address.is_empty() && address.bytes().all(|b| b == b':' || b.is_ascii_hexdigit()) =>
            {
                (
                    None,
                    if after.is_empty() {
                        None
                    } else {
                        Some(after.strip_prefix(':').unwrap_or_default())
                    },
                )
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric())
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// Runs of `[a-z0-9]`, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_in_words = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    ends_in_words
        && bytes
            .split(|b| word(*b))
            .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b == b'_' || b.is_ascii_alphanumeric();
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// The form of a digest: whether it is a known one is asked later, and answered with another error.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Reference::parse(&text).map_err(serde::de::Error::custom)
    }
}
