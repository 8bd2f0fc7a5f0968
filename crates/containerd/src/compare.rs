//! Making a layer of the difference between two sets of mounts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
pub use lighter_archive::Time;
use lighter_archive::{Compression, DiffOptions, Encoder, Tree};
use lighter_content::{ContentStore, Error as ContentError, Labels, Writer, WriterOptions};
use lighter_oci::{Descriptor, Digest, media_type};
use lighter_snapshots::Mount;
use lighter_sys::namespace;
use rustix::mount::{MountPropagationFlags, mount_change};
use tokio::sync::{mpsc, oneshot};

use crate::error::io;
use crate::layer::Layer;
use crate::{Error, Result};

/// What becomes of the difference.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// The media type of the layer, which says how it is compressed: OCI's; empty: gzip.
    pub media_type: String,
    /// The name of the ingest; empty: one of its own.
    pub reference: String,
    /// Labels of the blob.
    pub labels: Labels,
    /// No time in the layer is later (`SOURCE_DATE_EPOCH`).
    pub latest: Option<Time>,
}

/// The label of a compressed layer with the digest of what is in it. Source: containerd's `pkg/labels`.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// Bytes that are passed on at once, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 8;
/// The walk calls itself for each directory on the way.
const STACK: usize = 16 << 20;

impl Layer {
    /// Stores the layer that makes what the mounts `right` show of what `left` show (none: nothing), and gives its descriptor. Binds and
    /// overlays are read where they are; only overlays that need the kernel to be read are mounted, read-only, in a mount namespace that
    /// ends with the comparison.
    ///
    /// Source: containerd's diff service and its walking differ.
    pub async fn compare(
        &self,
        namespace: &str,
        lease: Option<&str>,
        left: &[Mount],
        right: &[Mount],
        comparison: Comparison,
    ) -> Result<Descriptor> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (compression, media_type) = match comparison.media_type.as_str() {
            "" | media_type::OCI_LAYER_GZIP => (Compression::Gzip, media_type::OCI_LAYER_GZIP),
            media_type::OCI_LAYER_ZSTD => (Compression::Zstd, media_type::OCI_LAYER_ZSTD),
            media_type::OCI_LAYER => (Compression::None, media_type::OCI_LAYER),
            other => {
                return Err(Error::Unimplemented(format!(
                    "a difference of media type {other:?}"
                )));
            }
        };
        let content = self.content(namespace, lease);
        let own_name = comparison.reference.is_empty();
        let name = if own_name {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let now = self.config().clock.now().as_nanosecond();
            format!("diff-{}-{number}-{now}", std::process::id())
        } else {
            comparison.reference.clone()
        };
        let options = WriterOptions {
            name: name.clone(),
            ..WriterOptions::default()
        };
        let mut writer = content.writer(options).await?;
        writer.truncate(0).await?;
        let job = Job {
            left: left.to_vec(),
            right: right.to_vec(),
            points: self.config().state.join("diff"),
            compression,
            latest: comparison.latest,
        };
        let stored = store(&*content, &mut writer, job, comparison.labels).await;
        drop(writer);
        if stored.is_err() && own_name {
            // Nobody knows its name; the failure is the one to tell.
            let _ = content.abort(&name).await;
        }
        let digest = stored?;
        let size = content.info(&digest).await?.size;
        Ok(Descriptor::new(media_type.to_owned(), digest, size))
    }
}

async fn store(
    content: &dyn ContentStore,
    writer: &mut Box<dyn Writer>,
    job: Job,
    mut labels: Labels,
) -> Result<Digest> {
    let compressed = job.compression != Compression::None;
    let diff_id = match fill(writer, job.clone(), false).await {
        Err(Error::Compare(lighter_archive::Error::Indirect(path))) => {
            tracing::debug!(path = %path.display(), "the layers have to be mounted to be compared");
            writer.truncate(0).await?;
            fill(writer, job, true).await
        }
        filled => filled,
    }?;
    if compressed {
        labels.insert(UNCOMPRESSED.to_owned(), diff_id.to_string());
    }
    match writer.commit(0, None, labels).await {
        Err(ContentError::ContentExists(digest)) => {
            let known = content.info(&digest).await?.labels;
            if compressed && !known.contains_key(UNCOMPRESSED) {
                let label = Labels::from([(UNCOMPRESSED.to_owned(), diff_id.to_string())]);
                let field = format!("labels.{UNCOMPRESSED}");
                content.update(&digest, label, &[field]).await?;
            }
            Ok(digest)
        }
        committed => Ok(committed?),
    }
}

/// Writes the layer to `writer`; gives the digest of its uncompressed form.
async fn fill(writer: &mut Box<dyn Writer>, job: Job, mounted: bool) -> Result<Digest> {
    let (pieces, mut waiting) = mpsc::channel(QUEUE);
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("layer-diff".into())
        .stack_size(STACK);
    let work = move || {
        let sink = Sink {
            pieces,
            piece: Vec::new(),
        };
        let made = if mounted {
            job.mounted(sink)
        } else {
            job.direct(sink)
        };
        // Who does not listen any more has failed itself.
        let _ = tell.send(made);
    };
    thread
        .spawn(work)
        .map_err(io("start a thread for", Path::new("layer-diff")))?;
    while let Some(piece) = waiting.recv().await {
        writer.write(piece).await?;
    }
    told.await.map_err(|_| Error::Panicked)?
}

