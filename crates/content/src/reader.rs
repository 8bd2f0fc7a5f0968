//! Reading a blob's file.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::io;
use crate::local::blocking;
use crate::{ReadAt, Result};

#[derive(Debug)]
pub(crate) struct LocalReader {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
}

impl LocalReader {
    pub(crate) fn new(file: File, path: PathBuf, size: u64) -> LocalReader {
        LocalReader {
            file: Arc::new(file),
            path,
            size,
        }
    }
}

#[async_trait]
impl ReadAt for LocalReader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        let (file, path) = (self.file.clone(), self.path.clone());
        blocking(move || {
            let mut buffer = vec![0; length];
            let filled = fill(&file, &mut buffer, offset).map_err(io("read", &path))?;
            buffer.truncate(filled);
            Ok(buffer.into())
        })
        .await
    }

    fn into_read(self: Box<Self>) -> Box<dyn std::io::Read + Send> {
        // Reads at offsets have not moved the position: it is the start.
        Box::new(self.file)
    }
}

fn fill(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
