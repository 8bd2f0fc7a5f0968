//! Values: JSON whose objects keep their order.

use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// What a template shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `nil`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    String(String),
    /// A slice.
    List(Vec<Value>),
    /// A map or a struct. Keys that end with `()` are methods with one argument: an object of the answers.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Object(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value as Go's `json` writes it: `<`, `>` and `&` escaped.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }

    /// Go's notion of what `if` takes for true.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::String(text) => !text.is_empty(),
            Value::List(values) => !values.is_empty(),
            Value::Object(entries) => !entries.is_empty(),
        }
    }

    /// As Go's `%v`.
    pub(crate) fn show(&self, into: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Value::Null => write!(into, "<no value>"),
            Value::Bool(value) => write!(into, "{value}"),
            Value::Int(value) => write!(into, "{value}"),
            Value::Float(value) => write!(into, "{value}"),
            Value::String(text) => write!(into, "{text}"),
            Value::List(values) => {
                into.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        into.push(' ');
                    }
                    value.show_inner(into);
                }
                write!(into, "]")
            }
            Value::Object(entries) => {
                into.push_str("map[");
                let mut sorted: Vec<_> = entries.iter().filter(|(key, _)| !key.ends_with("()")).collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                for (at, (key, value)) in sorted.into_iter().enumerate() {
                    if at > 0 {
                        into.push(' ');
                    }
                    into.push_str(key);
                    into.push(':');
                    value.show_inner(into);
                }
                write!(into, "]")
            }
        };
    }

    fn show_inner(&self, into: &mut String) {
        match self {
            Value::Null => into.push_str("<nil>"),
            other => other.show(into),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::String(text) => serializer.serialize_str(text),
            Value::List(values) => serializer.collect_seq(values),
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries.iter().filter(|(key, _)| !key.ends_with("()")) {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                #[expect(clippy::cast_precision_loss, reason = "what does not fit is shown as Go shows a float")]
                Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::String(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Value, E> {
                Ok(Value::String(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Value::List(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Value::Object(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
