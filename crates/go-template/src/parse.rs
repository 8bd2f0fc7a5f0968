//! Text to a tree.

use crate::Value;
use crate::lex::{Kind, Token, lex};

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Pipeline {
    /// Variables that get the value: one, or key and value of a range.
    pub(crate) declares: Vec<String>,
    /// Whether they existed before.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Vec<Operand>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) base: Base,
    /// Fields after it, with the place of each.
    pub(crate) fields: Vec<String>,
    pub(crate) at: usize,
    /// As it was written, for messages.
    pub(crate) text: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Base {
    Dot,
    Variable(String),
    Function(String),
    Literal(Value),
    Nested(Pipeline),
}

enum Piece {
    Text(String),
    Action(Vec<Token>, usize),
}

pub(crate) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let pieces = split(text)?;
    let mut parser = Parser {
        source: text,
        pieces: pieces.into_iter(),
        depth: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Eof => Ok(nodes),
        End::End(at) => Err(failed(text, at, "unexpected {{end}}")),
        End::Else(_, at) => Err(failed(text, at, "unexpected {{else}}")),
    }
}

fn failed(text: &str, at: usize, what: &str) -> String {
    let line = 1 + text[..at.min(text.len())].matches('\n').count();
    format!("template: :{line}: {what}")
}

/// Splits at `{{` and `}}`, and trims as `{{-` and `-}}` say.
fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    loop {
        let open = rest.find("{{");
        let mut plain = &rest[..open.unwrap_or(rest.len())];
        if trim {
            plain = plain.trim_start();
        }
        let Some(open) = open else {
            pieces.push(Piece::Text(plain.to_owned()));
            return Ok(pieces);
        };
        let base = text.len() - rest.len() + open + 2;
        let mut inner = &rest[open + 2..];
        if inner.starts_with("- ") || inner.starts_with("-\n") {
            plain = plain.trim_end();
            inner = &inner[1..];
        }
        pieces.push(Piece::Text(plain.to_owned()));
        let length = close(inner).ok_or_else(|| failed(text, base, "unclosed action"))?;
        let mut action = &inner[..length];
        rest = &inner[length + 2..];
        trim = action.ends_with(" -");
        if trim {
            action = &action[..action.len() - 1];
        }
        if action.trim_start().starts_with("/*") {
            continue;
        }
        let base = text.len() - rest.len() - 2 - length;
        let tokens = lex(action, base).map_err(|what| failed(text, base, &what))?;
        pieces.push(Piece::Action(tokens, base));
    }
}

/// Where `}}` stands outside of quotes.
fn close(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(q) => {
                if !escaped && c == q {
                    quote = None;
                }
                escaped = !escaped && c == '\\' && q == '"';
            }
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

enum End {
    Eof,
    End(usize),
    Else(Vec<Token>, usize),
}

struct Parser<'a> {
    source: &'a str,
    pieces: std::vec::IntoIter<Piece>,
    depth: u32,
}

impl Parser<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err(failed(self.source, 0, "too deep"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, at) = match piece {
                Piece::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(text));
                    }
                    continue;
                }
                Piece::Action(tokens, at) => (tokens, at),
            };
            let mut words = tokens.iter().filter(|token| token.kind != Kind::Space);
            let first = words.next().map(|token| token.kind.clone());
            let rest: Vec<Token> = match &first {
                Some(kind) => {
                    let skip = tokens.iter().position(|token| &token.kind == kind).unwrap_or(0);
                    tokens[skip + 1..].to_vec()
                }
                None => return Err(failed(self.source, at, "missing value for command")),
            };
            let keyword = match &first {
                Some(Kind::Word(word)) => word.as_str(),
                _ => "",
            };
            match keyword {
                "end" => {
                    self.depth -= 1;
                    return Ok((nodes, End::End(at)));
                }
                "else" => {
                    self.depth -= 1;
                    return Ok((nodes, End::Else(rest, at)));
                }
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "if" | "with" | "range" => nodes.push(self.block(keyword, &rest, at)?),
                "define" | "template" | "block" => {
                    return Err(failed(self.source, at, &format!("{{{{{keyword}}}}} is not supported")));
                }
                _ => nodes.push(Node::Action(self.pipeline(&tokens, at)?)),
            }
        }
        self.depth -= 1;
        Ok((nodes, End::Eof))
    }

    fn block(&mut self, keyword: &str, tokens: &[Token], at: usize) -> Result<Node, String> {
        let pipeline = self.pipeline(tokens, at)?;
        if pipeline.commands.is_empty() {
            return Err(failed(self.source, at, &format!("missing value for {keyword}")));
        }
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::End(_) => Vec::new(),
            End::Eof => return Err(failed(self.source, self.source.len(), "unexpected EOF")),
            End::Else(rest, at) => {
                let mut words = rest.iter().filter(|token| token.kind != Kind::Space);
                match words.next().map(|token| &token.kind) {
                    Some(Kind::Word(word)) if word == "if" || word == "with" => {
                        let word = word.clone();
                        let skip = rest
                            .iter()
                            .position(|token| token.kind == Kind::Word(word.clone()))
                            .unwrap_or(0);
                        vec![self.block(&word, &rest[skip + 1..], at)?]
                    }
                    _ => match self.nodes()? {
                        (nodes, End::End(_)) => nodes,
                        (_, End::Else(_, at)) => return Err(failed(self.source, at, "expected end; found {{else}}")),
                        (_, End::Eof) => return Err(failed(self.source, self.source.len(), "unexpected EOF")),
                    },
                }
            }
        };
        Ok(match keyword {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }

    fn pipeline(&self, tokens: &[Token], at: usize) -> Result<Pipeline, String> {
        let mut words = Words {
            source: self.source,
            tokens,
            next: 0,
            depth: 0,
        };
        let pipeline = words.pipeline()?;
        if words.next < tokens.len() {
            return Err(failed(self.source, at, "unexpected right paren"));
        }
        Ok(pipeline)
    }
}

