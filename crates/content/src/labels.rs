//! Labels: short texts that users and the collector hang on things.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// The labels of a thing.
pub type Labels = BTreeMap<String, String>;

/// Bytes that a key and its value may have together. Source: containerd's `pkg/labels`.
const MAX: usize = 4096;

/// Checks the lengths, and drops labels without a value, as containerd does when it stores them.
pub fn checked(labels: Labels) -> Result<Labels> {
    for (key, value) in &labels {
        if key.len() + value.len() > MAX {
            let why = format!(
                "the key and its value have {} bytes, at most {MAX} are allowed",
                key.len() + value.len()
            );
            return Err(Error::Invalid {
                what: "label",
                value: key.clone(),
                why,
            });
        }
    }
    Ok(labels
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect())
}

/// Changes `current` as a field mask says: none, or `labels`, replaces all by `new`; `labels.KEY` takes that one from `new`, and
/// removes it when `new` has none or an empty one. Another field cannot be changed ([`Error::Invalid`]).
pub fn update(current: &mut Labels, new: Labels, fields: &[String]) -> Result<()> {
    let new = checked(new)?;
    if fields.is_empty() || fields.iter().any(|field| field == "labels") {
        *current = new;
        return Ok(());
    }
    for field in fields {
        let Some(key) = field.strip_prefix("labels.") else {
            let why = "only labels can be changed".to_owned();
            return Err(Error::Invalid {
                what: "field",
                value: field.clone(),
                why,
            });
        };
        match new.get(key) {
            Some(value) => current.insert(key.to_owned(), value.clone()),
            None => current.remove(key),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_field_mask_says_which_labels_change() {
        let check = |fields: &[&str], expected: &[(&str, &str)]| {
            let mut current = labels(&[("a", "1"), ("b.c/d", "2")]);
            let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            update(
                &mut current,
                labels(&[("a", "new"), ("e", "3"), ("none", "")]),
                &fields,
            )
            .unwrap();
            assert_eq!(current, labels(expected));
        };
        check(&[], &[("a", "new"), ("e", "3")]);
        check(&["labels"], &[("a", "new"), ("e", "3")]);
        check(&["labels.a"], &[("a", "new"), ("b.c/d", "2")]);
        check(&["labels.b.c/d", "labels.e"], &[("a", "1"), ("e", "3")]);
        assert!(update(&mut Labels::new(), Labels::new(), &["size".to_owned()]).is_err());
    }

    #[test]
    fn a_label_that_is_too_long_is_refused() {
        assert!(checked(labels(&[("k", &"v".repeat(4095))])).is_ok());
        assert!(checked(labels(&[("k", &"v".repeat(4096))])).is_err());
    }
}
