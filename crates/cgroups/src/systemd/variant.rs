//! Values as text, as `busctl` and GLib write them: what the annotations `org.systemd.property.NAME` hold.
//!
//= https://docs.gtk.org/glib/gvariant-text-format.html

use super::wire::Value;

/// A property of the unit from an annotation's key (after the prefix) and text. A name that ends in `Sec` is in seconds
/// and becomes systemd's `USec` property.
pub(super) fn property(name: &str, text: &str) -> Result<(String, Value), String> {
    if name.len() < 3 {
        return Err("name too short".into());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("name contains non-alphabetic character".into());
    }
    let mut parser = Parser { rest: text };
    let value = parser.value(None)?;
    parser.blanks();
    if !parser.rest.is_empty() {
        return Err(format!("{:?} after the value", parser.rest));
    }
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|last: char| last.is_ascii_lowercase()) => {
            Ok((format!("{stem}USec"), Value::Uint64(microseconds(&value)?)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cut to what fits"
)]
fn microseconds(value: &Value) -> Result<u64, String> {
    let whole = match value {
        Value::Byte(value) => i128::from(*value),
        Value::Int16(value) => i128::from(*value),
        Value::Uint16(value) => i128::from(*value),
        Value::Int32(value) => i128::from(*value),
        Value::Uint32(value) => i128::from(*value),
        Value::Int64(value) => i128::from(*value),
        Value::Uint64(value) => i128::from(*value),
        Value::Double(value) => return Ok((value * 1e6) as u64),
        _ => return Err("not a number".into()),
    };
    u64::try_from(whole * 1_000_000).map_err(|_| "out of range".into())
}

/// The types that have a name, and their signatures.
const KEYWORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, text: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// One value; `wanted` is its signature where that is known.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.blanks();
        if self.takes("@") {
            let signature = self.word(|c| !c.is_whitespace()).to_owned();
            if signature.len() > 255 {
                return Err("signature too long".into());
            }
            return self.value(Some(&signature));
        }
        if wanted == Some("v") && !self.rest.starts_with('<') {
            return Err(format!("no variant at {:?}", self.rest));
        }
        match self.rest.chars().next() {
            None => Err("no value".into()),
            Some('[') => self.array(wanted),
            Some('{') => self.dictionary(wanted),
            Some('<') => {
                self.takes("<");
                let value = self.value(None)?;
                self.expect(">")?;
                Ok(Value::Variant(Box::new(value)))
            }
            Some('(') => self.tuple(wanted),
            Some('\'' | '"') => self.string(wanted),
            Some('b') if self.rest[1..].starts_with(['\'', '"']) => {
                self.rest = &self.rest[1..];
                let Value::Text(text) = self.string(None)? else {
                    return Err("no bytes".into());
                };
                // As GLib has it, a byte string ends with a zero.
                let mut bytes = text.into_bytes();
                bytes.push(0);
                Ok(Value::bytes(&bytes))
            }
            Some(first) if first.is_ascii_alphabetic() => {
                let word = self.word(|c| c.is_ascii_alphanumeric());
                match word {
                    "true" | "false" => return Ok(Value::Bool(word == "true")),
                    "inf" | "nan" => return number(word, wanted),
                    _ => {}
                }
                let known = KEYWORDS.iter().find(|(name, _)| *name == word);
                let (_, signature) = known.ok_or_else(|| format!("unknown word {word:?}"))?;
                self.value(Some(signature))
            }
            Some(_) => {
                let word = self.word(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                number(word, wanted)
            }
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.takes(text) {
            Ok(())
        } else {
            Err(format!("{text:?} expected at {:?}", self.rest))
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.takes("[");
        let mut element = match wanted {
            Some(signature) => Some(
                signature
                    .strip_prefix('a')
                    .ok_or_else(|| format!("an array is no {signature:?}"))?
                    .to_owned(),
            ),
            None => None,
        };
        let mut values = Vec::new();
        while !self.takes("]") {
            if !values.is_empty() {
                self.expect(",")?;
            }
            let value = self.value(element.as_deref())?;
            let found = value.signature();
            if *element.get_or_insert_with(|| found.clone()) != found {
                return Err("elements of different types".into());
            }
            values.push(value);
        }
        let element = element.ok_or("an empty array needs its type: @as []")?;
        Ok(Value::Array(element, values))
    }

    fn dictionary(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.takes("{");
        let inner = wanted.map(|signature| {
            signature
                .strip_prefix("a{")
                .and_then(|rest| rest.strip_suffix('}'))
                .filter(|inner| inner.len() > 1)
                .ok_or_else(|| format!("a dictionary is no {signature:?}"))
        });
        let inner = inner.transpose()?;
        let mut element = inner.map(|inner| format!("{{{inner}}}"));
        let mut values = Vec::new();
        while !self.takes("}") {
            if !values.is_empty() {
                self.expect(",")?;
            }
            // A key is a basic type: one letter.
            let key = self.value(inner.map(|inner| &inner[..1]))?;
            self.expect(":")?;
            let value = self.value(inner.map(|inner| &inner[1..]))?;
            let entry = Value::Entry(Box::new((key, value)));
            let found = entry.signature();
            if *element.get_or_insert_with(|| found.clone()) != found {
                return Err("entries of different types".into());
            }
            values.push(entry);
        }
        let element = element.ok_or("an empty dictionary needs its type: @a{sv} {}")?;
        Ok(Value::Array(element, values))
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.takes("(");
        let mut fields = Vec::new();
        let mut types = wanted.and_then(|signature| signature.strip_prefix('(')?.strip_suffix(')'));
        while !self.takes(")") {
            if !fields.is_empty() && self.expect(",").is_ok() && self.takes(")") {
                break;
            }
            let first = types.and_then(first_type);
            let value = self.value(first)?;
            types = types.and_then(|types| types.get(value.signature().len()..));
            fields.push(value);
        }
        let value = Value::Struct(fields);
        match wanted {
            Some(signature) if signature != value.signature() => Err(format!("a tuple is no {signature:?}")),
            _ => Ok(value),
        }
    }

    fn string(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let mut characters = self.rest.char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            if Some(character) == quote {
                self.rest = &self.rest[at + 1..];
                return match wanted {
                    None | Some("s") => Ok(Value::Text(text)),
                    Some("o") => Ok(Value::Path(text)),
                    Some("g") if text.len() < 256 => Ok(Value::Signature(text)),
                    Some(other) => Err(format!("text is no {other:?}")),
                };
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(digits @ ('u' | 'U')) => {
                    let count = if digits == 'u' { 4 } else { 8 };
                    let code: String = characters.by_ref().take(count).map(|(_, digit)| digit).collect();
                    let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                    text.push(code.ok_or("no such character")?);
                }
                Some(other) => text.push(other),
                None => break,
            }
        }
        Err("a string without end".into())
    }
}

/// The first complete type of a signature.
fn first_type(signature: &str) -> Option<&str> {
    let mut depth = 0;
    for (at, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            b'a' => continue,
            _ => {}
        }
        if depth == 0 {
            return Some(&signature[..=at]);
        }
    }
    None
}

