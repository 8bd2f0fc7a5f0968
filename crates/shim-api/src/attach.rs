//! Frames of the attach socket: Docker's stream header, `[type, 0, 0, 0, length u32 BE]`, and the payload.
//!
//! Source: docs/design/0001-seams.md, "Output".

/// Bytes before each payload.
pub const HEADER_LEN: usize = 8;

/// Bytes for the process's standard input, from the client.
pub const STDIN: u8 = 0;
/// What the process wrote to its standard output (or its terminal).
pub const STDOUT: u8 = 1;
/// What the process wrote to its standard error.
pub const STDERR: u8 = 2;
/// All output was sent and the process is gone; empty. The last frame.
pub const END: u8 = 3;
/// No more input, from the client; empty.
pub const CLOSE_STDIN: u8 = 4;
/// What is written from now on will be sent; empty. The first frame.
pub const READY: u8 = 5;

/// The header of a frame of `len` bytes.
pub fn header(kind: u8, len: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// Kind and length of the frame that `header` begins.
pub fn parse(header: &[u8; HEADER_LEN]) -> (u8, u32) {
    let [kind, _, _, _, a, b, c, d] = *header;
    (kind, u32::from_be_bytes([a, b, c, d]))
}
