//! An archive of images into the content store: an OCI image layout, or what `docker save` writes, compressed or not.
//!
//! The archive may come from anybody. Nothing of it is unpacked here: its files become blobs, whatever they are called. What is read into
//! memory is bounded (CVE-2023-25153), and a file that is named by a digest must have it.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lighter_archive::{Kind, Reader, decode};
use lighter_content::{ContentStore, Error as ContentError, Labels, WriterOptions};
use lighter_oci::{Descriptor, Digest, media_type};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::docker_archive::{self, Saved};
use crate::{Error, Result};

/// Bytes of `manifest.json` or `oci-layout`: as many as containerd reads.
const MOST_OF_JSON: u64 = 20 << 20;
/// Files of an archive.
const MOST_FILES: usize = 100_000;
/// Bytes of a name.
const MOST_OF_NAME: usize = 4096;
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// How to import.
#[derive(Debug, Clone, Copy, Default)]
pub struct Import {
    /// Compress layers that are not (only of what `docker save` writes: an OCI layout says itself what its layers are).
    pub compress: bool,
}

/// Reads an archive into the store; gives the index of its images. Nothing refers to what it brought yet: the lease that `content` is given with
/// keeps it. `source` is read on a thread that may block.
pub async fn import(
    content: &Arc<dyn ContentStore>,
    source: impl Read + Send + 'static,
    import: Import,
) -> Result<Descriptor> {
    let (store, runtime) = (Arc::clone(content), Handle::current());
    let read = tokio::task::spawn_blocking(move || {
        let mut files = Files {
            content: store,
            runtime,
            blobs: HashMap::new(),
            links: Vec::new(),
            layout: None,
            saved: None,
        };
        files.read(source)?;
        Ok::<_, Error>(files)
    });
    let files = read.await.map_err(|_| Error::Panicked)??;
    files.index(import).await
}

#[derive(Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion", default)]
    version: String,
}

/// What an archive holds.
struct Files {
    content: Arc<dyn ContentStore>,
    runtime: Handle,
    blobs: HashMap<String, Descriptor>,
    /// Names of names, within the archive.
    links: Vec<(String, String)>,
    layout: Option<Layout>,
    saved: Option<Vec<Saved>>,
}

impl Files {
    fn read(&mut self, source: impl Read + Send) -> Result<()> {
        let (_, source) = decode(source).map_err(Error::Archive)?;
        let mut archive = Reader::new(BufReader::with_capacity(CHUNK, source));
        while let Some(entry) = archive.next_entry().map_err(Error::Archive)? {
            let text = entry.path.to_str().filter(|name| name.len() <= MOST_OF_NAME);
            let Some(name) = text.map(clean) else {
                let what = entry.path.to_string_lossy();
                return Err(bad(
                    &what.chars().take(80).collect::<String>(),
                    "no name of a file",
                ));
            };
            if self.blobs.len() + self.links.len() >= MOST_FILES {
                return Err(bad(
                    &name,
                    format!("the archive has more than {MOST_FILES} files"),
                ));
            }
            match entry.kind {
                Kind::File { size, segments: None } => self.file(&mut archive, name, size)?,
                Kind::File { .. } => return Err(bad(&name, "sparse files are not supported")),
                // Docker writes a layer that several images have once, and links to it.
                Kind::Symlink(link) => {
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    let target = clean(&format!("{directory}/{}", link.to_string_lossy()));
                    self.links.push((name, target));
                }
                Kind::Hardlink(link) => self.links.push((name, clean(&link.to_string_lossy()))),
                _ => {}
            }
        }
        Ok(())
    }

    fn file<R: std::io::BufRead>(&mut self, archive: &mut Reader<R>, name: String, size: u64) -> Result<()> {
        match name.as_str() {
            "oci-layout" => self.layout = Some(document(archive, &name, size)?),
            "manifest.json" => self.saved = Some(document(archive, &name, size)?),
            // What Docker wrote before it had manifest.json, and writes to this day; nothing refers to it.
            "repositories" => {}
            name if name.ends_with("/VERSION") || name.ends_with("/json") => {}
            _ => {
                let digest = self.ingest(archive, &name, size)?;
                self.blobs.insert(name, Descriptor::new("", digest, size));
            }
        }
        Ok(())
    }