struct Words<'a> {
    source: &'a str,
    tokens: &'a [Token],
    next: usize,
    depth: u32,
}

impl Words<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn spaces(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.next += 1;
        }
    }

    fn here(&self) -> usize {
        let token = self.tokens.get(self.next).or(self.tokens.last());
        token.map_or(0, |token| token.at)
    }

    fn error<T>(&self, what: &str) -> Result<T, String> {
        Err(failed(self.source, self.here(), what))
    }

    fn declarations(&mut self, pipeline: &mut Pipeline) {
        let begin = self.next;
        let mut names = Vec::new();
        loop {
            self.spaces();
            let Some(Kind::Variable(name)) = self.peek() else { break };
            names.push(name.clone());
            self.next += 1;
            self.spaces();
            match self.peek() {
                Some(Kind::Comma) => self.next += 1,
                Some(Kind::Declare | Kind::Assign) => {
                    pipeline.assigns = self.peek() == Some(&Kind::Assign);
                    pipeline.declares = names;
                    self.next += 1;
                    return;
                }
                _ => break,
            }
        }
        self.next = begin;
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        self.depth += 1;
        if self.depth > 100 {
            return self.error("too deep");
        }
        let mut pipeline = Pipeline::default();
        self.declarations(&mut pipeline);
        loop {
            let command = self.command()?;
            let more = self.peek() == Some(&Kind::Pipe);
            if command.is_empty() && (more || !pipeline.commands.is_empty()) {
                return self.error("missing value for command");
            }
            if !command.is_empty() {
                pipeline.commands.push(command);
            }
            if !more {
                self.depth -= 1;
                return Ok(pipeline);
            }
            self.next += 1;
        }
    }

    fn command(&mut self) -> Result<Vec<Operand>, String> {
        let mut operands = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                None | Some(Kind::Pipe | Kind::Close) => return Ok(operands),
                _ => operands.push(self.operand()?),
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let at = self.here();
        let mut fields = Vec::new();
        let base = match self.peek().cloned() {
            Some(Kind::Dot) => Base::Dot,
            Some(Kind::Field(name)) => {
                fields.push(name);
                Base::Dot
            }
            Some(Kind::Variable(name)) => Base::Variable(name),
            Some(Kind::String(text)) => Base::Literal(Value::String(text)),
            Some(Kind::Int(value)) => Base::Literal(Value::Int(value)),
            Some(Kind::Float(value)) => Base::Literal(Value::Float(value)),
            Some(Kind::Word(word)) => match word.as_str() {
                "true" => Base::Literal(Value::Bool(true)),
                "false" => Base::Literal(Value::Bool(false)),
                "nil" => Base::Literal(Value::Null),
                name if crate::functions::exists(name) => Base::Function(word),
                name => return self.error(&format!("function {name:?} not defined")),
            },
            Some(Kind::Open) => {
                self.next += 1;
                let inner = self.pipeline()?;
                if self.peek() != Some(&Kind::Close) {
                    return self.error("unclosed left paren");
                }
                Base::Nested(inner)
            }
            _ => return self.error("unexpected token in operand"),
        };
        self.next += 1;
        while let Some(Kind::Field(name)) = self.peek().cloned() {
            fields.push(name);
            self.next += 1;
        }
        let end = self.tokens.get(self.next).map_or(usize::MAX, |token| token.at);
        let source = self.source.get(at..end.min(self.source.len())).unwrap_or_default();
        let text = source.split("}}").next().unwrap_or_default().trim_end().to_owned();
        Ok(Operand { base, fields, at, text })
    }
}
