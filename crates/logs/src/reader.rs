//! Reading a log and its rotated files in order.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use jiff::Timestamp;

use crate::follow::Watch;
use crate::{Entry, Error, tail};

/// How much is read at once.
const CHUNK: usize = 128 << 10;

/// A line longer than this is not of the format (its writer splits at 16 KiB): it is skipped.
const MAX_LINE: usize = 1 << 20;

/// How many rotated files are looked for.
const MAX_FILES: usize = 10_000;

/// Which entries are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only the last so many of those written so far; without it all.
    pub tail: Option<u64>,
    /// None from before.
    pub since: Option<Timestamp>,
    /// None from after.
    pub until: Option<Timestamp>,
}

/// What resolves when nobody will write any more.
type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The entries of the log at `path` that `query` wants, the oldest first.
///
/// With `follow` the stream goes on with what is written later, until the future resolves and all was read; without it,
/// it ends with what is there now. A log that was never written is empty. `tail` counts before `since` and `until` do.
pub fn entries(
    path: PathBuf,
    query: Query,
    follow: Option<Ended>,
) -> impl Stream<Item = Result<Entry, Error>> + Send {
    let start = Start { path, query, follow };
    stream::try_unfold(State::Start(start), |state| async move {
        let mut reader = match state {
            State::Start(start) => Box::new(Reader::open(start).await?),
            State::Open(reader) => reader,
        };
        let entry = reader.next().await?;
        Ok(entry.map(|entry| (entry, State::Open(reader))))
    })
}

enum State {
    Start(Start),
    Open(Box<Reader>),
}

struct Start {
    path: PathBuf,
    query: Query,
    follow: Option<Ended>,
}

/// A file and how far it was read.
struct Position {
    file: Arc<File>,
    inode: (u64, u64),
    offset: u64,
}

struct Reader {
    path: PathBuf,
    query: Query,
    /// Files still to be read, the oldest first.
    waiting: VecDeque<Position>,
    current: Option<Position>,
    /// What was read of a line whose end has not come.
    half: Vec<u8>,
    parsed: VecDeque<Entry>,
    watch: Option<Watch>,
    /// `None` when not following, or when the writer is gone.
    ended: Option<Ended>,
    /// The current file was rotated away: one more read gets what came before that.
    rotated: bool,
    over: bool,
}

impl Reader {
    async fn open(start: Start) -> Result<Self, Error> {
        let Start { path, query, follow } = start;
        let watch = match follow {
            // Before the files are opened, so that nothing falls between.
            Some(_) => Watch::beside(&path).map_err(|source| Error::Watch {
                path: path.clone(),
                source,
            })?,
            None => None,
        };
        let named = path.clone();
        let waiting = blocking(&path, move || open_all(&named, query)).await?;
        Ok(Self {
            path,
            query,
            waiting,
            current: None,
            half: Vec::new(),
            parsed: VecDeque::new(),
            ended: follow,
            watch,
            rotated: false,
            over: false,
        })
    }

    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            if let Some(entry) = self.parsed.pop_front() {
                return Ok(Some(entry));
            }
            if self.over {
                return Ok(None);
            }
            if self.read_on().await? {
                continue;
            }
            if let Some(next) = self.waiting.pop_front() {
                self.turn_to(Some(next));
                continue;
            }
            if self.watch.is_none() {
                self.over = true;
                continue;
            }
            if self.follow_rotation().await? {
                continue;
            }
            self.wait().await?;
        }
    }

    /// Reads a piece of the current file. Whether there was one.
    async fn read_on(&mut self) -> Result<bool, Error> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let (file, offset) = (current.file.clone(), current.offset);
        let read = blocking(&self.path, move || read_at(&file, offset)).await?;
        let chunk = match read {
            Read::Chunk(chunk) => chunk,
            Read::End => return Ok(false),
            Read::Truncated => {
                current.offset = 0;
                self.half.clear();
                return Ok(true);
            }
        };
        current.offset += chunk.len() as u64;
        self.parse(&chunk);
        Ok(true)
    }

    fn parse(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            let entry = match self.half.is_empty() {
                true => Entry::parse(line),
                false => {
                    self.half.extend_from_slice(line);
                    let whole = std::mem::take(&mut self.half);
                    Entry::parse(&whole)
                }
            };
            rest = behind;
            let Some(entry) = entry else { continue };
            if self.query.until.is_some_and(|until| entry.time > until) {
                self.over = true;
                return;
            }
            if self.query.since.is_none_or(|since| entry.time >= since) {
                self.parsed.push_back(entry);
            }
        }
        if self.half.len() + rest.len() <= MAX_LINE {
            self.half.extend_from_slice(rest);
        } else {
            self.half.clear();
        }
    }

    fn turn_to(&mut self, next: Option<Position>) {
        // What a file ends with is no line if it has no end.
        self.half.clear();
        self.rotated = false;
        self.current = next;
    }

    /// Turns to the file that comes after the current one, if there is one now. Whether there is something to read.
    async fn follow_rotation(&mut self) -> Result<bool, Error> {
        let path = self.path.clone();
        let inode = self.current.as_ref().map(|current| current.inode);
        let next = blocking(&self.path, move || successor(&path, inode)).await?;
        match next {
            None => Ok(false),
            Some(_) if inode.is_some() && !self.rotated => {
                self.rotated = true;
                Ok(true)
            }
            Some(next) => {
                self.turn_to(Some(next));
                Ok(true)
            }
        }
    }

    /// Waits for a change, or for the writer's end: then all is read once more, and that is the end.
    async fn wait(&mut self) -> Result<(), Error> {
        let (Some(watch), Some(ended)) = (&self.watch, &mut self.ended) else {
            self.over = true;
            return Ok(());
        };
        tokio::select! {
            () = ended => self.ended = None,
            changed = watch.changed() => {
                changed.map_err(|source| Error::Watch { path: self.path.clone(), source })?;
            }
        }
        Ok(())
    }
}

