//! Tokens into a tree.

use crate::Error;
use crate::func;
use crate::lex::{self, Fault, Item, Token};
use crate::tree::{Arg, Branch, Command, Kind, Node, Pipe, What};
use crate::value::Value;

pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Node>, Error> {
    let (items, fault) = lex::lex(text);
    let mut parser = Parser {
        items,
        fault,
        next: 0,
        variables: vec!["$".into()],
        loops: 0,
        length: text.len(),
    };
    let nodes = parser.list(None).map_err(|(at, message)| {
        let line = 1 + text[..at.min(text.len())].matches('\n').count();
        Error::Parse(format!("template: {name}:{line}: {message}"))
    })?;
    Ok(nodes.0)
}

/// What closed a list of nodes.
enum Closed {
    Text,
    End,
    Else,
}

struct Parser {
    items: Vec<Item>,
    fault: Option<Fault>,
    next: usize,
    variables: Vec<String>,
    loops: usize,
    length: usize,
}

type Parsed<T> = Result<T, Fault>;

impl Parser {
    fn peek(&self) -> Parsed<&Item> {
        match (self.items.get(self.next), &self.fault) {
            (Some(item), _) => Ok(item),
            (None, Some(fault)) => Err(fault.clone()),
            (None, None) => Err((self.length, "unexpected EOF".into())),
        }
    }

    fn take(&mut self) -> Parsed<Item> {
        let item = self.peek()?.clone();
        self.next += 1;
        Ok(item)
    }

    fn skip_space(&mut self) -> Parsed<()> {
        while self.peek()?.token == Token::Space {
            self.next += 1;
        }
        Ok(())
    }

    /// Nodes up to the end of the text, or, inside of `context`, up to its `end` or `else`.
    fn list(&mut self, context: Option<Kind>) -> Parsed<(Vec<Node>, Closed)> {
        let mut nodes = Vec::new();
        loop {
            let item = self.take()?;
            match item.token {
                Token::Text(text) => nodes.push(Node::Text(text)),
                Token::End if context.is_some() => return Err((item.at, "unexpected EOF".into())),
                Token::End => return Ok((nodes, Closed::Text)),
                _ => {
                    self.skip_space()?;
                    let first = self.peek()?.clone();
                    let Token::Word(word) = &first.token else {
                        nodes.push(self.action()?);
                        continue;
                    };
                    let kind = match word.as_str() {
                        "if" => Kind::If,
                        "with" => Kind::With,
                        "range" => Kind::Range,
                        "end" | "else" if context.is_none() => {
                            return Err((first.at, format!("unexpected {{{{{word}}}}}")));
                        }
                        "end" => {
                            self.next += 1;
                            self.close("end")?;
                            return Ok((nodes, Closed::End));
                        }
                        "else" => {
                            self.next += 1;
                            return Ok((nodes, Closed::Else));
                        }
                        "break" | "continue" => {
                            if self.loops == 0 {
                                return Err((first.at, format!("{{{{{word}}}}} outside {{{{range}}}}")));
                            }
                            self.next += 1;
                            self.close(word)?;
                            nodes.push(if word == "break" {
                                Node::Break
                            } else {
                                Node::Continue
                            });
                            continue;
                        }
                        _ => {
                            nodes.push(self.action()?);
                            continue;
                        }
                    };
                    self.next += 1;
                    nodes.push(Node::Branch(self.branch(kind)?));
                }
            }
        }
    }

    fn close(&mut self, context: &str) -> Parsed<()> {
        self.skip_space()?;
        let item = self.take()?;
        match item.token {
            Token::Close => Ok(()),
            _ => Err(unexpected(&item, &format!("{{{{{context}}}}}"))),
        }
    }

    fn action(&mut self) -> Parsed<Node> {
        let pipe = self.pipeline("command", &Token::Close)?;
        Ok(Node::Action(pipe))
    }

    fn branch(&mut self, kind: Kind) -> Parsed<Branch> {
        let context = match kind {
            Kind::If => "if",
            Kind::With => "with",
            Kind::Range => "range",
        };
        let depth = self.variables.len();
        let pipe = self.pipeline(context, &Token::Close)?;
        self.loops += usize::from(kind == Kind::Range);
        let body = self.list(Some(kind))?;
        self.loops -= usize::from(kind == Kind::Range);
        let mut otherwise = Vec::new();
        if let (_, Closed::Else) = body {
            self.skip_space()?;
            let chained = match (&self.peek()?.token, kind) {
                (Token::Word(word), Kind::If) => word == "if",
                (Token::Word(word), Kind::With) => word == "with",
                _ => false,
            };
            if chained {
                self.next += 1;
                otherwise.push(Node::Branch(self.branch(kind)?));
            } else {
                self.close("else")?;
                let (nodes, closed) = self.list(Some(kind))?;
                if let Closed::Else = closed {
                    let at = self.peek()?.at;
                    return Err((at, "expected end; found {{else}}".into()));
                }
                otherwise = nodes;
            }
        }
        self.variables.truncate(depth);
        Ok(Branch {
            kind,
            pipe,
            body: body.0,
            otherwise,
        })
    }

