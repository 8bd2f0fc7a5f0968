//! A tree and data to text.

use crate::Value;
use crate::functions;
use crate::parse::{Base, Node, Operand, Pipeline};

struct Renderer<'a> {
    out: String,
    variables: Vec<(String, Value)>,
    kind: Option<&'a str>,
    root: &'a Value,
}

enum Flow {
    On,
    Break,
    Continue,
}

pub(crate) fn render(nodes: &[Node], data: &Value, kind: Option<&str>) -> Result<String, String> {
    let mut renderer = Renderer {
        out: String::new(),
        variables: vec![(String::new(), data.clone())],
        kind,
        root: data,
    };
    renderer.nodes(nodes, data)?;
    Ok(renderer.out)
}

impl Renderer<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if !matches!(flow, Flow::On) {
                self.variables.truncate(scope);
                return Ok(flow);
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.declares.is_empty() {
                    value.show(&mut self.out);
                } else {
                    self.declare(pipeline, value);
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::If(pipeline, body, otherwise) | Node::With(pipeline, body, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let holds = value.truth();
                let inner = match node {
                    Node::With(..) if holds => value.clone(),
                    _ => dot.clone(),
                };
                self.declare(pipeline, value);
                let flow = self.nodes(if holds { body } else { otherwise }, &inner);
                self.variables.truncate(scope);
                return flow;
            }
            Node::Range(pipeline, body, otherwise) => return self.range(pipeline, body, otherwise, dot),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let value = self.pipeline(pipeline, dot)?;
        let pairs: Vec<(Value, Value)> = match value {
            Value::Null => Vec::new(),
            Value::List(values) => (0..).map(Value::Int).zip(values).collect(),
            Value::Object(mut entries) => {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.into_iter().map(|(key, value)| (Value::String(key), value)).collect()
            }
            Value::Int(count) => (0..count).map(|n| (Value::Int(n), Value::Int(n))).collect(),
            other => {
                let mut shown = String::new();
                other.show(&mut shown);
                let at = pipeline.commands.first().and_then(|command| command.first());
                return Err(at.map_or_else(String::new, |operand| {
                    said(operand, &format!("range can't iterate over {shown}"))
                }));
            }
        };
        if pairs.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in pairs {
            let scope = self.variables.len();
            match pipeline.declares.as_slice() {
                [one] => self.set(one, item.clone(), pipeline.assigns),
                [first, second, ..] => {
                    self.set(first, key, pipeline.assigns);
                    self.set(second, item.clone(), pipeline.assigns);
                }
                [] => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn declare(&mut self, pipeline: &Pipeline, value: Value) {
        if let Some(name) = pipeline.declares.first() {
            self.set(name, value, pipeline.assigns);
        }
    }

    fn set(&mut self, name: &str, value: Value, assigns: bool) {
        let found = self.variables.iter_mut().rev().find(|(known, _)| assigns && known == name);
        match found {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last: Option<Value> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(&mut self, operands: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((first, rest)) = operands.split_first() else {
            return Ok(Value::Null);
        };
        if let Base::Function(name) = &first.base {
            return self.function(name, first, rest, piped, dot);
        }
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        match (arguments.as_slice(), first.fields.last()) {
            ([], _) => self.operand(first, dot),
            ([Value::String(argument)], Some(name)) => {
                let owner = Operand {
                    fields: first.fields[..first.fields.len() - 1].to_vec(),
                    ..first.clone()
                };
                let owner = self.operand(&owner, dot)?;
                match owner.get(&format!("{name}()")) {
                    Some(answers) => Ok(answers.get(argument).cloned().unwrap_or(Value::String(String::new()))),
                    None => Err(said(first, &format!("{name} has arguments but cannot be invoked as function"))),
                }
            }
            _ => Err(said(first, "can't give argument to non-function")),
        }
    }

    fn function(
        &mut self,
        name: &str,
        at: &Operand,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        // These two stop at the first that decides.
        if name == "and" || name == "or" {
            let mut last = Value::Null;
            for operand in operands {
                last = self.operand(operand, dot)?;
                if last.truth() == (name == "or") {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let mut arguments = Vec::new();
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        functions::call(name, &arguments).map_err(|what| said(at, &format!("error calling {name}: {what}")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Literal(value) => value.clone(),
            Base::Nested(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                match found {
                    Some((_, value)) => value.clone(),
                    None => return Err(format!("template: :1: undefined variable \"${name}\"")),
                }
            }
            Base::Function(name) => functions::call(name, &[])
                .map_err(|what| said(operand, &format!("error calling {name}: {what}")))?,
        };
        let mut at = operand.at;
        for field in &operand.fields {
            let outermost = std::ptr::eq(dot, self.root) || value == *self.root;
            value = match &value {
                Value::Object(_) => match value.get(field) {
                    Some(found) => found.clone(),
                    None => {
                        let what = match self.kind {
                            Some(kind) if outermost => format!("can't evaluate field {field} in type {kind}"),
                            _ => format!("map has no entry for key \"{field}\""),
                        };
                        return Err(said_at(at, &operand.text, &what));
                    }
                },
                Value::Null => {
                    let what = format!("nil pointer evaluating interface {{}}.{field}");
                    return Err(said_at(at, &operand.text, &what));
                }
                other => {
                    let kind = match other {
                        Value::Bool(_) => "bool",
                        Value::Int(_) => "int",
                        Value::Float(_) => "float64",
                        Value::String(_) => "string",
                        _ => "[]interface {}",
                    };
                    let what = format!("can't evaluate field {field} in type {kind}");
                    return Err(said_at(at, &operand.text, &what));
                }
            };
            at += field.len() + 1;
        }
        Ok(value)
    }
}

fn said(operand: &Operand, what: &str) -> String {
    said_at(operand.at, &operand.text, what)
}

fn said_at(at: usize, text: &str, what: &str) -> String {
    format!("template: :1:{at}: executing \"\" at <{text}>: {what}")
}
