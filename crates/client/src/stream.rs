//! What comes as a stream.

use std::io::{self, BufReader, Read, Write};
use std::marker::PhantomData;

use lighter_engine_api::go;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::http::Body;
use crate::socket::Socket;

/// A connection that has become a stream both ways: attach and exec.
#[derive(Debug)]
pub struct Upgraded {
    /// What the engine sends: raw with a terminal, else to be [`demultiplex`]ed.
    pub output: BufReader<Socket>,
    /// What goes to the standard input of the process.
    pub input: Socket,
}

impl Upgraded {
    pub(crate) fn new(output: BufReader<Socket>) -> io::Result<Upgraded> {
        let input = output.get_ref().try_clone()?;
        Ok(Upgraded { output, input })
    }
}

/// Which of a process's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes Docker's frames apart (`[stream u8, 0, 0, 0, length u32 BE]`, then the bytes) and hands each to `sink`, until
/// the stream ends. A frame of the engine's own errors (3) ends it with that error.
pub fn demultiplex(
    from: &mut impl Read,
    mut sink: impl FnMut(Output, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    let mut header = [0; 8];
    loop {
        if !filled(from, &mut header)? {
            return Ok(());
        }
        let [stream, _, _, _, length @ ..] = header;
        let mut left = u32::from_be_bytes(length) as usize;
        if stream == 3 {
            let mut message = vec![0; left];
            from.read_exact(&mut message)?;
            let text = String::from_utf8_lossy(&message).into_owned();
            return Err(io::Error::other(format!("error from daemon in stream: {text}")));
        }
        let output = match stream {
            0 | 1 => Output::Stdout,
            2 => Output::Stderr,
            other => {
                let text = format!("Unrecognized input header: {other}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        while left > 0 {
            let most = left.min(buffer.len());
            let count = from.read(&mut buffer[..most])?;
            if count == 0 {
                // The other side went in the midst of it.
                return Ok(());
            }
            sink(output, &buffer[..count])?;
            left -= count;
        }
    }
}

/// Whether the whole of `buffer` was read; not, when the stream ended before.
fn filled(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// One JSON object after another.
pub struct JsonLines<T> {
    values:
        serde_json::StreamDeserializer<'static, serde_json::de::IoRead<BufReader<Body>>, serde_json::Value>,
    of: PhantomData<T>,
}

impl<T> std::fmt::Debug for JsonLines<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonLines")
    }
}

impl<T: DeserializeOwned> JsonLines<T> {
    pub(crate) fn new(body: Body) -> JsonLines<T> {
        let values = serde_json::Deserializer::from_reader(BufReader::new(body)).into_iter();
        JsonLines {
            values,
            of: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Iterator for JsonLines<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.values.next()? {
            Ok(value) => go::from_value(value).map_err(|error| Error::Answer(error.to_string())),
            Err(error) if error.is_io() => Err(Error::Io {
                what: "reading the daemon's answer",
                source: error.into(),
            }),
            Err(error) if error.is_eof() => Err(Error::Io {
                what: "reading the daemon's answer",
                source: io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF"),
            }),
            Err(error) => Err(Error::Answer(error.to_string())),
        })
    }
}

impl Write for Upgraded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.input.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(bytes: &[u8]) -> (String, io::Result<()>) {
        let mut text = String::new();
        let result = demultiplex(&mut &*bytes, |output, bytes| {
            text.push_str(&format!("{output:?}:{};", String::from_utf8_lossy(bytes)));
            Ok(())
        });
        (text, result)
    }

    #[test]
    fn frames_are_taken_apart() {
        let (text, result) = taken_apart(b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\x01e\x01\0\0\0\0\0\0\0");
        assert_eq!(text, "Stdout:hi;Stderr:e;");
        assert!(result.is_ok());
    }

    #[test]
    fn an_error_of_the_engine_ends_the_stream() {
        let (_, result) = taken_apart(b"\x03\0\0\0\0\0\0\x03bad");
        assert_eq!(
            result.unwrap_err().to_string(),
            "error from daemon in stream: bad"
        );
        assert!(taken_apart(b"\x09\0\0\0\0\0\0\x03bad").1.is_err());
    }
}
