//! Which records were changed while somebody watches: what a reader that took its time must look at again.

use std::cell::RefCell;
use std::collections::HashSet;

/// Changes that are kept in mind at most; behind that it is only known that there were many.
const MOST: usize = 1 << 16;

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// These records: bucket and key.
    Records(HashSet<(String, String)>),
    /// Too many to be kept in mind, or nobody has watched: any record may be another.
    Anything,
}

/// The changes of one database; its writer has them.
#[derive(Debug, Default)]
pub(crate) struct Changes(RefCell<Option<Changed>>);

impl Changes {
    pub(crate) fn watch(&self) {
        self.0.replace(Some(Changed::Records(HashSet::new())));
    }

    pub(crate) fn unwatch(&self) {
        self.0.replace(None);
    }

    pub(crate) fn take(&self) -> Changed {
        match &mut *self.0.borrow_mut() {
            Some(changed) => std::mem::replace(changed, Changed::Records(HashSet::new())),
            None => Changed::Anything,
        }
    }

    pub(crate) fn note(&self, bucket: &str, key: &str) {
        let mut changes = self.0.borrow_mut();
        if let Some(changed) = &mut *changes
            && let Changed::Records(records) = changed
        {
            if records.len() < MOST {
                records.insert((bucket.to_owned(), key.to_owned()));
            } else {
                *changed = Changed::Anything;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_kept_in_mind_while_somebody_watches() {
        let changes = Changes::default();
        changes.note("bucket", "before");
        assert_eq!(changes.take(), Changed::Anything);
        changes.watch();
        changes.note("bucket", "key");
        changes.note("bucket", "key");
        let once = HashSet::from([("bucket".to_owned(), "key".to_owned())]);
        assert_eq!(changes.take(), Changed::Records(once));
        assert_eq!(changes.take(), Changed::Records(HashSet::new()));
        for number in 0..=MOST {
            changes.note("bucket", &number.to_string());
        }
        assert_eq!(changes.take(), Changed::Anything);
        changes.unwatch();
        assert_eq!(changes.take(), Changed::Anything);
    }
}
