//! The keys by which a client leaves a process and lets it run.

use bytes::{Bytes, BytesMut};

/// `ctrl-p,ctrl-q`.
const DEFAULT: [u8; 2] = [16, 17];

/// A sequence of keys, as the bytes that a terminal sends. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys(Vec<u8>);

impl Keys {
    /// Reads `ctrl-a,x`; an empty text is the default. The error is the text.
    ///
    /// Source: Docker's reference, `--detach-keys`: a letter, or `ctrl-` and one of `a`-`z`, `@`, `[`, `\`, `]`, `^`, `_`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(DEFAULT.to_vec()));
        }
        let key = |key: &str| match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
            ([byte], _) => Some(*byte),
            (b"DEL", _) => Some(127),
            (_, Some([byte @ (b'a'..=b'z')])) => Some(byte - b'a' + 1),
            (_, Some([byte @ (b'@' | b'['..=b'_')])) => Some(byte - b'@'),
            _ => None,
        };
        text.split(',')
            .map(key)
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| text.to_owned())
    }
}

/// Looks for the keys in what a client types.
#[derive(Debug)]
pub(super) struct Watch {
    keys: Keys,
    /// How many of them were typed last; they are held back.
    typed: usize,
}

impl Watch {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, typed: 0 }
    }

    /// What of `bytes` is for the process, and whether the client has left.
    pub(super) fn pass(&mut self, bytes: Bytes) -> (Bytes, bool) {
        let Keys(keys) = &self.keys;
        if self.typed == 0 && !bytes.contains(&keys[0]) {
            return (bytes, false);
        }
        let mut passed = BytesMut::with_capacity(bytes.len() + keys.len());
        for byte in bytes {
            if byte == keys[self.typed] {
                self.typed += 1;
                if self.typed == keys.len() {
                    self.typed = 0;
                    return (passed.freeze(), true);
                }
                continue;
            }
            passed.extend_from_slice(&keys[..self.typed]);
            self.typed = usize::from(byte == keys[0]);
            if self.typed == 0 {
                passed.extend_from_slice(&[byte]);
            }
        }
        (passed.freeze(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let keys = |text: &str| Keys::parse(text).map(|Keys(keys)| keys);
        assert_eq!(keys(""), Ok(vec![16, 17]));
        assert_eq!(keys("ctrl-a,x,ctrl-@,ctrl-_,DEL"), Ok(vec![1, b'x', 0, 31, 127]));
        for bad in ["ctrl-", "ctrl-A", "xy", "a,,b", "ctrl-aa"] {
            assert_eq!(keys(bad), Err(bad.to_owned()));
        }
    }

    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = Watch::new(Keys::parse(keys).unwrap());
        let mut all = Vec::new();
        for piece in pieces {
            let (passed, left) = watch.pass(Bytes::copy_from_slice(piece));
            all.extend_from_slice(&passed);
            if left {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_keys_are_found_wherever_they_are_cut() {
        assert_eq!(typed("", &[b"ls\x10\x11rest"]), (b"ls".to_vec(), true));
        assert_eq!(typed("", &[b"ls\x10", b"\x11"]), (b"ls".to_vec(), true));
        assert_eq!(typed("x", &[b"abx"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn what_only_begins_like_them_is_passed_on() {
        assert_eq!(typed("", &[b"a\x10b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(typed("", &[b"a\x10", b"\x10\x11"]), (b"a\x10".to_vec(), true));
        assert_eq!(typed("", &[b"plain"]), (b"plain".to_vec(), false));
    }
}
