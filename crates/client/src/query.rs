//! Queries and path segments.

use std::fmt::Write as _;

/// A query, written as it grows: `?a=b&c=d`.
#[derive(Debug, Clone, Default)]
pub struct Query(String);

impl Query {
    /// An empty one.
    pub fn new() -> Query {
        Query::default()
    }

    /// Adds `name=value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Query {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        escape(value, &mut self.0);
        self
    }

    /// Adds `name=value` unless the value is empty.
    #[must_use]
    pub fn with_some(self, name: &str, value: &str) -> Query {
        if value.is_empty() {
            self
        } else {
            self.with(name, value)
        }
    }

    /// Adds `name=1` when it holds.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Query {
        if value { self.with(name, "1") } else { self }
    }

    /// The text, from `?` on; empty without a parameter.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `text` as one segment of a path. Slashes stay: an image's name has some.
pub fn segment(text: &str) -> String {
    let mut escaped = String::new();
    escape(text, &mut escaped);
    escaped.replace("%2F", "/")
}

/// All but RFC 3986's unreserved characters by their bytes.
pub(crate) fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte))
            }
            // Writing to a String cannot fail.
            _ => drop(write!(into, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        let query = Query::new()
            .with("a", "x y&z")
            .with_some("b", "")
            .flag("c", true)
            .flag("d", false);
        assert_eq!(query.as_str(), "?a=x%20y%26z&c=1");
        assert_eq!(segment("127.0.0.1:5000/a/b?c"), "127.0.0.1%3A5000/a/b%3Fc");
    }
}