/// A number without a type is an `int32`, with a point a `double`.
fn number(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    let wanted = wanted.unwrap_or(
        if word.contains('.') || word.contains("inf") || word.contains("nan") {
            "d"
        } else {
            "i"
        },
    );
    let bad = || format!("{word:?} is no value of type {wanted:?}");
    if wanted == "d" {
        return word.parse().map(Value::Double).map_err(|_| bad());
    }
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let whole = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => i128::from_str_radix(digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    let whole = whole.map_err(|_| bad())? * if negative { -1 } else { 1 };
    let value = match wanted {
        "y" => whole.try_into().map(Value::Byte),
        "n" => whole.try_into().map(Value::Int16),
        "q" => whole.try_into().map(Value::Uint16),
        "i" => whole.try_into().map(Value::Int32),
        "u" => whole.try_into().map(Value::Uint32),
        "x" => whole.try_into().map(Value::Int64),
        "t" => whole.try_into().map(Value::Uint64),
        _ => return Err(bad()),
    };
    value.map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_properties() {
        let text = |text: &str| Value::text(text);
        for (name, given, expected_name, expected) in [
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode",
                text("inactive-or-failed"),
            ),
            (
                "TimeoutStopUSec",
                "uint64 1234567",
                "TimeoutStopUSec",
                Value::Uint64(1_234_567),
            ),
            (
                "TimeoutStopSec",
                "1.5",
                "TimeoutStopUSec",
                Value::Uint64(1_500_000),
            ),
            (
                "RuntimeMaxSec",
                "uint64 3",
                "RuntimeMaxUSec",
                Value::Uint64(3_000_000),
            ),
            ("SendSIGHUP", "true", "SendSIGHUP", Value::Bool(true)),
            ("KillSignal", " 15 ", "KillSignal", Value::Int32(15)),
            ("IOWeight", "@t 0x10", "IOWeight", Value::Uint64(16)),
            (
                "After",
                "['a.service', \"b\\n\"]",
                "After",
                Value::Array("s".into(), vec![text("a.service"), text("b\n")]),
            ),
            ("After", "@as []", "After", Value::Array("s".into(), vec![])),
            (
                "DeviceAllow",
                "[('/dev/null', 'rw')]",
                "DeviceAllow",
                Value::Array(
                    "(ss)".into(),
                    vec![Value::Struct(vec![text("/dev/null"), text("rw")])],
                ),
            ),
            ("Bytes", "b'a'", "Bytes", Value::bytes(b"a\0")),
            (
                "Dict",
                "{'k': <byte 1>}",
                "Dict",
                Value::Array(
                    "{sv}".into(),
                    vec![Value::Entry(Box::new((
                        text("k"),
                        Value::Variant(Box::new(Value::Byte(1))),
                    )))],
                ),
            ),
            (
                "Dict",
                "@a{sx} {'k': 2}",
                "Dict",
                Value::Array(
                    "{sx}".into(),
                    vec![Value::Entry(Box::new((text("k"), Value::Int64(2))))],
                ),
            ),
        ] {
            assert_eq!(
                property(name, given),
                Ok((expected_name.to_owned(), expected)),
                "{name}={given}"
            );
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (name, given) in [
            ("a", "1"),
            ("a-b-c", "1"),
            ("abc", ""),
            ("abc", "'x"),
            ("abc", "[]"),
            ("abc", "[1, 'a']"),
            ("abc", "byte 256"),
            ("abc", "1 2"),
            ("abc", "word"),
            ("abc", "@v 1"),
            ("abc", "@s ["),
            ("abcSec", "'text'"),
            ("abcSec", "-1"),
            ("abc", "@a{} {1: 2}"),
            ("abc", "\u{1f600}"),
            ("abc", "'\\uZZZZ'"),
        ] {
            assert!(property(name, given).is_err(), "{name}={given}");
        }
    }
}
