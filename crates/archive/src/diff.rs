//! Making a layer: what one tree has that another has not.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;

use crate::entry::{Entry, Kind, Metadata, Segment, Time};
use crate::tree::{INDIRECT, Node, Stack, Tree, read_full, same, same_but_times};
use crate::write::Writer;
use crate::{Error, Result};

/// How to make a layer.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// No time is later than this, and whiteouts have it; without it they have 1970. Source: reproducible-builds.org, `SOURCE_DATE_EPOCH`.
    pub latest: Option<Time>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diffed {
    /// Entries of the archive.
    pub entries: u64,
    /// What no layer can hold, and is left out: sockets, names that mean whiteouts, paths that are too long.
    pub left_out: Vec<PathBuf>,
}

/// Bytes of holes from which on a file is written as a sparse one.
const SPARSE: u64 = 64 << 10;
/// Pieces of a sparse file, at most: one of more is written whole.
const MOST_SEGMENTS: usize = 4096;
/// Bytes of a path that a layer can hold: the longest that the kernel resolves.
const MOST_PATH: usize = 4095;
const CHUNK: usize = 256 << 10;

/// Writes the layer that, applied to `lower`, gives `upper`: an uncompressed tar archive, in the order of the names, the same for the same
/// trees. Where both are overlays and the upper one stands on the lower one, only what it adds is looked at.
///
/// A changed file is written whole, with all names that it has; a directory that is on the way to a change is written too. Trees that
/// change meanwhile give some state that each file had. [`Error::Indirect`]: the layers of an overlay have to be mounted to be read.
///
/// Source: OCI image-spec, layer.md. Runs on the calling thread, up to 2,000 calls deep.
pub fn diff(lower: &Tree<'_>, upper: &Tree<'_>, options: &DiffOptions, sink: impl Write) -> Result<Diffed> {
    let opened = |tree| Stack::open(tree).map_err(|(path, errno)| io("open", &path)(errno));
    let (mut lower_stack, upper_stack) = (opened(lower)?, opened(upper)?.unwrap_or_default());
    // Layers that are the same are the same descriptors.
    let mut own = None;
    if let (Tree::Overlay { layers: below, .. }, Tree::Overlay { layers: all, .. }) = (lower, upper)
        && let Some(mine) = all.strip_suffix(*below)
        && let Some(lower) = &mut lower_stack
    {
        own = Some(mine.len());
        lower.dirs = upper_stack.dirs[mine.len()..].to_vec();
    }
    let mut differ = Differ {
        writer: Writer::new(sink),
        latest: options.latest,
        above: Vec::new(),
        links: HashMap::new(),
        firsts: HashMap::new(),
        lower_firsts: HashMap::new(),
        diffed: Diffed::default(),
        buffer: Vec::new(),
    };
    differ.root(&upper_stack, own, lower_stack.as_ref())?;
    differ.writer.finish().map_err(Error::Write)?;
    Ok(differ.diffed)
}

struct Differ<W> {
    writer: Writer<W>,
    latest: Option<Time>,
    /// The directories on the way here, with what is to be written of those that were not yet.
    above: Vec<Option<(OsString, Metadata)>>,
    /// Files of several names in the upper tree.
    links: HashMap<(u64, u64), Names>,
    /// The first name of each file of several in the upper tree, and in the lower one: which names are one file is told by it.
    firsts: HashMap<(u64, u64), PathBuf>,
    lower_firsts: HashMap<(u64, u64), PathBuf>,
    diffed: Diffed,
    buffer: Vec<u8>,
}

/// The names of one file.
#[derive(Default)]
struct Names {
    /// The one under which it is in the archive.
    written: Option<PathBuf>,
    /// Those that did not change: they come in when another name does, behind the directories that lead to them and were not written: to
    /// make a link changes the time of its directory.
    unchanged: Vec<(PathBuf, Vec<(OsString, Metadata)>)>,
}

impl<W: Write> Differ<W> {
    fn root(&mut self, upper: &Stack, own: Option<usize>, lower: Option<&Stack>) -> Result<()> {
        if upper.dirs.is_empty() {
            // An empty tree: all of the other is gone.
            self.above.push(None);
            return self.directory(Path::new(""), upper, own, lower);
        }
        let root = Path::new("");
        let node = upper.node().map_err(io("look at", root))?;
        let before = lower.map(Stack::node).transpose().map_err(io("look at", root))?;
        // The time of the root alone is no change: a snapshot that was just made has another one than its parent.
        let unchanged = match &before {
            Some(before) => same_but_times(&node, before).map_err(io("compare", root))?,
            None => false,
        };
        self.above
            .push(Some(("./".into(), node.metadata().map_err(io("look at", root))?)));
        if !unchanged {
            self.write_above()?;
        }
        self.directory(root, upper, own, lower)
    }

