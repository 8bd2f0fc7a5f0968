//! Docker's json-file: a JSON object a line, rotated by size.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{Lines, Stream, Time, escape};

/// When to rotate and what to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file that has reached so many bytes gets no more lines. `None`: never rotate.
    pub max_size: Option<u64>,
    /// Files kept, the current one included. With one, the file is emptied.
    pub max_file: u32,
}

/// An operation on the log that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or made.
    #[error("open log {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Lines could not be appended; they are lost, the file ends with a whole line.
    #[error("write log {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The full file could not be moved away; it grows on.
    #[error("rotate log {path}")]
    Rotate {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An open log. The file is appended to when it exists.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    size: u64,
    limits: Limits,
    streams: [Lines; 2],
    batch: Vec<u8>,
}

impl JsonFile {
    /// Opens `path`, mode 0640. An unfinished line that a killed writer or a full disk left is ended, so that what
    /// follows can be read.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, Error> {
        let opened = (|| {
            let file = open(path, false)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        })();
        let (file, size) = opened.map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        let streams = [Lines::default(), Lines::default()];
        let mut log = Self {
            path: path.to_owned(),
            file,
            size,
            limits,
            streams,
            batch: Vec::new(),
        };
        if log.ends_inside_a_line() {
            log.batch.push(b'\n');
            log.flush()?;
        }
        Ok(log)
    }

    /// Appends the lines that `data` completes; keeps the rest until they are complete.
    pub fn write(&mut self, stream: Stream, data: &[u8], now: Time) -> Result<(), Error> {
        self.lines(stream, |lines, emit| lines.push(data, now, emit))
    }

    /// Appends what has no newline yet: the stream has ended.
    pub fn finish(&mut self, stream: Stream, now: Time) -> Result<(), Error> {
        self.lines(stream, |lines, emit| lines.finish(now, emit))
    }

    fn lines(
        &mut self,
        stream: Stream,
        feed: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8], bool, Time)),
    ) -> Result<(), Error> {
        let mut lines = std::mem::take(&mut self.streams[stream as usize]);
        let mut result = Ok(());
        feed(&mut lines, &mut |text, newline, time| {
            // The first error is told; the lines after it are tried.
            let put = self.put(stream, text, newline, time);
            if result.is_ok() {
                result = put;
            }
        });
        self.streams[stream as usize] = lines;
        result.and(self.flush())
    }

    fn put(&mut self, stream: Stream, text: &[u8], newline: bool, time: Time) -> Result<(), Error> {
        let full = |size: u64, limits: Limits| limits.max_size.is_some_and(|max| size >= max);
        let mut result = Ok(());
        if full(self.size + self.batch.len() as u64, self.limits) {
            result = self.flush().and_then(|()| self.rotate());
        }
        let batch = &mut self.batch;
        batch.push(b'{');
        // Docker leaves an empty "log" out.
        if !text.is_empty() || newline {
            batch.extend_from_slice(b"\"log\":\"");
            escape::put(batch, text);
            if newline {
                batch.extend_from_slice(b"\\n");
            }
            batch.extend_from_slice(b"\",");
        }
        batch.extend_from_slice(match stream {
            Stream::Stdout => b"\"stream\":\"stdout\",\"time\":\"",
            Stream::Stderr => b"\"stream\":\"stderr\",\"time\":\"",
        });
        time.put(batch);
        batch.extend_from_slice(b"\"}\n");
        result
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.batch);
        let length = self.batch.len() as u64;
        self.batch.clear();
        self.batch.shrink_to(4096);
        if let Err(source) = written {
            // A torn line would spoil the next one. When this fails too, `open` mends it.
            let _ = self.file.set_len(self.size);
            return Err(Error::Write {
                path: self.path.clone(),
                source,
            });
        }
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), Error> {
        let rotated = (|| {
            for number in (1..self.limits.max_file).rev() {
                let from = if number == 1 {
                    self.path.clone()
                } else {
                    numbered(&self.path, number - 1)
                };
                match fs::rename(from, numbered(&self.path, number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            open(&self.path, true)
        })();
        self.file = rotated.map_err(|source| Error::Rotate {
            path: self.path.clone(),
            source,
        })?;
        self.size = 0;
        Ok(())
    }

    fn ends_inside_a_line(&self) -> bool {
        use std::os::unix::fs::FileExt;
        let mut last = [b'\n'];
        if self.size > 0 {
            // Opened for appending only: read through a descriptor of its own, and take a failure for a clean end.
            let _ = File::open(&self.path).and_then(|file| file.read_exact_at(&mut last, self.size - 1));
        }
        last != [b'\n']
    }
}

fn open(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // What is no file after all (a fifo that nobody reads) must not hold up the shim.
    const NONBLOCK: i32 = 0o4000;
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(NONBLOCK);
    let file = options.open(path)?;
    if empty {
        file.set_len(0)?;
    }
    Ok(file)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
