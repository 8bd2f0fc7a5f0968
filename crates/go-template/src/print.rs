//! Values as Go's `fmt` prints them, and `printf`.

use std::fmt::Write as _;

use crate::value::{Nil, Value};

/// The value as `%v` prints it.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

/// An action's value: as `%v`, but `<no value>` for none.
pub(crate) fn top(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<no value>"),
        value => write(out, value, 0),
    }
}

fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null | Value::Nil(Nil::Pointer(_)) => out.push_str("<nil>"),
        Value::Nil(Nil::List) => out.push_str("[]"),
        Value::Nil(Nil::Map | Nil::NoStrings) => out.push_str("map[]"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => _ = write!(out, "{n}"),
        Value::Float(n) => out.push_str(&float(*n)),
        Value::Str(s) => out.push_str(s),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write(out, item, depth + 1);
            }
            out.push(']');
        }
        // Go prints the address of a nested pointer; there is none here that would mean anything.
        Value::Struct(s) if s.pointer && depth > 0 => out.push_str("0xc000000000"),
        Value::Struct(s) => {
            out.push('{');
            for (i, field) in s
                .fields
                .iter()
                .filter(|f| !matches!(f.value, Value::Method(_)))
                .enumerate()
            {
                if i > 0 {
                    out.push(' ');
                }
                write(out, &field.value, depth + 1);
            }
            out.push('}');
        }
        Value::Named(text, _) => out.push_str(text),
        Value::Method(_) => out.push_str("0x0"),
    }
}

/// `%v` of a `float64`: the shortest digits, an exponent below -4 or from 21 on.
pub(crate) fn float(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{n:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) || n == 0.0 {
        return format!("{n}");
    }
    format!(
        "{digits}e{}{:02}",
        if exponent < 0 { '-' } else { '+' },
        exponent.abs()
    )
}

/// As Go quotes a string (`%q`).
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_control() && (c as u32) < 0x100 => _ = write!(out, "\\x{:02x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `print`: operands side by side, a space between two of which neither is a string.
pub(crate) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 && arg.as_str().is_none() && args[i - 1].as_str().is_none() {
            out.push(' ');
        }
        write(&mut out, arg, 0);
    }
    out
}

/// `println`: operands with spaces between, and a new line.
pub(crate) fn sprintln(args: &[Value]) -> String {
    let words: Vec<String> = args.iter().map(print).collect();
    words.join(" ") + "\n"
}

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `printf`.
pub(crate) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+0# ".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                '#' => spec.sharp = true,
                _ => spec.space = true,
            }
        }
        let mut count = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.next_if_eq(&'*').is_some() {
                return match args.next() {
                    Some(Value::Int(n)) => usize::try_from(*n).ok(),
                    _ => None,
                };
            }
            let mut n = None;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                chars.next();
                n = Some((n.unwrap_or(0usize) * 10 + d as usize).min(100_000));
            }
            n
        };
        spec.width = count(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(count(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => _ = write!(out, "%!{verb}(MISSING)"),
                Some(value) => out.push_str(&pad(&spec, verb, formatted(&spec, verb, value))),
            },
        }
    }
    let extra: Vec<String> = args.map(|a| format!("{}={}", kind(a), print(a))).collect();
    if !extra.is_empty() {
        _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        value => value.type_name(),
    }
}

fn pad(spec: &Spec, verb: char, text: String) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        return text + &" ".repeat(missing);
    }
    if spec.zero && !"sqv".contains(verb) {
        let sign = usize::from(text.starts_with(['-', '+']));
        return format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..]);
    }
    " ".repeat(missing) + &text
}

fn formatted(spec: &Spec, verb: char, value: &Value) -> String {
    let signed = |text: String| match (spec.plus, spec.space, text.starts_with('-')) {
        (true, _, false) => format!("+{text}"),
        (_, true, false) => format!(" {text}"),
        _ => text,
    };
    let cut = |text: &str| match spec.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_owned(),
    };
    match (verb, value) {
        ('s' | 'v', Value::Named(text, _)) => cut(text),
        (verb, Value::Named(_, value)) => formatted(spec, verb, value),
        ('T', value) => kind(value),
        ('v', Value::Str(s)) if spec.sharp => quote(s),
        ('v', value) => print(value),
        ('s', Value::Str(s)) => cut(s),
        ('q', Value::Str(s)) => quote(&cut(s)),
        ('x', Value::Str(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Str(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('d', Value::Int(n)) => signed(n.to_string()),
        ('x', Value::Int(n)) => format!(
            "{}{}{:x}",
            if *n < 0 { "-" } else { "" },
            if spec.sharp { "0x" } else { "" },
            n.unsigned_abs()
        ),
        ('X', Value::Int(n)) => format!(
            "{}{}{:X}",
            if *n < 0 { "-" } else { "" },
            if spec.sharp { "0X" } else { "" },
            n.unsigned_abs()
        ),
        ('o', Value::Int(n)) => format!("{}{:o}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('b', Value::Int(n)) => format!("{}{:b}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('q', Value::Int(n)) => format!(
            "{:?}",
            u32::try_from(*n)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}')
        ),
        ('f' | 'F', Value::Float(n)) => signed(format!("{n:.*}", spec.precision.unwrap_or(6))),
        ('g', Value::Float(n)) => signed(float(*n)),
        ('e', Value::Float(n)) => {
            let text = format!("{n:.*e}", spec.precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            signed(format!(
                "{digits}e{}{:02}",
                if exponent < 0 { '-' } else { '+' },
                exponent.abs()
            ))
        }
        (_, Value::List(items)) if verb != 'p' => {
            let words: Vec<String> = items.iter().map(|item| formatted(spec, verb, item)).collect();
            format!("[{}]", words.join(" "))
        }
        (_, Value::Map(map)) if verb != 'p' => {
            let words: Vec<String> = map
                .iter()
                .map(|(key, item)| {
                    format!(
                        "{}:{}",
                        formatted(spec, verb, &Value::Str(key.clone())),
                        formatted(spec, verb, item)
                    )
                })
                .collect();
            format!("map[{}]", words.join(" "))
        }
        (verb, Value::Null) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", kind(value), print(value)),
    }
}
