//! `inspect`: JSON as the engine gave it, or a template on it.

use std::rc::Rc;

use lighter_client::{Client, Query};
use lighter_engine_api::{ContainerInspectResponse, ImageInspect, go};
use lighter_go_template::{Field, MissingKey, Template, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::typed::typed;
use super::{Error, Shown, ask};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Whatever has the name, a container first.
    #[default]
    Any,
    /// A container.
    Container,
    /// An image.
    Image,
}

/// What `inspect` was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct InspectOptions {
    /// `--type`, or the noun of the command.
    pub(crate) kind: Kind,
    /// `-s`
    pub(crate) size: bool,
    /// `--format`; empty is JSON with four blanks of indent.
    pub(crate) format: String,
}

/// An answer as it came, and as a template sees it.
struct Found {
    raw: Vec<u8>,
    value: Value,
}

/// The details of each of `names`; what is missing is an error beside what is shown.
pub(crate) fn inspect(client: &Client, names: &[String], options: &InspectOptions) -> Result<Shown, Error> {
    let template = match options.format.as_str() {
        "" | "json" => None,
        text => {
            let no_template = |e| Error::Format(format!("template parsing error: {e}"));
            Some(Template::parse("", &unescaped(text)).map_err(no_template)?)
        }
    };
    let mut errors = Vec::new();
    let mut raws = Vec::new();
    let mut out = String::new();
    for name in names {
        match (find(client, name, options), &template) {
            (Err(error), _) => errors.push(error),
            (Ok(found), None) => raws.push(found.raw),
            (Ok(found), Some(template)) => match render(template, &found) {
                Ok(text) => {
                    out.push_str(&text);
                    out.push('\n');
                }
                Err(error) => errors.push(error),
            },
        }
    }
    match template {
        None if options.format == "json" => {
            let list: Vec<String> = raws
                .iter()
                .map(|raw| compact(&String::from_utf8_lossy(raw)))
                .collect();
            out = format!("[{}]\n", list.join(","));
        }
        None => out = indented(&raws),
        Some(_) if out.is_empty() => out.push('\n'),
        Some(_) => {}
    }
    Ok(Shown {
        out,
        errors,
        ..Shown::default()
    })
}

fn wrong(error: lighter_go_template::Error) -> Error {
    Error::Text(format!("template parsing error: {error}"))
}

fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// On the typed answer; should that fail, on the JSON.
fn render(template: &Template, found: &Found) -> Result<String, Error> {
    template.execute(&found.value).or_else(|_| {
        let json: Value = serde_json::from_slice(&found.raw)
            .map_err(|e| Error::Text(format!("unable to read inspect data: {e}")))?;
        template
            .clone()
            .missing_key(MissingKey::Error)
            .execute(&json)
            .map_err(wrong)
    })
}

fn find(client: &Client, name: &str, options: &InspectOptions) -> Result<Found, Error> {
    if options.kind != Kind::Image {
        match ask::raw(
            client,
            &ask::of("containers", name, "json"),
            &Query::new().flag("size", options.size),
        ) {
            Err(error) if options.kind == Kind::Any && error.is_not_found() => {}
            answer => return found::<ContainerInspectResponse>(answer?, "container.InspectResponse"),
        }
    }
    match ask::raw(client, &ask::of("images", name, "json"), &Query::new()) {
        Err(error) if options.kind == Kind::Any && error.is_not_found() => {
            Err(Error::Text(format!("Error: No such object: {name}")))
        }
        answer => {
            let mut found = found::<ImageInspect>(answer?, "image.InspectResponse")?;
            found.value = image(found.value);
            Ok(found)
        }
    }
}

fn found<T: Serialize + DeserializeOwned>(raw: Vec<u8>, type_name: &'static str) -> Result<Found, Error> {
    // An engine of another age may have fields of other kinds: then the JSON alone is the value.
    let value = match go::from_slice::<T>(&raw) {
        Ok(answer) => typed(&answer, type_name),
        Err(_) => serde_json::from_slice(&raw)
            .map_err(|e| Error::Text(format!("unable to read inspect data: {e}")))?,
    };
    Ok(Found { raw, value })
}

