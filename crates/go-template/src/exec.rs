//! Running a tree on data.

use crate::func::{self, Outcome};
use crate::print;
use crate::tree::{Arg, Branch, Command, Kind, Node, Pipe, What};
use crate::value::{Nil, Value};
use crate::{Error, Functions, MissingKey, Template};

/// Runs to the end, or to an error; what was written before it stays.
pub(crate) fn run(
    template: &Template,
    data: &Value,
    functions: Functions,
    out: &mut String,
) -> Result<(), Error> {
    let mut run = Run {
        template,
        functions,
        out,
        variables: vec![("$".into(), data.clone())],
    };
    run.walk(&template.nodes, data)?;
    Ok(())
}

struct Run<'t> {
    template: &'t Template,
    functions: Functions,
    out: &'t mut String,
    variables: Vec<(String, Value)>,
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Where an error is said to be: a place in the text, and the source of what stands there.
struct Place<'a> {
    at: usize,
    what: &'a dyn std::fmt::Display,
}

impl<'a> From<&'a Arg> for Place<'a> {
    fn from(arg: &'a Arg) -> Self {
        Place {
            at: arg.at,
            what: arg,
        }
    }
}

impl<'a> From<&'a Command> for Place<'a> {
    fn from(command: &'a Command) -> Self {
        Place {
            at: command.at,
            what: command,
        }
    }
}

