//! Headers of the archives that we write: plain files and directories that are nobody's and of no time.
//!
//! Source: POSIX.1-2017 `pax`, "ustar Interchange Format"; sizes of 8 GiB and more as GNU tar writes them.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// What ends an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file of so many bytes.
    File(u64),
    /// A directory; its name ends in a slash.
    Directory,
}

/// The header of an entry. Names are ours, of less than a hundred bytes.
pub(crate) fn header(name: &str, mode: u32, entry: Entry) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let name = &name.as_bytes()[..name.len().min(100)];
    let (size, kind) = match entry {
        Entry::File(size) => (size, b'0'),
        Entry::Directory => (0, b'5'),
    };
    put(0, name);
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // Base 256, the first bit says so.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Bytes behind a file of so many, up to the next block.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use lighter_archive::{Kind, Reader};

    #[test]
    fn headers_are_read_as_they_are_meant() {
        let check = |name: &str, mode, entry, expected: Kind| {
            let block = header(name, mode, entry);
            let read = Reader::new(block.as_slice()).next_entry().unwrap().unwrap();
            assert_eq!(
                (read.path.to_str(), read.metadata.mode, read.kind),
                (Some(name), mode, expected)
            );
        };
        let file = |size| Kind::File { size, segments: None };
        check("index.json", 0o644, Entry::File(12), file(12));
        check("blobs/", 0o755, Entry::Directory, Kind::Directory);
        for size in [(1 << 33) - 1, 1 << 33, 1 << 40] {
            check("a", 0o444, Entry::File(size), file(size));
        }
        assert_eq!(
            (padding(0), padding(1), padding(512), padding(513)),
            (0, 511, 0, 511)
        );
    }
}
