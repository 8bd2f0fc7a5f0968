//! Words of an action.

/// A word, and where it begins (bytes from the template's begin).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// `.` alone.
    Dot,
    /// `.Name`.
    Field(String),
    /// `$`, `$name`: without the sign.
    Variable(String),
    /// A function or keyword.
    Word(String),
    String(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
    /// White space: `.a .b` are two operands, `.a.b` is one.
    Space,
}

/// Splits the inside of an action that begins at `base`.
pub(crate) fn lex(text: &str, base: usize) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = base + text.len() - rest.len();
        let word = |from: &str| -> usize {
            from.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(from.len())
        };
        let (kind, used) = match first {
            c if c.is_whitespace() => {
                let used = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
                (Kind::Space, used)
            }
            '.' => match word(&rest[1..]) {
                0 => (Kind::Dot, 1),
                length => (Kind::Field(rest[1..=length].to_owned()), length + 1),
            },
            '$' => {
                let length = word(&rest[1..]);
                (Kind::Variable(rest[1..=length].to_owned()), length + 1)
            }
            '|' => (Kind::Pipe, 1),
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            ',' => (Kind::Comma, 1),
            ':' if rest.starts_with(":=") => (Kind::Declare, 2),
            '=' => (Kind::Assign, 1),
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                (Kind::String(rest[1..=end].to_owned()), end + 2)
            }
            '"' => {
                let (text, used) = quoted(rest).ok_or("unterminated quoted string")?;
                (Kind::String(text), used)
            }
            '\'' => {
                let mut chars = rest[1..].chars();
                let inner = chars.next().unwrap_or_default();
                (Kind::Int(i64::from(u32::from(inner))), inner.len_utf8() + 2)
            }
            c if c.is_ascii_digit() || ((c == '-' || c == '+') && rest[1..].starts_with(|c: char| c.is_ascii_digit())) => {
                let used = 1 + rest[1..]
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
                    .unwrap_or(rest.len() - 1);
                (number(&rest[..used])?, used)
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = word(rest);
                (Kind::Word(rest[..length].to_owned()), length)
            }
            c => return Err(format!("unexpected {c:?} in command")),
        };
        tokens.push(Token { kind, at });
        rest = rest.get(used..).ok_or("unterminated character constant")?;
    }
    Ok(tokens)
}

fn number(text: &str) -> Result<Kind, String> {
    let plain = text.replace('_', "");
    let int = match plain.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => plain.parse().ok(),
    };
    match (int, plain.parse()) {
        (Some(int), _) => Ok(Kind::Int(int)),
        (_, Ok(float)) => Ok(Kind::Float(float)),
        _ => Err(format!("bad number syntax: {text:?}")),
    }
}

/// A quoted string at the begin of `text`, and how long it is there.
pub(crate) fn quoted(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'u' => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    out.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                }
                'x' => {
                    let hex: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                    out.push(char::from(u8::from_str_radix(&hex, 16).ok()?));
                }
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}
