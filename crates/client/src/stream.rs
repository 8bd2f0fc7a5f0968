//! Docker's stream of several streams: frames of `[stream, 0, 0, 0, length u32 BE]` and the payload.

use std::io::{self, Read, Write};

/// Copies `from` to `out` and `err` until it ends; frames of unknown streams are an error.
pub fn demultiplex(from: &mut impl Read, out: &mut impl Write, err: &mut impl Write) -> io::Result<()> {
    let mut header = [0; 8];
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut header[..1])? {
            0 => return Ok(()),
            _ => from.read_exact(&mut header[1..])?,
        }
        let [kind, _, _, _, length @ ..] = header;
        let mut left = u32::from_be_bytes(length) as usize;
        if kind == 3 {
            let mut message = vec![0; left];
            from.read_exact(&mut message)?;
            let text = String::from_utf8_lossy(&message).into_owned();
            return Err(io::Error::other(format!("error from daemon in stream: {text}")));
        }
        while left > 0 {
            let most = left.min(buffer.len());
            let count = from.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match kind {
                0 | 1 => out.write_all(&buffer[..count])?,
                2 => err.write_all(&buffer[..count])?,
                _ => return Err(io::Error::other(format!("unrecognized stream: {kind}"))),
            }
            left -= count;
        }
        out.flush()?;
        err.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_where_they_belong() {
        let mut bytes = Vec::new();
        for (kind, text) in [(1_u8, "out"), (2, "err"), (1, ""), (1, "put")] {
            bytes.extend_from_slice(&[kind, 0, 0, 0]);
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        demultiplex(&mut bytes.as_slice(), &mut out, &mut err).unwrap();
        assert_eq!((out.as_slice(), err.as_slice()), (&b"output"[..], &b"err"[..]));
        assert!(demultiplex(&mut &bytes[..9], &mut io::sink(), &mut io::sink()).is_err());
    }
}
