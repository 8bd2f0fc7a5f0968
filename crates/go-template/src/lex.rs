//! Text into tokens, as Go's `text/template/parse` cuts it.

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Text(String),
    Open,
    Close,
    /// White space within an action; it separates operands.
    Space,
    Dot,
    /// `.Name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    Word(String),
    Str(String),
    Char(char),
    Number(String),
    Pipe,
    LeftParen,
    RightParen,
    Declare,
    Assign,
    Comma,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) token: Token,
    pub(crate) at: usize,
    pub(crate) source: String,
}

/// An error of the lexer and its place.
pub(crate) type Fault = (usize, String);

/// Cuts `text` up; the tokens before an error come with it, for Go reports what it meets first.
pub(crate) fn lex(text: &str) -> (Vec<Item>, Option<Fault>) {
    let mut lexer = Lexer {
        text,
        at: 0,
        items: Vec::new(),
        parens: 0,
    };
    let fault = lexer.run().err();
    if fault.is_none() {
        lexer.push(Token::End, text.len());
    }
    (lexer.items, fault)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    items: Vec<Item>,
    parens: usize,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, token: Token, from: usize) {
        let source = self.text[from..self.at].to_owned();
        self.items.push(Item {
            token,
            at: from,
            source,
        });
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut trim = false;
        loop {
            let from = self.at;
            let open = self.rest().find("{{").map(|n| from + n);
            let end = open.unwrap_or(self.text.len());
            let mut raw = &self.text[from..end];
            if trim {
                raw = raw.trim_start_matches(SPACE);
            }
            if open.is_some_and(|at| trims_left(&self.text[at + 2..])) {
                raw = raw.trim_end_matches(SPACE);
            }
            let raw = raw.to_owned();
            self.at = end;
            if !raw.is_empty() {
                self.push(Token::Text(raw), from);
            }
            let Some(open) = open else { return Ok(()) };
            let body = if trims_left(&self.text[open + 2..]) {
                open + 4
            } else {
                open + 2
            };
            if self.text[body..].starts_with("/*") {
                trim = self.comment(body)?;
                continue;
            }
            self.at = open + 2;
            self.push(Token::Open, open);
            self.at = body;
            trim = self.action()?;
        }
    }

    fn comment(&mut self, from: usize) -> Result<bool, Fault> {
        let Some(n) = self.text[from..].find("*/") else {
            return Err((from, "unclosed comment".into()));
        };
        let after = from + n + 2;
        let rest = &self.text[after..];
        for (mark, trim) in [("}}", false), (" -}}", true)] {
            if rest.starts_with(mark) {
                self.at = after + mark.len();
                return Ok(trim);
            }
        }
        Err((from, "comment ends before closing delimiter".into()))
    }

    /// The inside of an action; says whether it ends with a trim marker.
    fn action(&mut self) -> Result<bool, Fault> {
        self.parens = 0;
        loop {
            let from = self.at;
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(SPACE);
            if trimmed.len() < rest.len() && trimmed.starts_with("-}}") {
                self.at += rest.len() - trimmed.len();
                return self.close(3).map(|()| true);
            }
            if rest.starts_with("}}") {
                return self.close(2).map(|()| false);
            }
            let Some(c) = rest.chars().next() else {
                return Err((from, "unclosed action".into()));
            };
            match c {
                _ if SPACE.contains(&c) => {
                    self.at += rest.len() - trimmed.len();
                    self.push(Token::Space, from);
                }
                '"' => self.quoted('"')?,
                '\'' => self.quoted('\'')?,
                '`' => {
                    let Some(n) = rest[1..].find('`') else {
                        return Err((from, "unterminated raw quoted string".into()));
                    };
                    let raw = rest[1..=n].to_owned();
                    self.at += n + 2;
                    self.push(Token::Str(raw), from);
                }
                ':' => {
                    if !rest.starts_with(":=") {
                        return Err((from, "expected :=".into()));
                    }
                    self.simple(Token::Declare, 2);
                }
                '=' => self.simple(Token::Assign, 1),
                '|' => self.simple(Token::Pipe, 1),
                ',' => self.simple(Token::Comma, 1),
                '(' => {
                    self.parens += 1;
                    self.simple(Token::LeftParen, 1);
                }
                ')' => {
                    if self.parens == 0 {
                        return Err((from, "unexpected right paren".into()));
                    }
                    self.parens -= 1;
                    self.simple(Token::RightParen, 1);
                }
                '$' => {
                    self.at += 1;
                    self.name();
                    let name = self.text[from..self.at].to_owned();
                    self.terminated(&name)?;
                    self.push(Token::Variable(name), from);
                }
                '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.at += 1;
                    self.name();
                    let name = self.text[from + 1..self.at].to_owned();
                    if name.is_empty() {
                        self.push(Token::Dot, from);
                    } else {
                        self.terminated(&format!(".{name}"))?;
                        self.push(Token::Field(name), from);
                    }
                }
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                _ if c.is_alphanumeric() || c == '_' => {
                    self.name();
                    let word = self.text[from..self.at].to_owned();
                    self.terminated(&word)?;
                    self.push(Token::Word(word), from);
                }
                _ => {
                    return Err((
                        from,
                        format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c)),
                    ));
                }
            }
        }
    }

    fn simple(&mut self, token: Token, len: usize) {
        let from = self.at;
        self.at += len;
        self.push(token, from);
    }

    fn close(&mut self, len: usize) -> Result<(), Fault> {
        if self.parens > 0 {
            return Err((self.at, "unclosed left paren".into()));
        }
        self.simple(Token::Close, len);
        Ok(())
    }

    fn name(&mut self) {
        let rest = self.rest();
        let len = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        self.at += len;
    }

    /// A name must be followed by something that can follow one.
    fn terminated(&self, _word: &str) -> Result<(), Fault> {
        match self.rest().chars().next() {
            None => Ok(()),
            Some(c) if SPACE.contains(&c) || ".,|:=()".contains(c) || self.rest().starts_with("}}") => Ok(()),
            Some(c) => Err((self.at, format!("bad character U+{:04X} '{c}'", u32::from(c)))),
        }
    }

    fn quoted(&mut self, mark: char) -> Result<(), Fault> {
        let from = self.at;
        let what = if mark == '"' {
            "quoted string"
        } else {
            "character constant"
        };
        let mut escaped = false;
        for (n, c) in self.text[from..].char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == mark => {
                    self.at = from + n + 1;
                    let Some(text) = unquote(&self.text[from + 1..from + n]) else {
                        return Err((from, "invalid syntax".into()));
                    };
                    let token = match (mark, text.chars().next()) {
                        ('\'', Some(c)) => Token::Char(c),
                        _ => Token::Str(text),
                    };
                    self.push(token, from);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err((from, format!("unterminated {what}")))
    }

    fn number(&mut self) -> Result<(), Fault> {
        let from = self.at;
        let rest = self.rest();
        let sign = rest.starts_with(['+', '-']) as usize;
        let len = rest[sign..]
            .find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_'))
            .unwrap_or(rest.len() - sign);
        let text = rest[..sign + len].to_owned();
        if len == 0 || number(&text).is_none() {
            return Err((from, format!("bad number syntax: \"{text}\"")));
        }
        self.at += sign + len;
        self.push(Token::Number(text), from);
        Ok(())
    }
}