impl Run<'_> {
    fn error(&self, place: Place<'_>, message: &str) -> Error {
        let before = &self.template.text[..place.at];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(place.at, |n| place.at - n - 1);
        let name = &self.template.name;
        Error::Execute(format!(
            "template: {name}:{line}:{column}: executing {name:?} at <{}>: {message}",
            place.what
        ))
    }

    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Error> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        match value {
                            Value::Method(_) => {
                                let message = "can't print func of type func";
                                return Err(self.error(
                                    Place {
                                        at: pipe.commands[0].at,
                                        what: pipe,
                                    },
                                    message,
                                ));
                            }
                            value => print::top(self.out, &value),
                        }
                    }
                }
                Node::Branch(branch) => {
                    let depth = self.variables.len();
                    let flow = self.branch(branch, dot)?;
                    self.variables.truncate(depth);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Error> {
        if branch.kind == Kind::Range {
            return self.range(branch, dot);
        }
        let value = self.pipe(&branch.pipe, dot)?;
        if !value.truth() {
            return self.walk(&branch.otherwise, dot);
        }
        self.walk(&branch.body, if branch.kind == Kind::With { &value } else { dot })
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Error> {
        let mut pipe = branch.pipe.clone();
        let names = std::mem::take(&mut pipe.variables);
        let value = self.pipe(&pipe, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Null | Value::Nil(Nil::List | Nil::Map | Nil::NoStrings) => Vec::new(),
            Value::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(i, item)| (Value::Int(i as i64), item))
                .collect(),
            Value::Map(map) => map
                .into_iter()
                .map(|(key, item)| (Value::Str(key), item))
                .collect(),
            Value::Int(n) => (0..n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            other => {
                let message = format!("range can't iterate over {}", print::print(&other));
                return Err(self.error(
                    Place {
                        at: branch.pipe.commands[0].at,
                        what: &branch.pipe,
                    },
                    &message,
                ));
            }
        };
        if items.is_empty() {
            return self.walk(&branch.otherwise, dot);
        }
        for (key, item) in items {
            let depth = self.variables.len();
            match names.as_slice() {
                [value] => self.set(value, item.clone(), branch.pipe.assign),
                [index, value] => {
                    self.set(index, key, branch.pipe.assign);
                    self.set(value, item.clone(), branch.pipe.assign);
                }
                _ => {}
            }
            let flow = self.walk(&branch.body, &item)?;
            self.variables.truncate(depth);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &str, value: Value, assign: bool) {
        if assign && let Some(known) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            known.1 = value;
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, Error> {
        let first = &command.args[0];
        let rest = &command.args[1..];
        match &first.what {
            What::Function(name) => self.call(name, command, dot, last),
            What::Field(names) => self.fields(dot.clone(), names, first, dot, rest, last),
            What::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(value, names, first, dot, rest, last)
            }
            What::Chain(inner, names) => {
                let value = self.arg(inner, dot)?;
                self.fields(value, names, first, dot, rest, last)
            }
            What::Pipe(pipe) => {
                self.plain(first, rest, &last)?;
                self.pipe(pipe, dot)
            }
            What::Nil => Err(self.error(first.into(), "nil is not a command")),
            _ => {
                self.plain(first, rest, &last)?;
                self.arg(first, dot)
            }
        }
    }

    /// What is no function takes no arguments.
    fn plain(&self, first: &Arg, rest: &[Arg], last: &Option<Value>) -> Result<(), Error> {
        if rest.is_empty() && last.is_none() {
            Ok(())
        } else {
            Err(self.error(
                first.into(),
                &format!("can't give argument to non-function {first}"),
            ))
        }
    }

    fn variable(&self, name: &str) -> Value {
        self.variables
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    }

    fn fields(
        &mut self,
        mut value: Value,
        names: &[String],
        node: &Arg,
        dot: &Value,
        rest: &[Arg],
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let mut method = false;
        for (i, name) in names.iter().enumerate() {
            method = matches!(&value, Value::Struct(s) if s.methods);
            let found = self.field(&value, name, i == 0, node)?;
            value = match found {
                Value::Method(method) => {
                    let mut args = Vec::new();
                    if i + 1 == names.len() {
                        for arg in rest {
                            args.push(self.arg(arg, dot)?);
                        }
                        args.extend(last.clone());
                    }
                    return (method.0)(&args).map_err(|message| self.error(node.into(), &message));
                }
                found => found,
            };
        }
        if !rest.is_empty() || last.is_some() {
            let message = match names.last() {
                Some(name) if method => {
                    let got = rest.len() + usize::from(last.is_some());
                    format!("wrong number of args for {name}: want 0 got {got}")
                }
                Some(name) => format!("{name} has arguments but cannot be invoked as function"),
                None => format!("can't give argument to non-function {node}"),
            };
            return Err(self.error(node.into(), &message));
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, first: bool, node: &Arg) -> Result<Value, Error> {
        if let Some(found) = value.get(name) {
            return Ok(found.clone());
        }
        let fail = |message: String| Err(self.error(node.into(), &message));
        match value {
            Value::Map(_) | Value::Nil(Nil::Map | Nil::NoStrings) => match self.template.missing_key {
                MissingKey::Error => fail(format!("map has no entry for key {name:?}")),
                MissingKey::NoValue => Ok(Value::Null),
            },
            Value::Null if first && self.template.missing_key == MissingKey::Error => {
                fail(format!("nil data; no entry for key {name:?}"))
            }
            // A field of a key that was not there.
            Value::Null if self.template.missing_key == MissingKey::NoValue => Ok(Value::Null),
            Value::Null => fail(format!("nil pointer evaluating interface {{}}.{name}")),
            Value::Nil(Nil::Pointer(type_name)) => fail(format!("nil pointer evaluating {type_name}.{name}")),
            // What was read from JSON has the type of the map's values.
            _ if self.template.missing_key == MissingKey::Error && !first => {
                fail(format!("can't evaluate field {name} in type interface {{}}"))
            }
            other => fail(format!(
                "can't evaluate field {name} in type {}",
                other.type_name()
            )),
        }
    }

    fn arg(&mut self, arg: &Arg, dot: &Value) -> Result<Value, Error> {
        match &arg.what {
            What::Dot => Ok(dot.clone()),
            What::Nil => Ok(Value::Null),
            What::Literal(value, _) => Ok(value.clone()),
            What::Field(names) => self.fields(dot.clone(), names, arg, dot, &[], None),
            What::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(value, names, arg, dot, &[], None)
            }
            What::Chain(inner, names) => {
                let value = self.arg(inner, dot)?;
                self.fields(value, names, arg, dot, &[], None)
            }
            What::Pipe(pipe) => self.pipe(pipe, dot),
            What::Function(name) => self.call(
                name,
                &Command {
                    at: arg.at,
                    args: vec![arg.clone()],
                },
                dot,
                None,
            ),
        }
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let rest = &command.args[1..];
        if name == "and" || name == "or" {
            let mut value = None;
            for arg in rest {
                let found = self.arg(arg, dot)?;
                let decided = found.truth() == (name == "or");
                value = Some(found);
                if decided {
                    return Ok(value.unwrap_or_default());
                }
            }
            return match last.or(value) {
                Some(value) => Ok(value),
                None => Err(self.error(
                    (&command.args[0]).into(),
                    &format!("wrong number of args for {name}: want at least 1 got 0"),
                )),
            };
        }
        let mut args = Vec::new();
        for arg in rest {
            args.push(self.arg(arg, dot)?);
        }
        args.extend(last);
        let got = args.len();
        func::call(name, args, self.functions).map_err(|outcome| match outcome {
            Outcome::Count(want) => self.error(
                (&command.args[0]).into(),
                &format!("wrong number of args for {name}: want {want} got {got}"),
            ),
            Outcome::Type(index, message) => match rest.get(index) {
                Some(arg) => self.error(arg.into(), &message),
                None => self.error((&command.args[0]).into(), &message),
            },
            Outcome::Failed(message) => {
                self.error(command.into(), &format!("error calling {name}: {message}"))
            }
        })
    }
}
