//! Maps of sparse files: what is data and what is a hole.

use crate::entry::Segment;

/// Segments that a map may have: a file of that many pieces is an attack.
pub(crate) const MOST_SEGMENTS: usize = 1 << 20;

/// Checks that `segments` are in order, inside `size`, and hold `stored` bytes together.
pub(crate) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for segment in segments {
        if segment.offset < end {
            return Err("sparse map out of order");
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .ok_or("sparse map out of range")?;
        sum += segment.length;
    }
    match end <= size && sum == stored {
        true => Ok(()),
        false => Err("sparse map does not fit its file"),
    }
}

/// The pieces in a block of the old GNU format: pairs of 12-byte numbers, until one is empty.
pub(crate) fn old_gnu(block: &[u8], segments: &mut Vec<Segment>) -> Result<(), &'static str> {
    for pair in block.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let number = |field: &[u8]| crate::reader::number(field).and_then(|n| u64::try_from(n).ok());
        let offset = number(&pair[..12]).ok_or("bad sparse map")?;
        let length = number(&pair[12..]).ok_or("bad sparse map")?;
        segments.push(Segment { offset, length });
        if segments.len() > MOST_SEGMENTS {
            return Err("sparse map too long");
        }
    }
    Ok(())
}
