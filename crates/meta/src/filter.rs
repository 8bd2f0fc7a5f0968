//! Filters of list requests: `name==web`, `labels."io.x/y"~=^a,size!=0`.
//!
//! A filter is selectors joined by commas, all of which must hold; of several filters one must hold. A selector is a field
//! path, alone (the field is present) or with `==`, `!=` or `~=` (regular expression) and a value. Parts of a path are joined by
//! dots; a part or a value may be quoted with `"`; values of `~=` also with `/` or `|`.
//!
//! Source: the documentation of containerd's package `filters`.

use regex::bytes::{Regex, RegexBuilder};

/// Filters, parsed.
#[derive(Debug, Clone, Default)]
pub struct Filters(Vec<Vec<Selector>>);

#[derive(Debug, Clone)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

/// Why a filter was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} at {at}")]
pub struct FilterError {
    /// The filter.
    pub filter: String,
    /// Byte offset in it.
    pub at: usize,
    /// What is wrong there.
    pub why: String,
}

impl Filters {
    /// Parses each text. Empty texts are left out, as containerd does.
    pub fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Filters, FilterError> {
        let texts = filters.iter().map(AsRef::as_ref).filter(|text| !text.is_empty());
        texts
            .map(|text| Parser { text, at: 0 }.filter())
            .collect::<Result<_, _>>()
            .map(Filters)
    }

    /// Whether a thing is selected; everything is when there are no filters. `field` gives the value at a path, such as
    /// `["labels", "key"]`.
    pub fn matches<'a>(&self, field: &dyn Fn(&[&str]) -> Option<&'a str>) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|selectors| selectors.iter().all(|selector| selector.matches(field)))
    }
}

impl Selector {
    fn matches<'a>(&self, field: &dyn Fn(&[&str]) -> Option<&'a str>) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = field(&path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value == Some(wanted),
            Test::NotEqual(unwanted) => value != Some(unwanted),
            Test::Matches(regex) => value.is_some_and(|value| regex.is_match(value.as_bytes())),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    /// Blanks may stand between any two tokens.
    fn filter(mut self) -> Result<Vec<Selector>, FilterError> {
        let mut selectors = vec![self.selector()?];
        while !self.rest().trim_start().is_empty() {
            if !self.take(",") {
                return Err(self.error("a comma was expected"));
            }
            selectors.push(self.selector()?);
        }
        Ok(selectors)
    }

    fn selector(&mut self) -> Result<Selector, FilterError> {
        let mut path = vec![self.part()?];
        while self.take(".") {
            path.push(self.part()?);
        }
        let test = if self.take("==") {
            Test::Equal(self.value(&['"'])?)
        } else if self.take("!=") {
            Test::NotEqual(self.value(&['"'])?)
        } else if self.take("~=") {
            let at = self.at;
            let pattern = self.value(&['"', '/', '|'])?;
            let regex = RegexBuilder::new(&pattern).unicode(false).build();
            Test::Matches(regex.map_err(|error| FilterError {
                at,
                ..self.error(&error.to_string())
            })?)
        } else {
            Test::Present
        };
        Ok(Selector { path, test })
    }

    /// A part of a field path.
    fn part(&mut self) -> Result<String, FilterError> {
        self.skip_blanks();
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let length = self.rest().find(|c| !plain(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error("a field name was expected"));
        }
        Ok(self.advance(length))
    }

    fn value(&mut self, quotes: &[char]) -> Result<String, FilterError> {
        self.skip_blanks();
        if self.rest().starts_with(quotes) {
            return self.quoted();
        }
        let length = self.rest().find(',').unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error("a value was expected"));
        }
        Ok(self.advance(length).trim_end().to_owned())
    }

    /// A text between two of the same quote; a backslash takes the next character as it is.
    fn quoted(&mut self) -> Result<String, FilterError> {
        let mut characters = self.rest().char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((offset, c)) = characters.next() {
            match c {
                '\\' => match (characters.next(), quote) {
                    // Only the quote and the backslash itself need it; a pattern keeps its own escapes.
                    (Some((_, next)), quote)
                        if Some(next) == quote || (next == '\\' && quote == Some('"')) =>
                    {
                        text.push(next);
                    }
                    (Some((_, next)), _) => text.extend(['\\', next]),
                    (None, _) => break,
                },
                c if Some(c) == quote => {
                    self.at += offset + c.len_utf8();
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(self.error("a quote is not closed"))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let taken = self.rest().starts_with(token);
        if taken {
            self.at += token.len();
        }
        taken
    }

    fn advance(&mut self, length: usize) -> String {
        let text = self.rest()[..length].to_owned();
        self.at += length;
        text
    }

    fn error(&self, why: &str) -> FilterError {
        FilterError {
            filter: self.text.to_owned(),
            at: self.at,
            why: why.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, selected: bool) {
        let filters = Filters::parse(&[filter]).unwrap();
        let field = |path: &[&str]| match path {
            ["name"] => Some("docker.io/library/web:1"),
            ["labels", "a.b/c"] => Some("x,y"),
            ["labels", "empty"] => Some(""),
            _ => None,
        };
        assert_eq!(filters.matches(&field), selected, "{filter}");
    }

    #[test]
    fn a_filter_selects_by_its_fields() {
        check("name==docker.io/library/web:1", true);
        check("name==web", false);
        check(" name == docker.io/library/web:1 , labels.absent", false);
        check("labels.empty, name ~= /web/", true);
        check("name!=web", true);
        check("name~=^docker\\.io/", true);
        check("name~=/web:\\d$/", true);
        check("name~=|web$|", false);
        check("name", true);
        check("labels.empty", true);
        check("labels.absent", false);
        check("labels.absent!=x", true);
        check("labels.\"a.b/c\"==\"x,y\"", true);
        check("labels.\"a.b/c\"==\"x,y\",name==web", false);
        check("labels.\"a.b/c\"~=^x,name~=web", true);
    }

    #[test]
    fn one_of_several_filters_is_enough_and_none_selects_all() {
        let field = |_: &[&str]| Some("v");
        assert!(Filters::parse::<&str>(&[]).unwrap().matches(&field));
        assert!(Filters::parse(&[""]).unwrap().matches(&field));
        assert!(Filters::parse(&["a==w", "a==v"]).unwrap().matches(&field));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        for filter in ["==x", "a==", "a=b", "a.\"b", "a~=(", "a,"] {
            let error = Filters::parse(&[filter]).unwrap_err();
            assert_eq!(error.filter, filter);
        }
    }
}
