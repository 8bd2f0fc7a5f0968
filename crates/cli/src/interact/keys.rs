//! The keys that leave a container.

/// A sequence that is looked for in what is typed. What might become it is held back until it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Keys {
    /// Docker's own: `ctrl-p,ctrl-q`.
    const DEFAULT: [u8; 2] = [0x10, 0x11];

    /// Nothing leaves.
    pub(crate) fn none() -> Keys {
        Keys::default()
    }

    /// Reads `ctrl-a,b,…`; nothing is Docker's own. The complaint is Docker's.
    pub(crate) fn parse(text: &str) -> Result<Keys, String> {
        if text.is_empty() {
            return Ok(Keys {
                sequence: Self::DEFAULT.to_vec(),
                matched: 0,
            });
        }
        let key = |key: &str| match *key.as_bytes() {
            [byte] => Ok(byte),
            [b'c', b't', b'r', b'l', b'-', byte] => match byte {
                b'a'..=b'z' => Ok(byte - b'a' + 1),
                b'@' => Ok(0),
                b'[' | b'\\' | b']' | b'^' | b'_' => Ok(byte - b'@'),
                _ => Err(format!("Unknown character: '{key}'")),
            },
            _ => Err(format!("Unknown character: '{key}'")),
        };
        let sequence = text.split(',').map(key).collect::<Result<_, _>>()?;
        Ok(Keys { sequence, matched: 0 })
    }

    /// What of `typed` is to be passed on, and whether the keys were seen.
    pub(crate) fn scan(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.sequence.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return (bytes, true);
                }
                continue;
            }
            bytes.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = 0;
            if self.sequence.first() == Some(byte) {
                self.matched = 1;
            } else {
                bytes.push(*byte);
            }
        }
        (bytes, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        assert_eq!(Keys::parse("").unwrap().sequence, [16, 17]);
        assert_eq!(Keys::parse("ctrl-a,x,ctrl-@").unwrap().sequence, [1, b'x', 0]);
        assert_eq!(Keys::parse("ctrl-,").unwrap_err(), "Unknown character: 'ctrl-'");
    }

    #[test]
    fn they_are_found_across_reads_and_nothing_else_is_lost() {
        let mut keys = Keys::parse("").unwrap();
        assert_eq!(keys.scan(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.scan(b"c\x10\x10\x11d"), (b"\x10c\x10".to_vec(), true));
        let mut never = Keys::none();
        assert_eq!(never.scan(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
