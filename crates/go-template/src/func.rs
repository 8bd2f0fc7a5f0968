//! The functions of templates: Go's own and those of Docker's formatters.

use std::cmp::Ordering;

use crate::Functions;
use crate::json;
use crate::print;
use crate::value::{Nil, Value};

/// Why a call failed.
pub(crate) enum Outcome {
    /// A wrong number of arguments; how many there should be.
    Count(&'static str),
    /// The argument with this index is of a wrong type.
    Type(usize, String),
    /// The function itself says no.
    Failed(String),
}

/// Each function, with the least and the most arguments it takes.
const TABLE: &[(&str, usize, usize)] = &[
    ("and", 1, MANY),
    ("eq", 1, MANY),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("html", 0, MANY),
    ("index", 1, MANY),
    ("join", 2, 2),
    ("json", 1, 1),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lower", 1, 1),
    ("lt", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, MANY),
    ("pad", 3, 3),
    ("print", 0, MANY),
    ("printf", 1, MANY),
    ("println", 0, MANY),
    ("slice", 1, MANY),
    ("split", 2, 2),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("upper", 1, 1),
    ("urlquery", 0, MANY),
];

const MANY: usize = usize::MAX;

pub(crate) fn exists(name: &str) -> bool {
    TABLE.iter().any(|(known, ..)| *known == name)
}

pub(crate) fn call(name: &str, mut args: Vec<Value>, functions: Functions) -> Result<Value, Outcome> {
    if !matches!(name, "print" | "println" | "printf" | "html" | "urlquery") {
        args.iter_mut().for_each(unname);
    }
    let &(_, least, most) = TABLE
        .iter()
        .find(|(known, ..)| *known == name)
        .ok_or_else(|| Outcome::Failed("no such function".into()))?;
    if args.len() < least || args.len() > most {
        return Err(Outcome::Count(match (least, most == MANY) {
            (1, true) => "at least 1",
            (_, true) => "at least 2",
            (1, _) => "1",
            (2, _) => "2",
            _ => "3",
        }));
    }
    if functions == Functions::Heading
        && matches!(
            name,
            "json" | "lower" | "upper" | "title" | "truncate" | "split" | "join"
        )
    {
        return Ok(args.into_iter().next().unwrap_or_default());
    }
    let text = |i: usize| match &args[i] {
        Value::Str(s) => Ok(s.as_str()),
        other => Err(wrong(i, "string", other)),
    };
    let count = |i: usize| match &args[i] {
        Value::Int(n) => Ok(usize::try_from(*n).unwrap_or(0)),
        other => Err(wrong(i, "int", other)),
    };
    Ok(match name {
        "json" => Value::Str(json::to_json(&args[0])),
        "len" => Value::Int(length(&args[0])? as i64),
        "index" => index(args)?,
        "slice" => slice(&args)?,
        "not" => Value::Bool(!args[0].truth()),
        "print" => Value::Str(print::sprint(&args)),
        "println" => Value::Str(print::sprintln(&args)),
        "printf" => Value::Str(print::sprintf(text(0)?, &args[1..])),
        "eq" => Value::Bool(equal(&args)?),
        "ne" => Value::Bool(!equal(&args)?),
        "lt" => Value::Bool(order(&args)?.is_lt()),
        "le" => Value::Bool(order(&args)?.is_le()),
        "gt" => Value::Bool(order(&args)?.is_gt()),
        "ge" => Value::Bool(order(&args)?.is_ge()),
        "lower" => Value::Str(text(0)?.to_lowercase()),
        "upper" => Value::Str(text(0)?.to_uppercase()),
        "title" => Value::Str(title(text(0)?)),
        "split" => Value::List(split(text(0)?, text(1)?)),
        "join" => match &args[0] {
            Value::List(items) => {
                Value::Str(items.iter().map(print::print).collect::<Vec<_>>().join(text(1)?))
            }
            Value::Null | Value::Nil(Nil::List) => Value::Str(String::new()),
            other => return Err(wrong(0, "[]string", other)),
        },
        "pad" => match text(0)? {
            "" => Value::Str(String::new()),
            source => Value::Str(format!(
                "{}{source}{}",
                " ".repeat(count(1)?),
                " ".repeat(count(2)?)
            )),
        },
        "truncate" => Value::Str(text(0)?.chars().take(count(1)?).collect()),
        "html" => Value::Str(html(&print::sprint(&args))),
        "urlquery" => Value::Str(url(&print::sprint(&args))),
        _ => Value::Null,
    })
}

/// Functions that compute see the value itself.
fn unname(value: &mut Value) {
    if let Value::Named(_, inner) = value {
        *value = std::mem::take(inner);
    }
}

/// Go's words for an argument of the wrong type.
fn wrong(index: usize, want: &str, found: &Value) -> Outcome {
    Outcome::Type(
        index,
        match found {
            Value::Null => format!("invalid value; expected {want}"),
            found => format!("wrong type for value; expected {want}; got {}", found.type_name()),
        },
    )
}

fn length(value: &Value) -> Result<usize, Outcome> {
    match value {
        Value::Str(s) => Ok(s.len()),
        Value::List(l) => Ok(l.len()),
        Value::Map(m) => Ok(m.len()),
        Value::Nil(Nil::List | Nil::Map | Nil::NoStrings) => Ok(0),
        Value::Null | Value::Nil(_) => Err(Outcome::Failed("len of nil pointer".into())),
        other => Err(Outcome::Failed(format!("len of type {}", other.type_name()))),
    }
}

fn index(args: Vec<Value>) -> Result<Value, Outcome> {
    let fail = |message: String| Err(Outcome::Failed(message));
    let mut args = args.into_iter();
    let mut value = args.next().unwrap_or_default();
    for key in args {
        value = match (value, key) {
            (Value::Null | Value::Nil(Nil::Pointer(_)), _) => return fail("index of untyped nil".into()),
            (Value::List(items), Value::Int(n)) => match usize::try_from(n).ok().and_then(|n| items.get(n)) {
                Some(item) => item.clone(),
                None => return fail(format!("index out of range: {n}")),
            },
            (Value::Str(s), Value::Int(n)) => match usize::try_from(n).ok().and_then(|n| s.as_bytes().get(n))
            {
                Some(byte) => Value::Int(i64::from(*byte)),
                None => return fail("reflect: string index out of range".into()),
            },
            (Value::Nil(Nil::List), Value::Int(n)) => return fail(format!("index out of range: {n}")),
            (Value::List(_) | Value::Str(_) | Value::Nil(Nil::List), Value::Null) => {
                return fail("cannot index slice/array with nil".into());
            }
            (Value::List(_) | Value::Str(_) | Value::Nil(Nil::List), key) => {
                return fail(format!("cannot index slice/array with type {}", key.type_name()));
            }
            (Value::Map(map), Value::Str(key)) => match map.get(&key) {
                Some(item) => item.clone(),
                None => zero_like(map.values().next()),
            },
            (Value::Nil(Nil::Map | Nil::NoStrings), Value::Str(_)) => Value::from(""),
            (Value::Map(_) | Value::Nil(Nil::Map | Nil::NoStrings), Value::Null) => {
                return fail("value is nil; should be of type string".into());
            }
            (Value::Map(_) | Value::Nil(Nil::Map | Nil::NoStrings), key) => {
                return fail(format!("value has type {}; should be string", key.type_name()));
            }
            (other, _) => return fail(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// What a key that is not there stands for: the zero of the type of the others.
fn zero_like(other: Option<&Value>) -> Value {
    match other {
        Some(Value::Str(_)) => Value::Str(String::new()),
        Some(Value::Int(_)) => Value::Int(0),
        Some(Value::Bool(_)) => Value::Bool(false),
        Some(Value::List(_) | Value::Nil(Nil::List)) => Value::Nil(Nil::List),
        Some(Value::Map(_) | Value::Nil(Nil::Map)) => Value::Nil(Nil::Map),
        Some(Value::Struct(s)) if s.pointer => Value::Nil(Nil::Pointer(s.type_name)),
        _ => Value::Null,
    }
}

fn slice(args: &[Value]) -> Result<Value, Outcome> {
    let fail = |message: String| Outcome::Failed(message);
    if args.len() > 4 {
        return Err(fail(format!("too many slice indexes: {}", args.len() - 1)));
    }
    let len = length(&args[0])?;
    let mut bounds = [0, len];
    for (i, arg) in args[1..].iter().take(2).enumerate() {
        bounds[i] = match arg {
            Value::Int(n) => usize::try_from(*n)
                .ok()
                .filter(|n| *n <= len)
                .ok_or_else(|| fail(format!("index out of range: {n}")))?,
            other => {
                return Err(fail(format!(
                    "cannot index slice/array with type {}",
                    other.type_name()
                )));
            }
        };
    }
    let [from, to] = bounds;
    if from > to {
        return Err(fail(format!("invalid slice index: {from} > {to}")));
    }
    match &args[0] {
        Value::Str(s) => Ok(Value::Str(
            String::from_utf8_lossy(&s.as_bytes()[from..to]).into_owned(),
        )),
        Value::List(items) => Ok(Value::List(items[from..to].to_vec())),
        other => Err(fail(format!("can't slice item of type {}", other.type_name()))),
    }
}

fn equal(args: &[Value]) -> Result<bool, Outcome> {
    let fail = |message: &str| Err(Outcome::Failed(message.into()));
    if args.len() == 1 {
        return fail("missing argument for comparison");
    }
    for other in &args[1..] {
        let same = match (&args[0], other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Null | Value::Nil(_), Value::Null | Value::Nil(_)) => true,
            (Value::Null | Value::Nil(_), _) | (_, Value::Null | Value::Nil(_)) => false,
            (Value::List(_) | Value::Map(_) | Value::Struct(_), _) => return fail("non-comparable type"),
            _ => return fail("incompatible types for comparison"),
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(args: &[Value]) -> Result<Ordering, Outcome> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b).unwrap_or(Ordering::Greater)),
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => Err(Outcome::Failed("invalid type for comparison".into())),
        (
            Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Bool(_),
            Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Bool(_),
        ) => Err(Outcome::Failed("incompatible types for comparison".into())),
        _ => Err(Outcome::Failed("invalid type for comparison".into())),
    }
}

/// Each word's first letter as a capital.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for c in text.chars() {
        let letter = c.is_alphanumeric() || c == '_' || c == '\'';
        if letter && !inside {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        inside = letter;
    }
    out
}

fn split(text: &str, separator: &str) -> Vec<Value> {
    if separator.is_empty() {
        return text.chars().map(|c| Value::Str(c.to_string())).collect();
    }
    text.split(separator).map(Value::from).collect()
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn url(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}
