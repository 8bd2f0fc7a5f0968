//! What a template is executed on: values as Go's reflection would see them.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of a template's data.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value: an untyped `nil`, or JSON's `null`.
    #[default]
    Null,
    /// A nil of a known type: prints as an empty value of it, and is `null` in JSON.
    Nil(Nil),
    /// A `bool`.
    Bool(bool),
    /// Any integer.
    Int(i64),
    /// A `float64`.
    Float(f64),
    /// A `string`.
    Str(String),
    /// A slice.
    List(Vec<Value>),
    /// A map with string keys; walked in the order of its keys, as Go's templates do.
    Map(BTreeMap<String, Value>),
    /// A struct, or a pointer to one.
    Struct(Rc<Struct>),
    /// A value whose type has a `String` method (a duration, a time): the text prints, the value does all else.
    Named(String, Box<Value>),
    /// A method that takes arguments: `{{.Label "x"}}`.
    Method(Method),
}

/// The type of a nil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nil {
    /// A nil slice.
    List,
    /// A nil map of strings.
    Map,
    /// A map of strings that is empty, not nil: `{}` in JSON.
    NoStrings,
    /// A nil pointer to a struct.
    Pointer(&'static str),
}

/// A Go struct: fields in the order of their declaration.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// The name of its type, as errors show it: `*formatter.ContainerContext`.
    pub type_name: &'static str,
    /// Whether the value is a pointer to the struct.
    pub pointer: bool,
    /// The fields (and methods without arguments).
    pub fields: Vec<Field>,
    /// Whether the fields are methods: only errors tell.
    pub methods: bool,
    /// What its `MarshalJSON` yields, when that is not its fields.
    pub json: Option<Box<Value>>,
}

/// A field of a [`Struct`].
#[derive(Clone, Debug)]
pub struct Field {
    /// Its Go name.
    pub name: &'static str,
    /// Its key in JSON; empty when it has none.
    pub json: &'static str,
    /// Whether it is left out of JSON while empty.
    pub omit_empty: bool,
    /// Its value.
    pub value: Value,
}

/// A method with arguments.
#[derive(Clone)]
pub struct Method(pub Rc<Function>);

/// What a method does with its arguments; an error is said as it is.
pub type Function = dyn Fn(&[Value]) -> Result<Value, String>;

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Method")
    }
}

impl Value {
    /// Whether Go's templates take the value for true: not nil, zero or empty; a struct always is.
    pub fn truth(&self) -> bool {
        match self {
            Value::Null | Value::Nil(_) => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(n) => *n != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Map(m) => !m.is_empty(),
            Value::Struct(_) | Value::Method(_) => true,
            Value::Named(_, value) => value.truth(),
        }
    }

    /// The name of the value's Go type, for errors.
    pub fn type_name(&self) -> String {
        match self {
            Value::Null => "interface {}".into(),
            Value::Nil(Nil::List) | Value::List(_) => "[]interface {}".into(),
            Value::Nil(Nil::Map | Nil::NoStrings) | Value::Map(_) => "map[string]interface {}".into(),
            Value::Nil(Nil::Pointer(name)) => (*name).into(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_) => "int".into(),
            Value::Float(_) => "float64".into(),
            Value::Str(_) => "string".into(),
            Value::Struct(s) => s.type_name.into(),
            Value::Method(_) => "func".into(),
            Value::Named(_, value) => value.type_name(),
        }
    }

    /// The entry of a map or the field of a struct.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(name),
            Value::Struct(s) => s.fields.iter().find(|f| f.name == name).map(|f| &f.value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.to_owned())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(n), _) => Value::Int(n),
                (None, Some(n)) => Value::Float(n),
                (None, None) => Value::Null,
            },
            Json::String(s) => Value::Str(s.clone()),
            Json::Array(items) => Value::List(items.iter().map(Value::from).collect()),
            Json::Object(map) => Value::Map(map.iter().map(|(k, v)| (k.clone(), Value::from(v))).collect()),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(i64::try_from(n).map_or(Value::Float(n as f64), Value::Int))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Float(n))
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::Str(s.to_owned()))
    }

    fn visit_string<E>(self, s: String) -> Result<Value, E> {
        Ok(Value::Str(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }
}
