//! Finding a call by name: a profile has hundreds of names for each architecture, and a container waits for them.

/// A table sorted by name, with an index by hash that the compiler makes.
pub(crate) struct Calls {
    calls: &'static [(&'static str, u32)],
    /// Place in `calls` plus one, in the slot of the name's hash or the next free one.
    slots: [u16; SLOTS],
}

/// A power of two, at least twice as many as a table has names.
const SLOTS: usize = 1024;

impl Calls {
    pub(crate) const fn new(calls: &'static [(&'static str, u32)]) -> Self {
        assert!(calls.len() <= SLOTS / 2);
        let mut slots = [0; SLOTS];
        let mut place = 0;
        while place < calls.len() {
            let mut slot = hash(calls[place].0);
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = place as u16 + 1;
            place += 1;
        }
        Self { calls, slots }
    }

    /// The number of the call `name`.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        let mut slot = hash(name);
        // At least half of the slots are free.
        while let Some(place) = usize::from(self.slots[slot]).checked_sub(1) {
            let (known, number) = self.calls[place];
            if known == name {
                return Some(number);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}

/// FNV-1a, folded to a slot.
const fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        static CALLS: &[(&str, u32)] = &[("a", 1), ("b", 2), ("read", 0), ("write", 7)];
        let table = Calls::new(CALLS);
        for (name, number) in CALLS {
            assert_eq!(table.number(name), Some(*number));
        }
        for name in ["", "reads", "rea", "c"] {
            assert_eq!(table.number(name), None);
        }
    }
}