    /// Compares what is in a directory. `own`: only so many of the upper layers are not the lower ones too.
    fn directory(
        &mut self,
        path: &Path,
        upper: &Stack,
        own: Option<usize>,
        lower: Option<&Stack>,
    ) -> Result<()> {
        let mut names = BTreeSet::new();
        upper
            .names(own.unwrap_or(upper.dirs.len()), &mut names)
            .map_err(io("read", path))?;
        if let (None, Some(lower)) = (own, lower) {
            lower
                .names(lower.dirs.len(), &mut names)
                .map_err(io("read", path))?;
        }
        for name in names {
            let path = path.join(&name);
            if path.as_os_str().len() > MOST_PATH || name.as_bytes().starts_with(b".wh.") {
                self.diffed.left_out.push(path);
                continue;
            }
            let mut node = upper.lookup(&name).map_err(io("look at", &path))?;
            if node.as_ref().is_some_and(|node| node.kind() == FileType::Socket) {
                self.diffed.left_out.push(path.clone());
                node = None;
            }
            let before = match lower {
                Some(lower) => lower.lookup(&name).map_err(io("look at", &path))?,
                None => None,
            };
            let before = before.filter(|before| before.kind() != FileType::Socket);
            let compared = match (node, before) {
                (Some(node), before) if node.is_directory() => {
                    self.sub_directory(&path, &name, &node, (upper, own), before.as_ref().zip(lower))
                }
                (Some(node), before) => self.other(&path, &node, before.as_ref(), own.is_some()),
                (None, Some(_)) => self.whiteout(&path),
                (None, None) => Ok(()),
            };
            match compared {
                // It went, or became something else, while it was looked at.
                Err(Error::Io { source, .. }) if is_gone(&source) => {}
                compared => compared?,
            }
        }
        Ok(())
    }

    fn sub_directory(
        &mut self,
        path: &Path,
        name: &OsStr,
        node: &Node,
        (upper, own): (&Stack, Option<usize>),
        before: Option<(&Node, &Stack)>,
    ) -> Result<()> {
        let failed = || io("open", path);
        let before = before.filter(|(before, _)| before.is_directory());
        let lower = match before {
            Some((_, lower)) => Some(lower.enter(name, lower.dirs.len()).map_err(failed())?.0),
            None => None,
        };
        let count = own.unwrap_or(upper.dirs.len());
        let (mut inner, hides) = upper.enter(name, count).map_err(failed())?;
        let inner_own = match (&lower, own) {
            (Some(lower), Some(_)) if !hides => {
                let count = inner.dirs.len();
                inner.dirs.extend(lower.dirs.iter().cloned());
                Some(count)
            }
            _ => None,
        };
        let changed = match before {
            Some((before, _)) => !same(node, before).map_err(io("compare", path))?,
            None => true,
        };
        let mut entry = path.as_os_str().to_owned();
        entry.push("/");
        self.above
            .push(Some((entry, node.metadata().map_err(io("look at", path))?)));
        let walked = if changed { self.write_above() } else { Ok(()) }
            .and_then(|()| self.directory(path, &inner, inner_own, lower.as_ref()));
        self.above.pop();
        walked
    }

    /// What is no directory. `own`: it is in a layer that the lower tree has not.
    fn other(&mut self, path: &Path, node: &Node, before: Option<&Node>, own: bool) -> Result<()> {
        let first = |firsts: &mut HashMap<_, PathBuf>, node: &Node| match node.shared_inode() {
            Some(inode) => firsts.entry(inode).or_insert_with(|| path.to_owned()).clone(),
            None => path.to_owned(),
        };
        let here = first(&mut self.firsts, node);
        let unchanged = match before {
            Some(before) => {
                let linked = first(&mut self.lower_firsts, before) == here;
                // A copy of a file of several names, which the other names do not have: a link is broken.
                let parted = own && before.shared_inode().is_some();
                linked && !parted && same(node, before).map_err(io("compare", path))?
            }
            None => false,
        };
        let Some(inode) = node.shared_inode() else {
            return if unchanged { Ok(()) } else { self.whole(path, node) };
        };
        let names = self.links.entry(inode).or_default();
        match names.written.clone() {
            Some(target) => self.link(path, node, &target),
            None if unchanged => {
                let above = self.above.iter().flatten().cloned().collect();
                names.unchanged.push((path.to_owned(), above));
                Ok(())
            }
            None => {
                names.written = Some(path.to_owned());
                let others = std::mem::take(&mut names.unchanged);
                self.whole(path, node)?;
                let mut late = BTreeSet::new();
                for (other, above) in others {
                    for (directory, metadata) in above {
                        // Those on the way to the name that changed were written with it.
                        let written = directory == "./" || path.starts_with(&directory);
                        if !written && late.insert(directory.clone()) {
                            self.write(directory, Kind::Directory, metadata)?;
                        }
                    }
                    self.link(&other, node, path)?;
                }
                Ok(())
            }
        }
    }

