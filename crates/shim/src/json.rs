//! The little JSON that a shim reads: a string in a known place. No tree is built.

/// The raw value of `key` in the object `text`, or `None` when it is not there or `text` is no object.
pub(crate) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = text.trim_start().strip_prefix('{')?.trim_start();
    while rest.starts_with('"') {
        let (name, after) = value(rest)?;
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        let (found, after) = value(after)?;
        if string(name).as_deref() == Some(key) {
            return Some(found);
        }
        rest = after.trim_start().strip_prefix(',')?.trim_start();
    }
    None
}

/// The raw elements of the array `text`.
pub(crate) fn elements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let Some(mut rest) = text.trim_start().strip_prefix('[') else {
        return found;
    };
    while let Some((element, after)) = value(rest.trim_start()) {
        found.push(element);
        match after.trim_start().strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    found
}

/// Splits `text` after its first value.
fn value(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 0 {
                    return text.split_at_checked(at + 1);
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return if at > 0 { text.split_at_checked(at) } else { None },
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return text.split_at_checked(at + 1);
                }
            }
            b',' if depth == 0 => return if at > 0 { text.split_at_checked(at) } else { None },
            _ => {}
        }
        at += 1;
    }
    None
}

/// The text of a JSON string.
pub(crate) fn string(raw: &str) -> Option<String> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'u' => {
                let (unit, after) = unit(rest.as_str())?;
                rest = after.chars();
                let low = after.strip_prefix("\\u").and_then(unit_pair);
                match low.filter(|_| (0xd800..0xdc00).contains(&unit)) {
                    Some((low, after)) => {
                        rest = after.chars();
                        let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    None => text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            other => text.push(other),
        }
    }
    Some(text)
}

fn unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

fn unit_pair(text: &str) -> Option<(u32, &str)> {
    unit(text).filter(|(low, _)| (0xdc00..0xe000).contains(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_at_their_depth_only() {
        let text = r#" {"a" : {"msg":"inner, }"}, "n":[1,{"x":"]"}], "msg" : "o\"u\u00fct\ud83d\ude00\n" , "z":tru}"#;
        assert_eq!(
            member(text, "msg").and_then(string).unwrap(),
            "o\"u\u{fc}t\u{1f600}\n"
        );
        assert_eq!(member(member(text, "a").unwrap(), "msg").unwrap(), "\"inner, }\"");
        assert_eq!(elements(member(text, "n").unwrap()), ["1", r#"{"x":"]"}"#]);
        assert_eq!(member(text, "none"), None);
    }

    #[test]
    fn broken_text_is_no_panic() {
        for text in [
            "",
            "{",
            "{\"",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":\"",
            "[",
            "\"\\u12",
            "{\"a\":\"\\",
            "{\"a\\\":1}",
            "]",
            "{\"é",
        ] {
            assert_eq!(member(text, "a"), None, "{text}");
            elements(text);
            string(text);
        }
    }
}
