//! Where the last lines of a log begin.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much is read at once, going backward.
const BLOCK: usize = 64 << 10;

/// The offset in each of `files` (the oldest first) from which on there are `count` whole lines in all.
pub(crate) fn starts(files: &[File], count: u64) -> io::Result<Vec<u64>> {
    let mut starts = vec![0; files.len()];
    let mut missing = count;
    for (file, start) in files.iter().zip(&mut starts).rev() {
        let (offset, found) = last_lines(file, missing)?;
        *start = offset;
        missing -= found;
    }
    Ok(starts)
}

/// Where the last `count` whole lines of a file begin, and how many there are. A half line at the end is no line.
fn last_lines(file: &File, count: u64) -> io::Result<(u64, u64)> {
    let mut end = file.metadata()?.len();
    if count == 0 {
        return Ok((end, 0));
    }
    let mut block = vec![0; BLOCK];
    // The first end of a line closes the last line; the one before it is where that begins.
    let mut ends = 0;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let wanted = usize::try_from(end - begin).unwrap_or(BLOCK);
        file.read_exact_at(&mut block[..wanted], begin)?;
        for (at, _) in block[..wanted]
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            ends += 1;
            if ends > count {
                return Ok((begin + at as u64 + 1, count));
            }
        }
        end = begin;
    }
    Ok((0, ends))
}