    fn pipeline(&mut self, context: &str, end: &Token) -> Parsed<Pipe> {
        let mut pipe = Pipe {
            variables: Vec::new(),
            assign: false,
            commands: Vec::new(),
        };
        self.skip_space()?;
        self.declaration(context, &mut pipe)?;
        loop {
            self.skip_space()?;
            let item = self.peek()?.clone();
            if item.token == *end {
                self.next += 1;
                if pipe.commands.is_empty() {
                    return Err((item.at, format!("missing value for {context}")));
                }
                for (i, command) in pipe.commands.iter().enumerate().skip(1) {
                    if matches!(command.args[0].what, What::Dot | What::Nil | What::Literal(..)) {
                        return Err((
                            item.at,
                            format!("non executable command in pipeline stage {}", i + 1),
                        ));
                    }
                }
                return Ok(pipe);
            }
            match item.token {
                Token::Word(_)
                | Token::Str(_)
                | Token::Char(_)
                | Token::Number(_)
                | Token::Dot
                | Token::Field(_)
                | Token::Variable(_)
                | Token::LeftParen => {
                    let command = self.command(item.at)?;
                    pipe.commands.push(command);
                }
                _ => return Err(unexpected(&item, context)),
            }
        }
    }

    fn declaration(&mut self, context: &str, pipe: &mut Pipe) -> Parsed<()> {
        loop {
            let Token::Variable(name) = self.peek()?.token.clone() else {
                return Ok(());
            };
            let start = self.next;
            self.next += 1;
            self.skip_space()?;
            let sign = self.peek()?.clone();
            match sign.token {
                Token::Declare | Token::Assign => {
                    self.next += 1;
                    pipe.assign = sign.token == Token::Assign;
                    pipe.variables.push(name);
                    if pipe.assign {
                        pipe.variables
                            .iter()
                            .try_for_each(|name| self.known(name, sign.at))?;
                    } else {
                        self.variables.extend(pipe.variables.iter().cloned());
                    }
                    return Ok(());
                }
                Token::Comma if context == "range" && pipe.variables.len() < 2 => {
                    self.next += 1;
                    self.skip_space()?;
                    pipe.variables.push(name);
                    if !matches!(self.peek()?.token, Token::Variable(_)) {
                        return Err((sign.at, "range can only initialize variables".into()));
                    }
                }
                Token::Comma if context == "range" => {
                    return Err((sign.at, format!("too many declarations in {context}")));
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
    }

    fn known(&self, name: &str, at: usize) -> Parsed<()> {
        if self.variables.iter().any(|v| v == name) {
            Ok(())
        } else {
            Err((at, format!("undefined variable {name:?}")))
        }
    }

    fn command(&mut self, at: usize) -> Parsed<Command> {
        let mut args = Vec::new();
        loop {
            self.skip_space()?;
            if let Some(arg) = self.operand()? {
                args.push(arg);
            }
            let item = self.peek()?.clone();
            match item.token {
                Token::Space => continue,
                Token::Close | Token::RightParen => {}
                Token::Pipe => {
                    self.next += 1;
                    self.skip_space()?;
                    let after = self.peek()?;
                    if matches!(after.token, Token::Close | Token::RightParen) {
                        return Err((after.at, "missing value for command".into()));
                    }
                }
                _ => return Err(unexpected(&item, "operand")),
            }
            if args.is_empty() {
                return Err((item.at, "empty command".into()));
            }
            return Ok(Command { at, args });
        }
    }

    fn operand(&mut self) -> Parsed<Option<Arg>> {
        let Some(term) = self.term()? else { return Ok(None) };
        let chain_at = self.peek()?.at;
        let mut names = Vec::new();
        while let Token::Field(name) = &self.peek()?.token {
            names.push(name.clone());
            self.next += 1;
        }
        if names.is_empty() {
            return Ok(Some(term));
        }
        let what = match term.what {
            What::Field(mut first) => {
                first.append(&mut names);
                What::Field(first)
            }
            What::Variable(name, mut first) => {
                first.append(&mut names);
                What::Variable(name, first)
            }
            What::Literal(..) | What::Nil | What::Dot => {
                return Err((
                    chain_at,
                    format!("unexpected . after term {:?}", term.to_string()),
                ));
            }
            _ => What::Chain(Box::new(term), names),
        };
        Ok(Some(Arg { at: chain_at, what }))
    }

    fn term(&mut self) -> Parsed<Option<Arg>> {
        let item = self.peek()?.clone();
        let what = match item.token {
            Token::Word(word) => match word.as_str() {
                "true" | "false" => What::Literal(Value::Bool(word == "true"), word),
                "nil" => What::Nil,
                _ if func::exists(&word) => What::Function(word),
                _ => return Err((item.at, format!("function {word:?} not defined"))),
            },
            Token::Dot => What::Dot,
            Token::Field(name) => What::Field(vec![name]),
            Token::Variable(name) => {
                self.known(&name, item.at)?;
                What::Variable(name, Vec::new())
            }
            Token::Str(text) => What::Literal(Value::Str(text), item.source),
            Token::Char(c) => What::Literal(Value::Int(i64::from(u32::from(c))), item.source),
            Token::Number(text) => What::Literal(lex::number(&text).unwrap_or_default(), item.source),
            Token::LeftParen => {
                self.next += 1;
                let pipe = self.pipeline("parenthesized pipeline", &Token::RightParen)?;
                return Ok(Some(Arg {
                    at: item.at,
                    what: What::Pipe(pipe),
                }));
            }
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(Arg { at: item.at, what }))
    }
}

/// Go's words for a token that cannot stand there.
fn unexpected(item: &Item, context: &str) -> Fault {
    let what = match &item.token {
        Token::End => "EOF".to_owned(),
        Token::Word(word)
            if matches!(
                word.as_str(),
                "if" | "else"
                    | "end"
                    | "range"
                    | "with"
                    | "nil"
                    | "define"
                    | "template"
                    | "block"
                    | "break"
                    | "continue"
            ) =>
        {
            format!("<{word}>")
        }
        _ if item.source.chars().count() > 10 => {
            format!("{:?}...", item.source.chars().take(10).collect::<String>())
        }
        _ => format!("{:?}", item.source),
    };
    (item.at, format!("unexpected {what} in {context}"))
}