    /// Writes `path` as another name of `target`.
    fn link(&mut self, path: &Path, node: &Node, target: &Path) -> Result<()> {
        let mut metadata = node.metadata().map_err(io("look at", path))?;
        metadata.xattrs.clear();
        self.begin(
            path.as_os_str(),
            Kind::Hardlink(target.as_os_str().to_owned()),
            metadata,
        )
    }

    fn whole(&mut self, path: &Path, node: &Node) -> Result<()> {
        let metadata = node.metadata().map_err(io("look at", path))?;
        let device = (
            rustix::fs::major(node.stat.st_rdev),
            rustix::fs::minor(node.stat.st_rdev),
        );
        let kind = match node.kind() {
            FileType::Symlink => Kind::Symlink(node.link_target().map_err(io("read link", path))?),
            FileType::CharacterDevice => Kind::Character(device.0, device.1),
            FileType::BlockDevice => Kind::Block(device.0, device.1),
            FileType::Fifo => Kind::Fifo,
            _ => return self.file(path, node, metadata),
        };
        self.begin(path.as_os_str(), kind, metadata)
    }

    fn file(&mut self, path: &Path, node: &Node, metadata: Metadata) -> Result<()> {
        let (file, stat) = node.open().map_err(io("open", path))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let stored = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        let segments = if stored.saturating_add(SPARSE) <= size {
            segments(&file, size).map_err(io("find the holes of", path))?
        } else {
            None
        };
        let whole = [Segment {
            offset: 0,
            length: size,
        }];
        let pieces = segments.clone();
        self.begin(path.as_os_str(), Kind::File { size, segments }, metadata)?;
        for piece in pieces.as_deref().unwrap_or(&whole) {
            self.piece(path, &file, *piece)?;
        }
        Ok(())
    }

    /// Writes a piece of a file. One that became shorter meanwhile is filled with zeros, as GNU tar does: its length was told already.
    fn piece(&mut self, path: &Path, file: &File, piece: Segment) -> Result<()> {
        self.buffer.resize(CHUNK, 0);
        let (mut offset, mut left) = (piece.offset, piece.length);
        while left > 0 {
            let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let buffer = &mut self.buffer[..length];
            let read = read_full(file, buffer, offset).map_err(io("read", path))?;
            buffer[read..].fill(0);
            self.writer.data(buffer).map_err(Error::Write)?;
            offset += length as u64;
            left -= length as u64;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<()> {
        let mut name = OsString::from(".wh.");
        name.push(path.file_name().unwrap_or_default());
        let metadata = Metadata {
            modified: self.latest.unwrap_or_default(),
            ..Metadata::default()
        };
        let kind = Kind::File {
            size: 0,
            segments: None,
        };
        self.begin(path.with_file_name(name).as_os_str(), kind, metadata)
    }

    /// Begins an entry, behind the directories that lead to it.
    fn begin(&mut self, path: &OsStr, kind: Kind, metadata: Metadata) -> Result<()> {
        self.write_above()?;
        self.write(path.to_owned(), kind, metadata)
    }

    fn write_above(&mut self) -> Result<()> {
        for at in 0..self.above.len() {
            if let Some((path, metadata)) = self.above[at].take() {
                self.write(path, Kind::Directory, metadata)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, path: OsString, kind: Kind, mut metadata: Metadata) -> Result<()> {
        if let Some(latest) = self.latest {
            let key = |time: Time| (time.seconds, time.nanoseconds);
            if key(metadata.modified) > key(latest) {
                metadata.modified = latest;
            }
        }
        self.diffed.entries += 1;
        let entry = Entry {
            path,
            kind,
            metadata,
            offset: 0,
        };
        self.writer.begin(&entry).map_err(Error::Write)
    }
}

/// What of a file is no hole; `None`: it is written whole.
fn segments(file: &File, size: u64) -> std::result::Result<Option<Vec<Segment>>, Errno> {
    let (mut segments, mut at, mut data) = (Vec::new(), 0, 0);
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            // No data behind it.
            Err(Errno::NXIO) => size,
            Err(Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if start == size {
            break;
        }
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(errno),
        };
        segments.push(Segment {
            offset: start,
            length: end - start,
        });
        data += end - start;
        at = end;
        if segments.len() > MOST_SEGMENTS {
            return Ok(None);
        }
    }
    if size - data < SPARSE {
        return Ok(None);
    }
    if segments
        .last()
        .is_none_or(|last| last.offset + last.length < size)
    {
        // GNU tar tells the end by an empty piece.
        segments.push(Segment {
            offset: size,
            length: 0,
        });
    }
    Ok(Some(segments))
}

fn is_gone(error: &std::io::Error) -> bool {
    [Errno::NOENT, Errno::STALE, Errno::NOTDIR, Errno::LOOP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    move |errno| match errno {
        INDIRECT => Error::Indirect(path.to_owned()),
        errno => Error::Io {
            operation,
            path: path.to_owned(),
            source: errno.into(),
        },
    }
}
