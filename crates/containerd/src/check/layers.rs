//! The layers of images, unpacked once more beside the snapshots that they made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lighter_archive::{DiffOptions, Options, Reader, Tree, Whiteouts};
use lighter_meta::{Db, Read as _};
use lighter_oci::{Digest, Document, ImageConfig, Manifest, chain_ids};
use lighter_stdx::tree;
use rustix::fs::{CWD, RenameFlags};

use crate::diff::LIMIT;
use crate::error::io;
use crate::images::{self, Image};
use crate::{Error, Result};

/// Documents are read into memory.
const MOST_OF_DOCUMENT: u64 = 16 << 20;
/// Indexes in indexes.
const MOST_NESTING: u32 = 4;

/// A layer that is there.
#[derive(Debug)]
pub(super) struct Layer {
    blob: PathBuf,
    diff_id: Digest,
}

/// What snapshot names are layers of images, by namespace.
#[derive(Debug, Default)]
pub(super) struct Layers(HashMap<(String, String), Layer>);

impl Layers {
    /// Those that the images' documents tell of, as far as their blobs are `whole`.
    pub(super) fn of_images(content: &Path, db: &Db, whole: &BTreeSet<Digest>) -> Result<Layers> {
        let mut targets = Vec::new();
        db.read(|tx| {
            for bucket in tx.buckets("v1/")? {
                let namespace = bucket.split('/').nth(1).unwrap_or_default();
                if bucket == images::bucket(namespace) {
                    for (_, image) in tx.list_json::<Image>(&bucket, "")? {
                        targets.push((namespace.to_owned(), image.target.digest, 0));
                    }
                }
            }
            Ok::<(), Error>(())
        })?;
        let read = |digest: &Digest| {
            let path = lighter_content::check::blob(content, digest);
            let small = whole.contains(digest)
                && fs::metadata(&path).is_ok_and(|file| file.len() <= MOST_OF_DOCUMENT);
            small.then(|| fs::read(&path).ok()).flatten()
        };
        let mut layers = Layers::default();
        while let Some((namespace, digest, depth)) = targets.pop() {
            // What is no document, or is not there, leads nowhere.
            match read(&digest).and_then(|bytes| Document::parse(&bytes).ok()) {
                Some(Document::Index(index)) if depth < MOST_NESTING => {
                    let children = index.manifests.iter();
                    targets
                        .extend(children.map(|child| (namespace.clone(), child.digest.clone(), depth + 1)));
                }
                Some(Document::Manifest(manifest)) => {
                    let config = read(&manifest.config.digest);
                    if let Some(config) = config.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                        layers.add(content, whole, &namespace, &manifest, &config);
                    }
                }
                _ => {}
            }
        }
        Ok(layers)
    }

    fn add(
        &mut self,
        content: &Path,
        whole: &BTreeSet<Digest>,
        namespace: &str,
        manifest: &Manifest,
        config: &ImageConfig,
    ) {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return;
        }
        for ((layer, diff_id), chain) in manifest.layers.iter().zip(diff_ids).zip(chain_ids(diff_ids)) {
            if whole.contains(&layer.digest) {
                let layer = Layer {
                    blob: lighter_content::check::blob(content, &layer.digest),
                    diff_id: diff_id.clone(),
                };
                self.0.insert((namespace.to_owned(), chain.to_string()), layer);
            }
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Layer> {
        self.0.get(&(namespace.to_owned(), name.to_owned()))
    }
}

