//! Records that were read since the last change of the database: a blob that is asked for again and again costs no query.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lighter_oci::Digest;

use crate::Info;

/// Records that are kept: about half a megabyte.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    /// The state of the database that they are of.
    version: u64,
    count: usize,
    by_namespace: HashMap<String, HashMap<Digest, Info>>,
}

impl Known {
    /// The record, if it was read in this very state of the database.
    pub(crate) fn get(&self, version: u64, namespace: &str, digest: &Digest) -> Option<Info> {
        let records = self.records();
        if records.version != version {
            return None;
        }
        records.by_namespace.get(namespace)?.get(digest).cloned()
    }

    /// Keeps a record that was read in state `version`.
    pub(crate) fn put(&self, version: u64, namespace: &str, info: &Info) {
        let mut records = self.records();
        if records.version != version || records.count >= MOST {
            *records = Records {
                version,
                ..Records::default()
            };
        }
        let namespace = records.by_namespace.entry(namespace.to_owned()).or_default();
        if namespace.insert(info.digest.clone(), info.clone()).is_none() {
            records.count += 1;
        }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_record_is_known_until_anything_changes() {
        let known = Known::default();
        let info = |name: &[u8]| Info {
            digest: Digest::sha256(name),
            size: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            labels: Default::default(),
        };
        let one = info(b"one");
        known.put(2, "a", &one);
        assert_eq!(known.get(2, "a", &one.digest), Some(one.clone()));
        assert_eq!(known.get(2, "b", &one.digest), None);
        assert_eq!(known.get(4, "a", &one.digest), None);
        known.put(4, "b", &one);
        assert_eq!(known.get(2, "a", &one.digest), None);
        assert_eq!(known.get(4, "a", &one.digest), None);
        for number in 0..3 * MOST {
            known.put(4, "a", &info(&number.to_le_bytes()));
        }
        assert!(known.records().count <= MOST);
    }
}
