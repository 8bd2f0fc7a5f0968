//! JSON as Go reads it, times as Go prints them.
//!
//! Go's `encoding/json` matches keys in any case, takes `null` for anything (the zero value), ignores unknown keys, fills
//! short arrays and cuts long ones. Clients have come to rely on each of these. Here is the one place that knows.

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// How Go prints a time that never was.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// `time` as Go's RFC3339Nano: UTC, up to nine digits, no trailing zeros.
pub fn time(time: jiff::Timestamp) -> String {
    // jiff prints just so by default.
    time.to_string()
}

/// Why a body is not what it should be. The texts are Docker's where clients could see the difference.
#[derive(Debug)]
pub enum Error {
    /// Nothing but white space.
    Empty,
    /// It is cut off.
    Cut,
    /// Not JSON.
    Syntax(serde_json::Error),
    /// A second value behind the first.
    Trailing,
    /// JSON of another shape: where, and what was wrong.
    Shape {
        /// `HostConfig.Memory`; empty for the whole.
        path: String,
        /// What was found and what was expected.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("invalid JSON: got EOF while reading request body"),
            Self::Cut => f.write_str("invalid JSON: unexpected EOF"),
            // The message of serde_json has no source of its own to be repeated.
            Self::Syntax(error) => write!(f, "invalid JSON: {error}"),
            Self::Trailing => f.write_str("unexpected content after JSON"),
            Self::Shape { path, message } if path.is_empty() => write!(f, "invalid JSON: {message}"),
            Self::Shape { path, message } => write!(f, "invalid JSON: {path}: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Shape {
            path: String::new(),
            message: message.to_string(),
        }
    }
}

impl Error {
    /// Where and what, without saying again that it is about JSON.
    pub(crate) fn place(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("invalid JSON: ")
            .map(str::to_owned)
            .unwrap_or(text)
    }

    fn within(self, outer: &str) -> Self {
        match self {
            Self::Shape { path, message } => {
                let path = match path.is_empty() {
                    true => outer.to_owned(),
                    false => format!("{outer}.{path}"),
                };
                Self::Shape { path, message }
            }
            other => other,
        }
    }
}

/// Reads one JSON value of the shape `T` that fills `bytes`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Empty);
    }
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) if error.is_eof() => return Err(Error::Cut),
        Some(Err(error)) => return Err(Error::Syntax(error)),
        None => return Err(Error::Empty),
    };
    if !bytes[values.byte_offset()..].iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Trailing);
    }
    from_value(value)
}

/// Reads a value of the shape `T` from JSON that was parsed already.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Go(value))
}

/// For `deserialize_with`: a list of strings, of which one may come without its brackets.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<Option<String>>),
    }
    let read = Option::<OneOrMany>::deserialize(deserializer)
        .map_err(|_| de::Error::custom("expected a string or a list of strings"))?;
    Ok(read.map(|read| match read {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many.into_iter().map(Option::unwrap_or_default).collect(),
    }))
}

/// A value that is read by Go's rules.
struct Go(Value);

impl Go {
    fn other<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                _ => Err(de::Error::custom("number out of range")),
            },
            Value::String(value) => visitor.visit_string(value),
            Value::Array(values) => visitor.visit_seq(List(values.into_iter())),
            Value::Object(map) => visitor.visit_map(Fields {
                entries: map.into_iter(),
                next: None,
            }),
        }
    }
}

macro_rules! null_is_zero {
    ($($method:ident $visit:ident $zero:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::Null => visitor.$visit($zero),
                _ => self.other(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Go {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.other(visitor)
    }

    null_is_zero! {
        deserialize_bool visit_bool false;
        deserialize_i8 visit_i64 0;
        deserialize_i16 visit_i64 0;
        deserialize_i32 visit_i64 0;
        deserialize_i64 visit_i64 0;
        deserialize_u8 visit_u64 0;
        deserialize_u16 visit_u64 0;
        deserialize_u32 visit_u64 0;
        deserialize_u64 visit_u64 0;
        deserialize_f32 visit_f64 0.0;
        deserialize_f64 visit_f64 0.0;
        deserialize_str visit_str "";
        deserialize_string visit_str "";
        deserialize_seq visit_seq List(Vec::new().into_iter());
        deserialize_map visit_map Fields { entries: Map::new().into_iter(), next: None };
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_seq(List(vec![Value::Null; len].into_iter())),
            Value::Array(mut values) => {
                values.resize(len, Value::Null);
                visitor.visit_seq(List(values.into_iter()))
            }
            _ => self.other(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = match self.0 {
            Value::Null => Map::new(),
            Value::Object(entries) => named_as(fields, entries),
            // serde would take an array for a struct's fields in their order.
            Value::Array(_) => return Err(de::Error::invalid_type(de::Unexpected::Seq, &visitor)),
            _ => return self.other(visitor),
        };
        visitor.visit_map(Fields {
            entries: entries.into_iter(),
            next: None,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct enum identifier ignored_any
    }
}

/// The entries that `fields` know, under the names they have there. An exact name wins over another case of it.
fn named_as(fields: &'static [&'static str], entries: Map<String, Value>) -> Map<String, Value> {
    let mut known = Map::new();
    let mut exact = Vec::new();
    for (key, value) in entries {
        // `null` leaves a field as it is.
        if value.is_null() {
            continue;
        }
        if fields.contains(&key.as_str()) {
            exact.push((key, value));
        } else if let Some(field) = fields.iter().find(|field| field.eq_ignore_ascii_case(&key)) {
            known.insert((*field).to_owned(), value);
        }
    }
    known.extend(exact);
    known
}

struct List(std::vec::IntoIter<Value>);

impl<'de> de::SeqAccess<'de> for List {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Go(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields {
    entries: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl<'de> de::MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        let read = seed.deserialize(name)?;
        self.next = Some((key, value));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) = self.next.take().unwrap_or_default();
        seed.deserialize(Go(value)).map_err(|error| error.within(&key))
    }
}
