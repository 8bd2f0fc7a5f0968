//! The little of protocol buffers that CRIU's messages need: varints and length-delimited fields, told one after the
//! other.
//!
//= https://protobuf.dev/programming-guides/encoding/

const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, field: u64, value: i64) -> &mut Self {
        self.varint(field << 3 | VARINT);
        // Negative numbers are sent as their 64 bits.
        self.varint(value.cast_unsigned());
        self
    }

    /// A flag; false is left out, which is every flag's default.
    pub(crate) fn flag(&mut self, field: u64, value: bool) -> &mut Self {
        if value {
            self.number(field, 1);
        }
        self
    }

    pub(crate) fn bytes(&mut self, field: u64, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.varint(field << 3 | LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

impl AsRef<[u8]> for Writer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A field that was read: its number and its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
}

/// The fields of a message; what is cut off or of a kind that CRIU does not use ends it.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        match key & 7 {
            VARINT => Some(Field::Number(key >> 3, self.varint()?)),
            LENGTH => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (value, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Some(Field::Bytes(key >> 3, value))
            }
            _ => None,
        }
    }
}

impl Reader<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Writer::default();
        inner.number(1, 300).flag(2, false).bytes(51, "x");
        let mut message = Writer::default();
        message.bytes(2, &inner).number(7, -1);
        let fields: Vec<_> = Reader(message.as_ref()).collect();
        let [Field::Bytes(2, inner), Field::Number(7, u64::MAX)] = fields[..] else {
            panic!("{fields:?}");
        };
        let fields: Vec<_> = Reader(inner).collect();
        assert_eq!(fields, [Field::Number(1, 300), Field::Bytes(51, b"x")]);
    }

    #[test]
    fn a_cut_message_ends() {
        let mut message = Writer::default();
        message.bytes(1, "abc").number(2, 5);
        for length in 0..message.as_ref().len() {
            assert!(Reader(&message.as_ref()[..length]).count() < 2);
        }
        assert_eq!(Reader(&[0xff; 20]).count(), 0);
    }
}
