//! The `filters` parameter of lists, prunes and events.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What a list is narrowed to: for each key the values of which one must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    /// `{"label": {"a=b": true}}`, what clients send today. The flags mean nothing.
    Set(BTreeMap<String, serde::de::IgnoredAny>),
    /// `{"label": ["a=b"]}`, the old form.
    List(Vec<String>),
}

impl Filters {
    /// Reads the parameter; an empty one is no filter. The error is Docker's.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(|_| "invalid filter".to_owned())?;
        let values = |values| match values {
            None => Vec::new(),
            Some(Values::List(list)) => list,
            Some(Values::Set(set)) => set.into_keys().collect(),
        };
        Ok(Self(
            read.unwrap_or_default()
                .into_iter()
                .map(|(key, found)| (key, values(found)))
                .collect(),
        ))
    }

    /// The parameter as clients send it.
    pub fn to_json(&self) -> String {
        let sets: BTreeMap<_, BTreeMap<_, bool>> = self
            .0
            .iter()
            .map(|(key, values)| (key, values.iter().map(|value| (value, true)).collect()))
            .collect();
        serde_json::to_string(&sets).unwrap_or_default()
    }

    /// Adds a value to those of `key`.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().push(value.into());
    }

    /// Refuses keys that are not among `known`, as Docker words it.
    pub fn check(&self, known: &[&str]) -> Result<(), String> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(format!("invalid filter '{key}'")),
            None => Ok(()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` was given, even without values.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The values of `key`.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether `matches` holds for one value of `key`, or `key` has none.
    pub fn any(&self, key: &str, matches: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| matches(value))
    }

    /// Whether one value of `key` is `found`, or `key` has none.
    pub fn exact(&self, key: &str, found: &str) -> bool {
        self.any(key, |value| value == found)
    }

    /// Whether `labels` have every `label` that was asked for: `name` or `name=value`.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label")
            .iter()
            .all(|wanted| match wanted.split_once('=') {
                Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
                None => labels.contains_key(wanted.as_str()),
            })
    }

    /// The yes or no of `key`; `None` when it was not given. The error is Docker's.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.values(key) {
            [] => Ok(None),
            [value] if value == "1" || value == "true" => Ok(Some(true)),
            [value] if value == "0" || value == "false" => Ok(Some(false)),
            values => Err(format!("invalid filter '{key}={}'", values.join(","))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for text in [
            r#"{"label":{"a=b":true},"status":{"x":true,"y":true}}"#,
            r#"{"label":["a=b"],"status":["x","y"]}"#,
        ] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!(filters.values("label"), ["a=b"]);
            assert!(
                filters.exact("status", "y") && !filters.exact("status", "z") && filters.exact("other", "z")
            );
            assert_eq!(Filters::parse(&filters.to_json()).unwrap(), filters);
        }
        assert!(Filters::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_in_docker_s_words() {
        assert_eq!(Filters::parse("x").unwrap_err(), "invalid filter");
        let filters = Filters::parse(r#"{"foo":["a"],"dangling":["x"]}"#).unwrap();
        assert_eq!(filters.check(&["dangling"]).unwrap_err(), "invalid filter 'foo'");
        assert_eq!(
            filters.flag("dangling").unwrap_err(),
            "invalid filter 'dangling=x'"
        );
        assert_eq!(filters.flag("none"), Ok(None));
    }

    #[test]
    fn all_labels_must_be_there() {
        let labels = [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())].into();
        let holds = |text: &str| Filters::parse(text).unwrap().labels(&labels);
        assert!(holds(r#"{"label":["a=b","c"]}"#) && holds("{}"));
        assert!(!holds(r#"{"label":["a=x"]}"#) && !holds(r#"{"label":["a=b","d"]}"#));
    }
}