fn trims_left(after_open: &str) -> bool {
    after_open.starts_with('-') && after_open[1..].starts_with(SPACE)
}

/// A number as Go writes it; integers stay integers.
pub(crate) fn number(text: &str) -> Option<crate::Value> {
    let clean = text.replace('_', "");
    let (sign, digits) = match clean.strip_prefix(['+', '-']) {
        Some(digits) => (if clean.starts_with('-') { -1 } else { 1 }, digits),
        None => (1, clean.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return i64::from_str_radix(digits, base)
                .ok()
                .map(|n| crate::Value::Int(sign * n));
        }
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.chars().all(|c| c.is_ascii_digit()) {
        return i64::from_str_radix(&lower, 8)
            .ok()
            .map(|n| crate::Value::Int(sign * n));
    }
    if let Ok(n) = lower.parse::<i64>() {
        return Some(crate::Value::Int(sign * n));
    }
    lower
        .starts_with(|c: char| c.is_ascii_digit() || c == '.')
        .then(|| lower.parse::<f64>().ok())
        .flatten()
        .map(|n| crate::Value::Float(sign as f64 * n))
}

/// The text that a quoted string's inside stands for.
fn unquote(inside: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        let digits = match chars.next()? {
            'a' => {
                text.push('\x07');
                continue;
            }
            'b' => {
                text.push('\x08');
                continue;
            }
            'f' => {
                text.push('\x0c');
                continue;
            }
            'n' => {
                text.push('\n');
                continue;
            }
            'r' => {
                text.push('\r');
                continue;
            }
            't' => {
                text.push('\t');
                continue;
            }
            'v' => {
                text.push('\x0b');
                continue;
            }
            c @ ('\\' | '"' | '\'') => {
                text.push(c);
                continue;
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let code: String = chars.by_ref().take(digits).collect();
        text.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
    }
    Some(text)
}
