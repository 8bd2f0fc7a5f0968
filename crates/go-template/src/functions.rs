//! Functions: Go's own, and those that Docker adds.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::Value;

const NAMES: [&str; 27] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt", "ge", "json",
    "join", "split", "lower", "upper", "title", "pad", "truncate", "html", "urlquery", "js", "table",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(crate) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    use Value::{Bool, Int, List, Null, Object, String as Text};
    Ok(match (name, arguments) {
        ("json", [value]) => Text(value.to_json()),
        ("not", [value]) => Bool(!value.truth()),
        ("len", [Text(text)]) => length(text.len()),
        ("len", [List(values)]) => length(values.len()),
        ("len", [Object(entries)]) => length(entries.len()),
        ("len", [Null]) => Int(0),
        ("index", [value, keys @ ..]) => {
            let mut value = value.clone();
            for key in keys {
                value = index(&value, key)?;
            }
            value
        }
        ("slice", [Text(text), rest @ ..]) => {
            let (begin, end) = bounds(rest, text.len())?;
            Text(text.get(begin..end).ok_or("slice index out of range")?.to_owned())
        }
        ("slice", [List(values), rest @ ..]) => {
            let (begin, end) = bounds(rest, values.len())?;
            List(values.get(begin..end).ok_or("slice index out of range")?.to_vec())
        }
        ("eq", [first, others @ ..]) if !others.is_empty() => Bool(others.iter().any(|other| equal(first, other))),
        ("ne", [a, b]) => Bool(!equal(a, b)),
        ("lt", [a, b]) => Bool(order(a, b)? == Ordering::Less),
        ("le", [a, b]) => Bool(order(a, b)? != Ordering::Greater),
        ("gt", [a, b]) => Bool(order(a, b)? == Ordering::Greater),
        ("ge", [a, b]) => Bool(order(a, b)? != Ordering::Less),
        ("join", [List(values), Text(by)]) => {
            let texts: Vec<String> = values.iter().map(shown).collect();
            Text(texts.join(by))
        }
        ("join", [Null, _]) => Text(String::new()),
        ("split", [Text(text), Text(by)]) => List(text.split(by.as_str()).map(Value::from).collect()),
        ("lower", [Text(text)]) => Text(text.to_lowercase()),
        ("upper", [Text(text)]) => Text(text.to_uppercase()),
        ("title", [Text(text)]) => {
            let mut chars = text.chars();
            Text(chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect()))
        }
        ("pad", [Text(text), Int(left), Int(right)]) if text.is_empty() || left | right == 0 => Text(text.clone()),
        ("pad", [Text(text), Int(left), Int(right)]) => {
            let spaces = |count: &i64| " ".repeat(usize::try_from(*count).unwrap_or(0).min(10_000));
            Text(format!("{}{text}{}", spaces(left), spaces(right)))
        }
        ("truncate", [Text(text), Int(most)]) => {
            Text(text.chars().take(usize::try_from(*most).unwrap_or(0)).collect())
        }
        ("print", values) => {
            let mut text = String::new();
            for (at, value) in values.iter().enumerate() {
                // Go puts a space between two of which neither is text.
                if at > 0 && !matches!(value, Text(_)) && !matches!(values[at - 1], Text(_)) {
                    text.push(' ');
                }
                value.show(&mut text);
            }
            Text(text)
        }
        ("println", values) => Text(values.iter().map(shown).collect::<Vec<_>>().join(" ") + "\n"),
        ("printf", [Text(format), values @ ..]) => Text(printf(format, values)),
        ("html", [value]) => Text(
            shown(value)
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;")
                .replace('\'', "&#39;"),
        ),
        ("len", [other]) => return Err(format!("len of type {}", kind(other))),
        _ => return Err(format!("wrong number or kind of args for {name}")),
    })
}

fn shown(value: &Value) -> String {
    let mut text = String::new();
    value.show(&mut text);
    text
}

fn length(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Object(_), Value::String(name)) => Ok(value.get(name).cloned().unwrap_or(Value::Null)),
        (Value::List(values), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| values.get(at))
            .cloned()
            .ok_or_else(|| format!("reflect: slice index out of range: {at}")),
        (Value::String(text), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| text.as_bytes().get(at))
            .map(|byte| Value::Int(i64::from(*byte)))
            .ok_or_else(|| format!("index out of range: {at}")),
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        (other, key) => Err(format!("cannot index {} with type {}", kind(other), kind(key))),
    }
}

fn bounds(arguments: &[Value], length: usize) -> Result<(usize, usize), String> {
    let number = |value: &Value| match value {
        Value::Int(number) => usize::try_from(*number).map_err(|_| format!("index out of range: {number}")),
        other => Err(format!("cannot index slice/array with type {}", kind(other))),
    };
    Ok(match arguments {
        [] => (0, length),
        [begin] => (number(begin)?, length),
        [begin, end, ..] => (number(begin)?, number(end)?),
    })
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => order(a, b) == Ok(Ordering::Equal),
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, String> {
    #[expect(clippy::cast_precision_loss, reason = "numbers of two kinds are compared as floats")]
    let float = |value: &Value| match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => match (float(a), float(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).ok_or_else(|| "not a number".to_owned()),
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

/// As much of `fmt.Sprintf` as has been seen in `--format`: `%s %v %d %q %t %x %f %%` with width, zeros, minus, precision.
fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
            flags.push(flag);
        }
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(|c| c.is_ascii_digit() || *c == '.') {
            digits.push(digit);
        }
        let (width, precision) = match digits.split_once('.') {
            Some((width, precision)) => (width.to_owned(), Some(precision.parse().unwrap_or(0_usize))),
            None => (digits, None),
        };
        let width: usize = width.parse().unwrap_or(0).min(10_000);
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%!{verb}(MISSING)");
            continue;
        };
        let text = match (verb, value) {
            ('q', Value::String(text)) => serde_json::to_string(text).unwrap_or_default(),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
            ('f', Value::Int(number)) => format!("{:.*}", precision.unwrap_or(6), *number as f64),
            ('f', Value::Float(number)) => format!("{number:.*}", precision.unwrap_or(6)),
            ('d', Value::Int(number)) => number.to_string(),
            ('d', Value::Float(number)) => format!("%!d(float64={number})"),
            ('d', Value::String(text)) => format!("%!d(string={text})"),
            ('s', Value::Int(number)) => format!("%!s(int={number})"),
            ('s', Value::Bool(value)) => format!("%!s(bool={value})"),
            (_, value) => {
                let text = shown(value);
                match precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text,
                }
            }
        };
        let missing = width.saturating_sub(text.chars().count());
        match (flags.contains('-'), flags.contains('0')) {
            (true, _) => out.push_str(&(text + &" ".repeat(missing))),
            (_, true) => out.push_str(&("0".repeat(missing) + &text)),
            _ => out.push_str(&(" ".repeat(missing) + &text)),
        }
    }
    out
}