/// Where layers are unpacked to be compared: what is there when the layer starts is deleted by it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(snapshots: &Path) -> Scratch {
        Scratch(
            snapshots
                .join("trash")
                .join(format!("check-{}", std::process::id())),
        )
    }

    /// Unpacks `layer` on what is `below`. `None`: it is not what its image says, and so tells nothing of a snapshot.
    pub(super) fn unpack(&self, layer: &Layer, below: &[PathBuf]) -> Result<Option<PathBuf>> {
        tree::remove(&self.0).map_err(io("remove", &self.0))?;
        let fresh = self.0.join("fs");
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.0).map_err(io("create directory", &self.0))?;
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&fresh)
            .map_err(io("create directory", &fresh))?;
        if let Some(lower) = below.first() {
            // As the snapshotter begins one.
            let metadata = fs::metadata(lower).map_err(io("stat", lower))?;
            std::os::unix::fs::chown(&fresh, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(io("change owner of", &fresh))?;
            let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(&fresh, mode).map_err(io("change mode of", &fresh))?;
        }
        let whiteouts = if below.is_empty() {
            Whiteouts::Drop
        } else {
            Whiteouts::Overlay
        };
        let options = Options {
            whiteouts,
            lower: below.to_vec(),
            limit: LIMIT,
        };
        let file = File::open(&layer.blob).map_err(io("open", &layer.blob))?;
        let applied = lighter_archive::apply(file, &fresh, &options)?;
        Ok((applied.diff_id == layer.diff_id).then_some(fresh))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays goes at the next start.
        let _ = tree::remove(&self.0);
    }
}

/// Puts the tree `fresh` in the place of `kept`; there is one or the other at every moment. As durable as any unpacked layer: if the machine dies
/// at once, the next check finds what is not on the disk.
pub(super) fn put(fresh: &Path, kept: &Path) -> Result<()> {
    let exchanged = if kept.exists() {
        rustix::fs::renameat_with(CWD, fresh, CWD, kept, RenameFlags::EXCHANGE)
    } else {
        if let Some(parent) = kept.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(parent).map_err(io("create directory", parent))?;
        }
        rustix::fs::rename(fresh, kept)
    };
    exchanged.map_err(|errno| io("put a layer at", kept)(errno.into()))
}

/// The paths at which two trees on the same ones below differ: names, kinds, owners, modes, attributes, contents, and the times of all but
/// directories, of which those that a layer does not list have that of their making.
pub(super) fn differences(one: &Path, other: &Path, below: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (one, other) = (entries(one, below)?, entries(other, below)?);
    let names: BTreeSet<&OsString> = one.keys().chain(other.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name));
    Ok(differing.map(PathBuf::from).collect())
}

/// A hash of each thing that the tree adds to those below.
fn entries(tree: &Path, below: &[PathBuf]) -> Result<BTreeMap<OsString, Digest>> {
    let all: Vec<PathBuf> = std::iter::once(tree)
        .chain(below.iter().map(PathBuf::as_path))
        .map(Path::to_owned)
        .collect();
    let overlay = |layers| Tree::Overlay { layers, user: false };
    let lower = if below.is_empty() {
        Tree::Nothing
    } else {
        overlay(below)
    };
    let (source, sink) = std::io::pipe().map_err(io("make a pipe for", tree))?;
    std::thread::scope(|scope| {
        let (all, lower) = (&all, &lower);
        let writer =
            scope.spawn(move || lighter_archive::diff(lower, &overlay(all), &DiffOptions::default(), sink));
        let hashed = hashes(source);
        // Its failure is the cause of the reader's.
        writer.join().map_err(|_| Error::Panicked)??;
        Ok(hashed?)
    })
}

fn hashes(source: std::io::PipeReader) -> lighter_archive::Result<BTreeMap<OsString, Digest>> {
    let mut reader = Reader::new(BufReader::with_capacity(64 << 10, source));
    let mut found = BTreeMap::new();
    while let Some(mut entry) = reader.next_entry()? {
        if entry.kind == lighter_archive::Kind::Directory {
            entry.metadata.modified = Default::default();
        }
        let mut hasher = lighter_oci::Algorithm::Sha256.hasher();
        hasher.update(format!("{:?} {:?}", entry.kind, entry.metadata).as_bytes());
        loop {
            let data = reader.data()?;
            if data.is_empty() {
                break;
            }
            hasher.update(data);
            let length = data.len();
            reader.consume(length);
        }
        found.insert(entry.path, hasher.finish());
    }
    Ok(found)
}
