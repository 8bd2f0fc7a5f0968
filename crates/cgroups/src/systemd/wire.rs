//! Messages of D-Bus as bytes, as far as a client of systemd needs them. Little-endian, protocol version 1.
//!
//= https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-messages

use std::io::{self, Read};

/// A value of D-Bus's type system.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Byte(u8),
    Bool(bool),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    Text(String),
    Path(String),
    Signature(String),
    /// The elements' signature, which an empty array needs too.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    /// Of an array that is a dictionary.
    Entry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// `ay`.
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Array("y".into(), bytes.iter().map(|byte| Self::Byte(*byte)).collect())
    }

    pub(crate) fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".into(),
            Self::Bool(_) => "b".into(),
            Self::Int16(_) => "n".into(),
            Self::Uint16(_) => "q".into(),
            Self::Int32(_) => "i".into(),
            Self::Uint32(_) => "u".into(),
            Self::Int64(_) => "x".into(),
            Self::Uint64(_) => "t".into(),
            Self::Double(_) => "d".into(),
            Self::Text(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Variant(_) => "v".into(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => format!("({})", signature(fields)),
            Self::Entry(pair) => format!("{{{}{}}}", pair.0.signature(), pair.1.signature()),
        }
    }
}

pub(crate) fn signature(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// On which multiple a value of the type begins.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend(bytes);
    }

    fn string(&mut self, text: &str) {
        self.put(length(text.len()).to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn short_string(&mut self, text: &str) {
        // A signature has at most 255 characters; ours are a handful, a user's longer one is refused when it is parsed.
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(value) => self.0.push(*value),
            Value::Bool(value) => self.put(u32::from(*value).to_le_bytes()),
            Value::Int16(value) => self.put(value.to_le_bytes()),
            Value::Uint16(value) => self.put(value.to_le_bytes()),
            Value::Int32(value) => self.put(value.to_le_bytes()),
            Value::Uint32(value) => self.put(value.to_le_bytes()),
            Value::Int64(value) => self.put(value.to_le_bytes()),
            Value::Uint64(value) => self.put(value.to_le_bytes()),
            Value::Double(value) => self.put(value.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => self.string(text),
            Value::Signature(text) => self.short_string(text),
            Value::Variant(value) => {
                self.short_string(&value.signature());
                self.value(value);
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Entry(pair) => {
                self.align(8);
                self.value(&pair.0);
                self.value(&pair.1);
            }
            Value::Array(element, values) => {
                self.put([0; 4]);
                let at = self.0.len() - 4;
                // The gap before the first element does not count as length.
                self.align(alignment(element));
                let start = self.0.len();
                values.iter().for_each(|value| self.value(value));
                let size = length(self.0.len() - start);
                self.0[at..at + 4].copy_from_slice(&size.to_le_bytes());
            }
        }
    }
}

/// Lengths are 32 bit; what we send is far below.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Where a method call goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
}

/// The bytes of a method call.
pub(crate) fn call(serial: u32, method: &Method<'_>, body: &[Value]) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|value| content.value(value));
    let field =
        |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields = vec![
        field(1, Value::Path(method.path.into())),
        field(2, Value::text(method.interface)),
        field(3, Value::text(method.member)),
        field(6, Value::text(method.destination)),
    ];
    if !body.is_empty() {
        fields.push(field(8, Value::Signature(signature(body))));
    }
    let mut message = Writer(vec![b'l', METHOD_CALL, 0, 1]);
    message.put(length(content.0.len()).to_le_bytes());
    message.put(serial.to_le_bytes());
    message.value(&Value::Array("(yv)".into(), fields));
    message.align(8);
    message.0.extend(content.0);
    message.0
}

const METHOD_CALL: u8 = 1;
pub(crate) const METHOD_RETURN: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const SIGNAL: u8 = 4;

/// A message that came in.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) member: String,
    pub(crate) error: String,
    pub(crate) reply_to: u32,
    body: Vec<u8>,
}

