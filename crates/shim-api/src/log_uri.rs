//! `lighter-log://`: where the shim writes output and serves attach streams.
//!
//! Source: docs/design/0001-seams.md, "Output".

use std::fmt;

/// The scheme, with its slashes.
pub const SCHEME: &str = "lighter-log://";
/// Value of `stdin` that makes the shim hold a pipe to the process.
pub const STDIN: &str = "lighter-log://stdin";

/// Who writes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// Docker's json-file lines, with rotation.
    #[default]
    JsonFile,
    /// Nothing is written.
    None,
}

/// A parsed `lighter-log://` address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogUri {
    /// Who writes.
    pub driver: Driver,
    /// Absolute path of the log; `/` when nothing is written.
    pub path: String,
    /// Rotate before the file grows beyond so many bytes.
    pub max_size: Option<u64>,
    /// How many files to keep, the current one included; at least 1.
    pub max_file: u32,
    /// Absolute path of the attach socket; empty for none.
    pub attach: String,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogUriError {
    /// Another scheme.
    #[error("{0:?} is not a lighter-log address")]
    Scheme(String),
    /// A path that is not absolute.
    #[error("the path in {0:?} is not absolute")]
    Path(String),
    /// A driver that this shim does not write.
    #[error("unknown log driver {0:?}")]
    Driver(String),
    /// A number that is none.
    #[error("{key}={value:?} is not a number")]
    Number {
        /// Name of the parameter.
        key: &'static str,
        /// What was given.
        value: String,
    },
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("{0:?} is badly percent-encoded")]
    Encoding(String),
}

impl LogUri {
    /// Reads an address. Unknown parameters are ignored, so that an older shim serves a newer caller.
    pub fn parse(uri: &str) -> Result<Self, LogUriError> {
        let rest = uri
            .strip_prefix(SCHEME)
            .ok_or_else(|| LogUriError::Scheme(uri.to_owned()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parsed = Self {
            path: decode(path)?,
            max_file: 1,
            ..Self::default()
        };
        if !parsed.path.starts_with('/') {
            return Err(LogUriError::Path(uri.to_owned()));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match key {
                "driver" => parsed.driver = driver(value)?,
                "max-size" => parsed.max_size = Some(number("max-size", value)?),
                "max-file" => parsed.max_file = number::<u32>("max-file", value)?.max(1),
                "attach" => parsed.attach = value,
                _ => {}
            }
        }
        Ok(parsed)
    }
}

impl fmt::Display for LogUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = match self.driver {
            Driver::JsonFile => "json-file",
            Driver::None => "none",
        };
        write!(f, "{SCHEME}{}?driver={driver}", Encoded(&self.path))?;
        if let Some(size) = self.max_size {
            write!(f, "&max-size={size}")?;
        }
        if self.max_file > 1 {
            write!(f, "&max-file={}", self.max_file)?;
        }
        if !self.attach.is_empty() {
            write!(f, "&attach={}", Encoded(&self.attach))?;
        }
        Ok(())
    }
}

fn driver(name: String) -> Result<Driver, LogUriError> {
    match name.as_str() {
        "json-file" => Ok(Driver::JsonFile),
        "none" => Ok(Driver::None),
        _ => Err(LogUriError::Driver(name)),
    }
}

fn number<N: std::str::FromStr>(key: &'static str, value: String) -> Result<N, LogUriError> {
    value.parse().map_err(|_| LogUriError::Number { key, value })
}

/// Percent-decodes `text` (RFC 3986, section 2.1).
pub fn decode(text: &str) -> Result<String, LogUriError> {
    let bad = || LogUriError::Encoding(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return Err(bad());
        };
        let digit = |byte: &u8| {
            (*byte as char)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(bad());
        };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                    write!(f, "{}", byte as char)?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let uri = LogUri {
            driver: Driver::JsonFile,
            path: "/var/lib/a b/100%?&x-json.log".into(),
            max_size: Some(10_000_000),
            max_file: 3,
            attach: "/run/lighter/attach/ö.sock".into(),
        };
        assert_eq!(LogUri::parse(&uri.to_string()).unwrap(), uri);
        assert_eq!(uri.to_string().matches('?').count(), 1);
    }

    #[test]
    fn bad_addresses_are_refused() {
        for uri in [
            "file:///x",
            "lighter-log://relative",
            "lighter-log:///x?driver=syslog",
            "lighter-log:///x?max-size=1k",
            "lighter-log:///%2",
            "lighter-log:///%ff",
        ] {
            assert!(LogUri::parse(uri).is_err(), "{uri}");
        }
        assert_eq!(
            LogUri::parse("lighter-log:///?driver=none&later=1")
                .unwrap()
                .driver,
            Driver::None
        );
    }
}