    /// Makes the current entry a blob.
    fn ingest<R: std::io::BufRead>(&self, archive: &mut Reader<R>, name: &str, size: u64) -> Result<Digest> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let expected = named_digest(name);
        let options = WriterOptions {
            // A name of its own: nobody resumes it, and nobody waits for it.
            name: format!(
                "import-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            ),
            total: size,
            expected: expected.clone(),
        };
        let mut writer = match (
            self.runtime.block_on(self.content.writer(options.clone())),
            &expected,
        ) {
            (Ok(writer), _) => writer,
            // It is known what it is, and it is there.
            (Err(ContentError::ContentExists(_)), Some(digest)) => return Ok(digest.clone()),
            (Err(error), _) => return Err(error.into()),
        };
        let algorithm = expected
            .as_ref()
            .map_or(lighter_oci::Algorithm::Sha256, Digest::algorithm);
        let mut hasher = algorithm.hasher();
        let written = (|| {
            loop {
                let data = archive.data().map_err(Error::Archive)?;
                if data.is_empty() {
                    break;
                }
                let data = Bytes::copy_from_slice(data);
                archive.consume(data.len());
                hasher.update(&data);
                self.runtime.block_on(writer.write(data))?;
            }
            let digest = hasher.finish();
            if let Some(expected) = expected.as_ref().filter(|expected| **expected != digest) {
                return Err(bad(
                    name,
                    format!("its content has digest {digest}, not {expected}"),
                ));
            }
            let committed = writer.commit(size, Some(&digest), Labels::new());
            match self.runtime.block_on(committed) {
                Ok(_) | Err(ContentError::ContentExists(_)) => Ok(digest),
                Err(error) => Err(error.into()),
            }
        })();
        if written.is_err() {
            // Nobody writes it any more then; the error to tell is the first.
            let _ = self.runtime.block_on(writer.truncate(0));
            drop(writer);
            let _ = self.runtime.block_on(self.content.abort(&options.name));
        }
        written
    }

    /// The index of the images: the layout's own, or one that is made of `manifest.json`.
    async fn index(mut self, import: Import) -> Result<Descriptor> {
        if let Some(layout) = self.layout {
            if layout.version != "1.0.0" {
                let why = format!("version {:?} of the layout is not supported", layout.version);
                return Err(bad("oci-layout", why));
            }
            let index = self.blobs.remove("index.json");
            let mut index = index.ok_or_else(|| bad("index.json", "it is missing"))?;
            index.media_type = media_type::OCI_INDEX.into();
            return Ok(index);
        }
        let Some(saved) = self.saved else {
            return Err(Error::Unrecognized);
        };
        for (name, target) in self.links {
            // One of a link's target is in the archive: a link to a link is nothing that Docker writes.
            let blob = self.blobs.get(&target).cloned();
            let blob =
                blob.ok_or_else(|| bad(&name, format!("it is a link to {target:?}, which is not in it")))?;
            self.blobs.insert(name, blob);
        }
        docker_archive::index(self.content.as_ref(), saved, &self.blobs, import.compress).await
    }
}

/// The digest that a file of an OCI layout is named by.
fn named_digest(name: &str) -> Option<Digest> {
    let (algorithm, encoded) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{encoded}").parse().ok()
}

fn document<T: DeserializeOwned, R: std::io::BufRead>(
    archive: &mut Reader<R>,
    name: &str,
    size: u64,
) -> Result<T> {
    if size > MOST_OF_JSON {
        return Err(bad(
            name,
            format!("it has {size} bytes, more than {MOST_OF_JSON}"),
        ));
    }
    let mut body = Vec::new();
    loop {
        let data = archive.data().map_err(Error::Archive)?;
        if data.is_empty() {
            break;
        }
        body.extend_from_slice(data);
        let length = data.len();
        archive.consume(length);
    }
    serde_json::from_slice(&body).map_err(|error| bad(name, error))
}

/// The name without what does not count: `./a//b/../c` is `a/c`.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn bad(what: &str, why: impl ToString) -> Error {
    Error::BadArchive {
        what: format!("{what:?}"),
        why: why.to_string(),
    }
}
