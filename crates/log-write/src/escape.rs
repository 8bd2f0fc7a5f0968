//! JSON strings as Docker's json-file writes them.

/// Appends `text` to `out` as the inside of a JSON string.
///
/// Escaped are `\`, `"`, newline and return by their short forms; other control characters and `<`, `>`, `&` as
/// `\u00XX`; U+2028 and U+2029; each byte that is no UTF-8 becomes `\ufffd`. (Observed in Docker's logs; Go's
/// `encoding/json` does the same but for tab.)
pub(crate) fn put(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        put_valid(out, chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn put_valid(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let mut width = 1;
        let escaped: &[u8] = match byte {
            b'\\' => b"\\\\",
            b'"' => b"\\\"",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            0..0x20 | b'<' | b'>' | b'&' => &[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ],
            0xe2 if text[at..].starts_with("\u{2028}".as_bytes()) => {
                width = 3;
                b"\\u2028"
            }
            0xe2 if text[at..].starts_with("\u{2029}".as_bytes()) => {
                width = 3;
                b"\\u2029"
            }
            _ => {
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&text[plain..at]);
        out.extend_from_slice(escaped);
        at += width;
        plain = at;
    }
    out.extend_from_slice(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: &str) {
        let mut out = Vec::new();
        put(&mut out, input);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn text_is_escaped_as_docker_does() {
        check(b"plain ~ \x7f", "plain ~ \x7f");
        check(b"a\tb\r\n\x1b[0m\0", "a\\u0009b\\r\\n\\u001b[0m\\u0000");
        check(b"<a href=\"x\">&\\", "\\u003ca href=\\\"x\\\"\\u003e\\u0026\\\\");
        check(
            "grün \u{2028}\u{2029}\u{2027}".as_bytes(),
            "grün \\u2028\\u2029\u{2027}",
        );
        check(b"\xff\xc3(", "\\ufffd\\ufffd(");
        // A cut character: one replacement a byte, as Go decodes it.
        check(b"\xe2\x82", "\\ufffd\\ufffd");
    }
}
