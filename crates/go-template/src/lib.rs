//! Go's `text/template` as far as the client's `--format` goes: a template's text and a [`Value`] in, text or an error in Go's words out.
//!
//! Actions, pipelines, variables, `if`, `with`, `range`, `break`, `continue`, comments and trim markers are as the package
//! documentation of `text/template` has them; functions are its own and those of Docker's formatters (`json`, `join`, `split`, `title`,
//! `lower`, `upper`, `pad`, `truncate`). Not here: `define`, `block`, `template`, complex numbers.

#![forbid(unsafe_code)]

mod exec;
mod func;
mod json;
mod lex;
mod parse;
mod print;
mod tree;
mod value;

pub use json::to_json;
pub use print::print;
pub use value::{Field, Function, Method, Nil, Struct, Value};

/// What went wrong, in Go's words: `template: :1:2: executing "" at <.Foo>: …`.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The text is no template.
    #[error("{0}")]
    Parse(String),
    /// The template does not fit the data.
    #[error("{0}")]
    Execute(String),
}

/// Which functions a template sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Functions {
    /// The real ones.
    #[default]
    Real,
    /// For a table's heading: those that would change a value give it back as it is.
    Heading,
}

/// What to do about a key that a map lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// Print `<no value>`.
    #[default]
    NoValue,
    /// Fail.
    Error,
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    text: String,
    nodes: Vec<tree::Node>,
    missing_key: MissingKey,
}

impl Template {
    /// Parses `text`; `name` is only shown in errors.
    ///
    /// # Errors
    /// [`Error::Parse`] when the text is no template.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let nodes = parse::parse(name, text)?;
        Ok(Template {
            name: name.to_owned(),
            text: text.to_owned(),
            nodes,
            missing_key: MissingKey::default(),
        })
    }

    /// Sets what happens on a key that a map lacks (Go's option `missingkey`).
    #[must_use]
    pub fn missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }

    /// Executes the template on `data`.
    ///
    /// # Errors
    /// [`Error::Execute`] when a field, an argument or a function's result does not fit.
    pub fn execute(&self, data: &Value) -> Result<String, Error> {
        self.execute_with(data, Functions::Real)
    }

    /// As [`Template::execute`], with other functions.
    ///
    /// # Errors
    /// As [`Template::execute`].
    pub fn execute_with(&self, data: &Value, functions: Functions) -> Result<String, Error> {
        let mut out = String::new();
        exec::run(self, data, functions, &mut out)?;
        Ok(out)
    }

    /// As [`Template::execute`], appending to `out`; what came before an error stays there.
    ///
    /// # Errors
    /// As [`Template::execute`].
    pub fn execute_into(&self, data: &Value, out: &mut String) -> Result<(), Error> {
        exec::run(self, data, Functions::Real, out)
    }
}