/// Fields of an image's configuration, in the order of the OCI image specification, which is Go's too.
const CONFIG: [&str; 13] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Healthcheck",
    "OnBuild",
    "Shell",
];

/// An image in Go's order, with the fields that only Go's type still has.
fn image(value: Value) -> Value {
    let Value::Struct(found) = value else { return value };
    let mut found = Rc::unwrap_or_clone(found);
    if let Some(at) = found.fields.iter().position(|f| f.name == "Config") {
        let mut config = found.fields.remove(at);
        if let Value::Struct(fields) = &mut config.value {
            let fields = &mut Rc::make_mut(fields).fields;
            fields.sort_by_key(|f| CONFIG.iter().position(|name| *name == f.name));
            fields.iter_mut().for_each(|f| f.omit_empty = true);
        }
        let after = found
            .fields
            .iter()
            .position(|f| f.name == "Author")
            .map_or(found.fields.len(), |at| at + 1);
        found.fields.insert(after, config);
    }
    found.fields.push(Field {
        name: "VirtualSize",
        json: "VirtualSize",
        omit_empty: true,
        value: Value::Int(0),
    });
    Value::Struct(Rc::new(found))
}

/// The list of answers, indented by four blanks, all else as it came.
fn indented(raws: &[Vec<u8>]) -> String {
    let list: Vec<_> = raws.iter().map(|raw| String::from_utf8_lossy(raw)).collect();
    let mut out = String::new();
    walk(
        &format!("[{}]", list.join(",")),
        |token, depth, after| match token {
            Token::Open(c) => {
                out.push(c);
                if after != Some(closing(c)) {
                    line(&mut out, depth + 1);
                }
            }
            Token::Close(c, empty) => {
                if !empty {
                    line(&mut out, depth);
                }
                out.push(c);
            }
            Token::Comma => {
                out.push(',');
                line(&mut out, depth);
            }
            Token::Colon => out.push_str(": "),
            Token::Text(text) => out.push_str(text),
        },
    );
    out.push('\n');
    out
}

/// JSON without white space between its tokens.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::new();
    walk(json, |token, _, _| match token {
        Token::Open(c) | Token::Close(c, _) => out.push(c),
        Token::Comma => out.push(','),
        Token::Colon => out.push(':'),
        Token::Text(text) => out.push_str(text),
    });
    out
}

enum Token<'a> {
    Open(char),
    /// Whether nothing was between.
    Close(char, bool),
    Comma,
    Colon,
    Text(&'a str),
}

fn closing(open: char) -> char {
    if open == '{' { '}' } else { ']' }
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
}

/// Gives each token of `json` with its depth and, for an opening one, the next character.
fn walk(json: &str, mut each: impl FnMut(Token<'_>, usize, Option<char>)) {
    let mut depth = 0usize;
    let mut rest = json.trim_start();
    let mut opened = false;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' => string_length(rest),
            '{' | '[' | '}' | ']' | ',' | ':' => 1,
            _ => rest
                .find(|c: char| c.is_ascii_whitespace() || "{}[],:\"".contains(c))
                .unwrap_or(rest.len())
                .max(c.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start();
        match c {
            '{' | '[' => {
                each(Token::Open(c), depth, rest.chars().next());
                depth += 1;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                each(Token::Close(c, opened), depth, None);
            }
            ',' => each(Token::Comma, depth, None),
            ':' => each(Token::Colon, depth, None),
            _ => each(Token::Text(token), depth, None),
        }
        opened = matches!(c, '{' | '[');
    }
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (n, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return n + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_it_came() {
        assert_eq!(indented(&[]), "[]\n");
        let raw = br#"{"a":[],"b":{},"c":[1,"x\"{,"],"d":1.0e5}"#.to_vec();
        let expected = "[\n    {\n        \"a\": [],\n        \"b\": {},\n        \"c\": [\n            1,\n            \"x\\\"{,\"\n        ],\n        \"d\": 1.0e5\n    }\n]\n";
        assert_eq!(indented(&[raw]), expected);
        assert_eq!(compact("[ 1 , {\"a\" : \"b c\"}\n]"), "[1,{\"a\":\"b c\"}]");
    }
}