/// One comparison, for the thread that makes it.
#[derive(Debug, Clone)]
struct Job {
    left: Vec<Mount>,
    right: Vec<Mount>,
    /// A directory for two mount points.
    points: PathBuf,
    compression: Compression,
    latest: Option<Time>,
}

impl Job {
    /// Reads the trees where they are.
    fn direct(self, sink: Sink) -> Result<Digest> {
        let (Some(left), Some(right)) = (Place::of(&self.left), Place::of(&self.right)) else {
            return self.mounted(sink);
        };
        // A single layer is bound, and is a layer all the same.
        let left = match left {
            Place::Directory(path) if right.stands_on(&path) => Place::Layers(vec![path], right.is_user()),
            left => left,
        };
        self.write(&left.tree(), &right.tree(), sink)
    }

    /// Mounts them first, where nobody else sees it; the mounts end with the thread.
    fn mounted(self, sink: Sink) -> Result<Digest> {
        let points = [self.points.join("left"), self.points.join("right")];
        for point in &points {
            std::fs::create_dir_all(point).map_err(io("create directory", point))?;
        }
        namespace::unshare(namespace::MOUNT).map_err(io("leave the mount namespace for", &self.points))?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|errno| io("make private", Path::new("/"))(errno.into()))?;
        for (mounts, point) in [&self.left, &self.right].into_iter().zip(&points) {
            for mount in mounts {
                read_only(mount).mount(point)?;
            }
        }
        let left = match self.left.is_empty() {
            true => Tree::Nothing,
            false => Tree::Plain(&points[0]),
        };
        self.write(&left, &Tree::Plain(&points[1]), sink)
    }

    fn write(&self, left: &Tree<'_>, right: &Tree<'_>, sink: Sink) -> Result<Digest> {
        let failed = |error| Error::Compare(lighter_archive::Error::Write(error));
        let mut encoder = Encoder::new(sink, self.compression).map_err(failed)?;
        let options = DiffOptions { latest: self.latest };
        let diffed = lighter_archive::diff(left, right, &options, &mut encoder).map_err(Error::Compare)?;
        if !diffed.left_out.is_empty() {
            tracing::warn!(paths = ?diffed.left_out, "no layer can hold these; they are left out");
        }
        let (mut sink, diff_id) = encoder.finish().map_err(failed)?;
        sink.flush().map_err(failed)?;
        Ok(diff_id)
    }
}

/// Where a tree is without being mounted.
enum Place {
    Nowhere,
    Directory(PathBuf),
    Layers(Vec<PathBuf>, bool),
}

impl Place {
    fn of(mounts: &[Mount]) -> Option<Place> {
        let mount = match mounts {
            [] => return Some(Place::Nowhere),
            [mount] if mount.target.is_empty() => mount,
            _ => return None,
        };
        match mount.kind.as_str() {
            "bind" => Some(Place::Directory(mount.source.clone().into())),
            "overlay" => {
                let user = mount.options.iter().any(|option| option == "userxattr");
                let layers = mount.upper_dir().into_iter().chain(mount.lower_dirs());
                Some(Place::Layers(layers.collect(), user))
            }
            _ => None,
        }
    }

    fn stands_on(&self, path: &Path) -> bool {
        matches!(self, Place::Layers(layers, _) if layers.last().is_some_and(|last| last == path))
    }

    fn is_user(&self) -> bool {
        matches!(self, Place::Layers(_, true))
    }

    fn tree(&self) -> Tree<'_> {
        match self {
            Place::Nowhere => Tree::Nothing,
            Place::Directory(path) => Tree::Plain(path),
            Place::Layers(layers, user) => Tree::Overlay { layers, user: *user },
        }
    }
}

/// The mount without what could be written to: an overlay's upper directory becomes its topmost lower one.
fn read_only(mount: &Mount) -> Mount {
    let mut mount = mount.clone();
    if mount.kind == "overlay"
        && let Some(upper) = mount.upper_dir()
    {
        let lower = mount
            .lower_dirs()
            .into_iter()
            .map(|dir| dir.to_string_lossy().into_owned());
        let all: Vec<_> = std::iter::once(upper.to_string_lossy().into_owned())
            .chain(lower)
            .collect();
        let dirs = ["upperdir=", "workdir=", "lowerdir="];
        mount
            .options
            .retain(|option| !dirs.iter().any(|dir| option.starts_with(dir)));
        mount.options.push(format!("lowerdir={}", all.join(":")));
    }
    mount.options.retain(|option| option != "rw");
    mount.options.push("ro".to_owned());
    mount
}

/// Passes on what is written, in pieces.
struct Sink {
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.piece.reserve(PIECE);
        let length = buffer.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&buffer[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces
            .blocking_send(piece.into())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
