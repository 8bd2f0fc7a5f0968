//! Values as `encoding/json` writes them; without escaping HTML (as Docker's `json` function does), but for what a type's own
//! `MarshalJSON` yields.

use std::fmt::Write as _;

use crate::value::{Nil, Value};

/// The value as compact JSON; keys of maps in order, fields of structs as declared.
pub fn to_json(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, false);
    out
}

fn write(out: &mut String, value: &Value, escape: bool) {
    match value {
        Value::Nil(Nil::NoStrings) => out.push_str("{}"),
        Value::Null | Value::Nil(_) | Value::Method(_) => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => _ = write!(out, "{n}"),
        Value::Float(n) => out.push_str(&crate::print::float(*n)),
        Value::Str(s) => string(out, s, escape),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, item, escape);
            }
            out.push(']');
        }
        Value::Named(_, value) => write(out, value, escape),
        Value::Map(map) => object(out, map.iter().map(|(k, v)| (k.as_str(), v)), escape),
        Value::Struct(s) => match &s.json {
            Some(json) => write(out, json, true),
            None => object(
                out,
                s.fields
                    .iter()
                    .filter(|f| !(f.json.is_empty() || f.omit_empty && empty(&f.value)))
                    .map(|f| (f.json, &f.value)),
                escape,
            ),
        },
    }
}

/// `omitempty`: false, zero, nil, and what has no elements; a struct never is.
fn empty(value: &Value) -> bool {
    !value.truth()
}

fn object<'a>(out: &mut String, entries: impl Iterator<Item = (&'a str, &'a Value)>, escape: bool) {
    out.push('{');
    for (i, (key, item)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, key, escape);
        out.push(':');
        write(out, item, escape);
    }
    out.push('}');
}

fn string(out: &mut String, text: &str, escape: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' | '>' | '&' if escape => _ = write!(out, "\\u{:04x}", c as u32),
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
