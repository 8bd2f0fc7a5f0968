//! Who is at work on the file of a blob: those who put it in place and commit its record, or the one who looks for a record and removes it.
//!
//! Never held over I/O: a sweep of many files stops nobody but who wants the very file that it is at.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lighter_oci::Digest;

#[derive(Debug, Default)]
pub(crate) struct Places {
    busy: Mutex<HashMap<Digest, Work>>,
    changed: Condvar,
}

#[derive(Debug)]
enum Work {
    /// By so many at once: the bytes are the same.
    Placed(usize),
    Removed,
}

/// The right to work on one file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    places: &'a Places,
    digest: &'a Digest,
}

impl Places {
    /// For putting it in place. Waits while it is being removed.
    pub(crate) fn place<'a>(&'a self, digest: &'a Digest) -> Claim<'a> {
        let mut busy = self.busy();
        loop {
            match busy.get_mut(digest) {
                None => drop(busy.insert(digest.clone(), Work::Placed(1))),
                Some(Work::Placed(count)) => *count += 1,
                Some(Work::Removed) => {
                    busy = self.changed.wait(busy).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            return Claim { places: self, digest };
        }
    }

    /// For removing it. `None`: somebody is at work on it, and will see for himself whether it has to go.
    pub(crate) fn remove<'a>(&'a self, digest: &'a Digest) -> Option<Claim<'a>> {
        let mut busy = self.busy();
        if busy.contains_key(digest) {
            return None;
        }
        busy.insert(digest.clone(), Work::Removed);
        Some(Claim { places: self, digest })
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<Digest, Work>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut busy = self.places.busy();
        match busy.get_mut(self.digest) {
            Some(Work::Placed(count)) if *count > 1 => *count -= 1,
            _ => drop(busy.remove(self.digest)),
        }
        self.places.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_placed_by_many_or_removed_by_one() {
        let places = Places::default();
        let (one, other) = (Digest::sha256(b"one"), Digest::sha256(b"other"));
        let (first, second) = (places.place(&one), places.place(&one));
        assert!(places.remove(&one).is_none());
        assert!(places.remove(&other).is_some());
        drop(first);
        assert!(places.remove(&one).is_none());
        drop(second);
        let removed = places.remove(&one);
        assert!(removed.is_some());
        std::thread::scope(|scope| {
            let placed = scope.spawn(|| drop(places.place(&one)));
            assert!(!placed.is_finished());
            drop(removed);
        });
        assert!(places.busy().is_empty());
    }
}
