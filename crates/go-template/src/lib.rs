//! Go's `text/template` (<https://pkg.go.dev/text/template>), as much of it as `--format` needs: text in, text or
//! diagnostics out. No I/O.
//!
//! Fields, variables, pipelines, `if`, `else if`, `range`, `with`, the built-in functions and those that Docker adds
//! (`json`, `join`, `split`, `upper`, `lower`, `title`, `pad`, `truncate`, `println`). Absent: `define`, `template`, `block`.

mod functions;
mod lex;
mod parse;
mod render;
mod value;

pub use value::Value;

/// A template that was read.
#[derive(Debug, Clone)]
pub struct Template(Vec<parse::Node>);

impl Template {
    /// Reads a template. The error is Go's: `template: :1: unclosed action`.
    pub fn parse(text: &str) -> Result<Template, String> {
        parse::parse(text).map(Template)
    }

    /// The text for `data`. `kind` is what a missing field of the outermost object is said to be missing in
    /// (`*formatter.ContainerContext`); without it, the object is a map and Go's words are a map's.
    pub fn render(&self, data: &Value, kind: Option<&str>) -> Result<String, String> {
        render::render(&self.0, data, kind)
    }
}

#[cfg(test)]
mod tests;
