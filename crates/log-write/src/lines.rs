//! Cutting a stream into lines.

use crate::Time;

/// The longest piece of a line, in bytes, its newline not counted.
pub const LINE_MAX: usize = 16 * 1024;

/// The unfinished line of one stream.
///
/// A line longer than [`LINE_MAX`] is passed on in pieces without a newline; the pieces carry the time of the first.
/// (Docker's rule, observed.)
#[derive(Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
    /// When the first piece of a line that was cut came.
    cut: Option<Time>,
}

impl Lines {
    /// Calls `emit` with each line that `data` completes: its bytes without the newline, whether it had one, its time.
    pub fn push(&mut self, mut data: &[u8], now: Time, mut emit: impl FnMut(&[u8], bool, Time)) {
        while !data.is_empty() {
            let room = LINE_MAX - self.pending.len();
            // A newline that comes right after a full piece ends an empty line.
            let newline = data.iter().take(room).position(|byte| *byte == b'\n');
            let Some(end) = newline else {
                if data.len() < room {
                    self.pending.extend_from_slice(data);
                    return;
                }
                let time = *self.cut.get_or_insert(now);
                let (piece, rest) = data.split_at(room);
                self.emit(piece, false, time, &mut emit);
                data = rest;
                continue;
            };
            let time = self.cut.take().unwrap_or(now);
            self.emit(&data[..end], true, time, &mut emit);
            data = &data[end + 1..];
        }
    }

    /// Passes on what has no newline: nothing more will come.
    pub fn finish(&mut self, now: Time, mut emit: impl FnMut(&[u8], bool, Time)) {
        let time = self.cut.take().unwrap_or(now);
        if !self.pending.is_empty() {
            self.emit(&[], false, time, &mut emit);
        }
    }

    fn emit(&mut self, last: &[u8], newline: bool, time: Time, emit: &mut impl FnMut(&[u8], bool, Time)) {
        if self.pending.is_empty() {
            emit(last, newline, time);
            return;
        }
        self.pending.extend_from_slice(last);
        emit(&self.pending, newline, time);
        // A long line was the exception: give its memory back.
        self.pending = Vec::new();
    }
}