/// Runs `work` where it may wait for a disk.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

enum Read {
    Chunk(Vec<u8>),
    End,
    Truncated,
}

fn read_at(file: &File, offset: u64) -> io::Result<Read> {
    let mut chunk = vec![0; CHUNK];
    let count = file.read_at(&mut chunk, offset)?;
    if count == 0 {
        let truncated = file.metadata()?.len() < offset;
        return Ok(if truncated { Read::Truncated } else { Read::End });
    }
    chunk.truncate(count);
    Ok(Read::Chunk(chunk))
}

/// The name of the file that was rotated away `number` times.
fn rotated(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn open(path: &Path) -> io::Result<Option<Position>> {
    match File::open(path) {
        Ok(file) => {
            let data = file.metadata()?;
            Ok(Some(Position {
                file: Arc::new(file),
                inode: (data.dev(), data.ino()),
                offset: 0,
            }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All files of a log, the oldest first, each where the query begins.
fn open_all(path: &Path, query: Query) -> io::Result<VecDeque<Position>> {
    let mut files: Vec<Position> = Vec::new();
    for number in 0..MAX_FILES {
        match open(&rotated(path, number))? {
            // A rotation came between: what was opened as one is the next by now.
            Some(file) if files.iter().any(|other| other.inode == file.inode) => {}
            Some(file) => files.push(file),
            // The newest may not be there: a rotation is under way, or nothing was written.
            None if number == 0 => {}
            None => break,
        }
    }
    files.reverse();
    match query.tail {
        Some(count) => {
            let handles = files
                .iter()
                .map(|file| file.file.try_clone())
                .collect::<io::Result<Vec<_>>>()?;
            for (file, start) in files.iter_mut().zip(tail::starts(&handles, count)?) {
                file.offset = start;
            }
        }
        None => skip_older(&mut files, query.since)?,
    }
    Ok(files.into())
}

/// Passes over files that were written last before `since`.
fn skip_older(files: &mut Vec<Position>, since: Option<Timestamp>) -> io::Result<()> {
    let Some(since) = since else { return Ok(()) };
    let mut keep = Vec::new();
    for file in files.drain(..) {
        let written = file.file.metadata()?.modified()?;
        // A second's grace: file times are coarser than lines' times.
        let newer = Timestamp::try_from(written).map_or(true, |written| {
            written.as_second().saturating_add(1) >= since.as_second()
        });
        if newer {
            keep.push(file);
        }
    }
    *files = keep;
    Ok(())
}

/// The file that comes after the one with `inode`; `None` while that is the newest.
fn successor(path: &Path, inode: Option<(u64, u64)>) -> io::Result<Option<Position>> {
    let mut newer: Option<Position> = None;
    for number in 0..MAX_FILES {
        match open(&rotated(path, number))? {
            Some(file) if Some(file.inode) == inode => return Ok(newer),
            Some(file) => newer = Some(file),
            None if number == 0 => {}
            // Not found: it was dropped as the oldest, and all that are left are newer.
            None => break,
        }
    }
    Ok(newer)
}
