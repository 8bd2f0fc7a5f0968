//! Values as `encoding/json` writes them, without escaping HTML (as Docker's `json` function does).

use std::fmt::Write as _;

use crate::value::Value;

/// The value as compact JSON; keys of maps in order, fields of structs as declared.
pub fn to_json(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null | Value::Nil(_) | Value::Method(_) => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => _ = write!(out, "{n}"),
        Value::Float(n) => out.push_str(&crate::print::float(*n)),
        Value::Str(s) => string(out, s),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, item);
            }
            out.push(']');
        }
        Value::Map(map) => object(out, map.iter().map(|(k, v)| (k.as_str(), v))),
        Value::Struct(s) => match &s.json {
            Some(json) => write(out, json),
            None => object(
                out,
                s.fields
                    .iter()
                    .filter(|f| !(f.json.is_empty() || f.omit_empty && empty(&f.value)))
                    .map(|f| (f.json, &f.value)),
            ),
        },
    }
}

/// `omitempty`: false, zero, nil, and what has no elements; a struct never is.
fn empty(value: &Value) -> bool {
    !value.truth()
}

fn object<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, &'a Value)>) {
    out.push('{');
    for (i, (key, item)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, key);
        out.push(':');
        write(out, item);
    }
    out.push('}');
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
}