/// What a manager answers to us is small.
const MOST: usize = 1 << 20;

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed D-Bus message")
}

impl Message {
    /// Reads one message.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 16];
        from.read_exact(&mut head)?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (body, fields) = (number(4), number(12));
        if head[0] != b'l' || head[3] != 1 || body > MOST || fields > MOST {
            return Err(malformed());
        }
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        from.read_exact(&mut rest)?;
        let content = rest.split_off(fields.next_multiple_of(8));
        let mut message = Self {
            kind: head[1],
            body: content,
            ..Self::default()
        };
        let mut reader = Reader {
            bytes: &rest[..fields],
            at: 0,
        };
        while reader.at < fields {
            reader.align(8);
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match kind.as_str() {
                "s" | "o" => {
                    let text = reader.string()?;
                    match code {
                        3 => message.member = text,
                        4 => message.error = text,
                        _ => {}
                    }
                }
                "g" => drop(reader.signature()?),
                "u" => {
                    let value = reader.number()?;
                    if code == 5 {
                        message.reply_to = value;
                    }
                }
                _ => return Err(malformed()),
            }
        }
        Ok(message)
    }

    /// The body, from its beginning.
    pub(crate) fn body(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }
}

/// Takes values off bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let end = self.at.checked_add(count).ok_or_else(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// `u`.
    pub(crate) fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// `s` or `o`.
    pub(crate) fn string(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    /// `g`.
    pub(crate) fn signature(&mut self) -> io::Result<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout that the specification prescribes, byte for byte.
    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let method = Method {
            destination: "d",
            path: "/p",
            interface: "i",
            member: "m",
        };
        let body = [
            Value::text("x"),
            Value::Array("(sv)".into(), vec![]),
            Value::Array("t".into(), vec![Value::Uint64(7)]),
        ];
        let message = call(9, &method, &body);
        let expected: &[u8] = b"l\x01\x00\x01\x20\x00\x00\x00\x09\x00\x00\x00\x4e\x00\x00\x00\
            \x01\x01o\x00\x02\x00\x00\x00/p\x00\x00\x00\x00\x00\x00\
            \x02\x01s\x00\x01\x00\x00\x00i\x00\x00\x00\x00\x00\x00\x00\
            \x03\x01s\x00\x01\x00\x00\x00m\x00\x00\x00\x00\x00\x00\x00\
            \x06\x01s\x00\x01\x00\x00\x00d\x00\x00\x00\x00\x00\x00\x00\
            \x08\x01g\x00\x08sa(sv)at\x00\x00\x00\
            \x01\x00\x00\x00x\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
            \x08\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(message, expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let method = Method {
            destination: "d.e",
            path: "/p/q",
            interface: "i.j",
            member: "JobRemoved",
        };
        let bytes = call(
            3,
            &method,
            &[
                Value::Uint32(5),
                Value::Path("/job/5".into()),
                Value::text("u"),
                Value::text("done"),
            ],
        );
        let message = Message::read(&mut bytes.as_slice()).unwrap();
        assert_eq!(message.member, "JobRemoved");
        let mut body = message.body();
        assert_eq!(body.number().unwrap(), 5);
        assert_eq!(body.string().unwrap(), "/job/5");
        assert_eq!(body.string().unwrap(), "u");
        assert_eq!(body.string().unwrap(), "done");
        assert!(body.number().is_err());
    }

    #[test]
    fn a_cut_or_foreign_message_is_refused() {
        let method = Method {
            destination: "d",
            path: "/",
            interface: "i",
            member: "m",
        };
        let bytes = call(1, &method, &[Value::text("text")]);
        for cut in 0..bytes.len() {
            assert!(Message::read(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        let mut big_endian = bytes.clone();
        big_endian[0] = b'B';
        assert!(Message::read(&mut big_endian.as_slice()).is_err());
        let mut huge = bytes;
        huge[7] = 0xff;
        assert!(Message::read(&mut huge.as_slice()).is_err());
    }
}
