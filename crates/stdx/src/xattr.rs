//! Extended attributes, for callers of `listxattr(2)` and `getxattr(2)`.

use std::ffi::CStr;

use rustix::io::{Errno, Result};

/// More than a list or a value can have: the kernel's limits are 64 KiB (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MOST: usize = 1 << 17;

/// The answer of a call that says by `ERANGE` that the buffer is too small.
pub fn read(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < MOST => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// As [`read`], of a list of names; an empty one where the file system has no attributes.
pub fn list(call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    match read(call) {
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        other => other,
    }
}

/// The names in a list.
pub fn names(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
}
