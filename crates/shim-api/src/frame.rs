//! The framing of ttrpc: a header of ten bytes, then a protobuf message.
//!
//! Source: the protocol description in containerd's ttrpc repository. Pure functions: the caller owns the bytes, so that
//! a poll loop and an async client share them.

use crate::ttrpc::{Request, Response, Status};
use prost::Message;

/// Bytes before each message: length (u32 BE), stream (u32 BE), kind (u8), flags (u8).
pub const HEADER_LEN: usize = 10;

/// The longest message that either side may send, in bytes.
pub const MAX_LEN: usize = 4 << 20;

/// `kind` of the frame that opens a stream, sent by the client.
pub const REQUEST: u8 = 1;
/// `kind` of the frame that ends a stream, sent by the server.
pub const RESPONSE: u8 = 2;
/// `kind` of a frame inside a streaming call.
pub const DATA: u8 = 3;

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the message that follows, in bytes.
    pub len: usize,
    /// Number of the call; odd when the client began it.
    pub stream: u32,
    /// [`REQUEST`], [`RESPONSE`] or [`DATA`].
    pub kind: u8,
    /// Meaning depends on `kind`; zero for unary calls.
    pub flags: u8,
}

/// A frame that cannot be read; the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header announces more than [`MAX_LEN`].
    #[error("ttrpc frame of {0} bytes is over the limit of {MAX_LEN}")]
    TooLong(usize),
}

impl Header {
    /// The ten bytes on the wire.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8] = self.kind;
        bytes[9] = self.flags;
        bytes
    }

    /// Reads the ten bytes, and refuses a length over [`MAX_LEN`].
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if len > MAX_LEN {
            return Err(FrameError::TooLong(len));
        }
        Ok(Self {
            len,
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind,
            flags,
        })
    }
}

/// A whole frame: its header, its message, and how many bytes of the buffer it took.
pub type Frame<'a> = (Header, &'a [u8], usize);

/// The first frame of `buffer`. `None` when it is not complete yet.
pub fn split(buffer: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(head) = buffer.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let header = Header::decode(head)?;
    let end = HEADER_LEN + header.len;
    Ok(buffer.get(HEADER_LEN..end).map(|body| (header, body, end)))
}

/// Appends one frame that holds `message`.
pub fn put(out: &mut Vec<u8>, kind: u8, stream: u32, message: &impl Message) {
    let len = message.encoded_len();
    out.reserve(HEADER_LEN + len);
    out.extend_from_slice(
        &Header {
            len,
            stream,
            kind,
            flags: 0,
        }
        .encode(),
    );
    // Writing to a Vec cannot fail: it grows.
    let _ = message.encode(out);
}

/// A unary request, ready to be sent. `timeout_nano` is zero for none.
pub fn request(
    stream: u32,
    service: &str,
    method: &str,
    timeout_nano: i64,
    message: &impl Message,
) -> Vec<u8> {
    let request = Request {
        service: service.to_owned(),
        method: method.to_owned(),
        payload: message.encode_to_vec(),
        timeout_nano,
        metadata: Vec::new(),
    };
    let mut out = Vec::new();
    put(&mut out, REQUEST, stream, &request);
    out
}

/// Appends the answer to a unary request: an encoded message, or a status.
pub fn put_response(out: &mut Vec<u8>, stream: u32, answer: Result<Vec<u8>, Status>) {
    let response = match answer {
        Ok(payload) => Response {
            status: None,
            payload,
        },
        Err(status) => Response {
            status: Some(status),
            payload: Vec::new(),
        },
    };
    put(out, RESPONSE, stream, &response);
}

/// gRPC status codes as they occur in [`Status::code`].
pub mod code {
    /// No error.
    pub const OK: i32 = 0;
    /// The caller gave up.
    pub const CANCELLED: i32 = 1;
    /// An error without a better name: what the runtime says.
    pub const UNKNOWN: i32 = 2;
    /// Bad input.
    pub const INVALID_ARGUMENT: i32 = 3;
    /// Not in time.
    pub const DEADLINE_EXCEEDED: i32 = 4;
    /// No such container or process.
    pub const NOT_FOUND: i32 = 5;
    /// The name is taken.
    pub const ALREADY_EXISTS: i32 = 6;
    /// Not in this state.
    pub const FAILED_PRECONDITION: i32 = 9;
    /// No such method.
    pub const UNIMPLEMENTED: i32 = 12;
    /// A bug.
    pub const INTERNAL: i32 = 13;
    /// Not now.
    pub const UNAVAILABLE: i32 = 14;
}

/// A status of `code` with the words for the user.
pub fn status(code: i32, message: impl Into<String>) -> Status {
    Status {
        code,
        message: message.into(),
        details: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{StateRequest, StateResponse};

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let wire = request(
            7,
            "containerd.task.v3.Task",
            "State",
            5,
            &StateRequest {
                id: "a".into(),
                exec_id: String::new(),
            },
        );
        for cut in 0..wire.len() {
            assert_eq!(split(&wire[..cut]).unwrap(), None, "cut at {cut}");
        }
        let (header, body, used) = split(&wire).unwrap().unwrap();
        assert_eq!(
            (header.stream, header.kind, header.flags, used),
            (7, REQUEST, 0, wire.len())
        );
        let request = Request::decode(body).unwrap();
        assert_eq!((request.method.as_str(), request.timeout_nano), ("State", 5));
        assert_eq!(StateRequest::decode(request.payload.as_slice()).unwrap().id, "a");
    }

    #[test]
    fn two_answers_in_one_buffer_come_apart() {
        let mut wire = Vec::new();
        put_response(
            &mut wire,
            1,
            Ok(StateResponse {
                pid: 9,
                ..Default::default()
            }
            .encode_to_vec()),
        );
        put_response(&mut wire, 3, Err(status(code::NOT_FOUND, "gone")));
        let (_, body, used) = split(&wire).unwrap().unwrap();
        assert!(Response::decode(body).unwrap().status.is_none());
        let (header, body, _) = split(&wire[used..]).unwrap().unwrap();
        assert_eq!(header.stream, 3);
        assert_eq!(
            Response::decode(body).unwrap().status.unwrap().code,
            code::NOT_FOUND
        );
    }

    #[test]
    fn an_endless_frame_is_refused_before_it_is_read() {
        let head = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, REQUEST, 0];
        assert_eq!(split(&head), Err(FrameError::TooLong(0xffff_ffff)));
    }
}
