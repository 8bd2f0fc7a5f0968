//! Images of the content store as an archive: an OCI image layout, with what `docker load` reads beside it.
//!
//! Sources: OCI image-spec, image-layout.md; Docker's image specification v1.2 (`manifest.json`); the annotations are containerd's. The order
//! and the headers of the entries are containerd's as well, so that the same images make the same archive.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lighter_content::{ContentStore, read_blob};
use lighter_oci::{Descriptor, Digest, Document, Index, Platform, Reference, media_type};
use serde::Serialize;
use tokio::sync::mpsc::Sender;

use crate::labels::SOURCE_LABEL;
use crate::push::is_kept_back;
use crate::read::{MOST_NESTING, MOST_OF_MANIFEST, parse};
use crate::tar_header::{self, Entry, header, padding};
use crate::{Error, Result};

/// On a manifest of an archive: the whole name of the image.
pub(crate) const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// On a manifest of an archive: its tag. Source: OCI image-spec, annotations.md.
pub(crate) const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Bytes that are read of a blob at a time.
const CHUNK: usize = 256 << 10;

/// What to export.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// Name and target of each image.
    pub images: Vec<(String, Descriptor)>,
    /// Of an index only what is for these, best first; none: this machine's.
    pub platforms: Vec<Platform>,
    /// All of an index; `platforms` then only say what Docker shall take.
    pub all_platforms: bool,
    /// Without `manifest.json`.
    pub skip_docker: bool,
    /// Without layers that may not be distributed.
    pub skip_nondistributable: bool,
}

/// Sends the archive to `sink`, part by part. All that it will hold was there when the first part is sent, and each blob is checked while it is
/// sent: a failure in between leaves an archive without an end.
pub async fn export(content: &dyn ContentStore, export: &Export, sink: &Sender<Bytes>) -> Result<()> {
    let mut archive = Archive {
        content,
        export,
        files: BTreeMap::new(),
        docker: Vec::new(),
    };
    archive.gather().await?;
    for (name, file) in &archive.files {
        archive.send(name, file, sink).await?;
    }
    send(sink, Bytes::from_static(&tar_header::END)).await
}

/// An entry of the archive.
enum File {
    Directory,
    Document(u32, Vec<u8>),
    Blob(Descriptor),
}

/// An image as `docker load` takes it.
struct DockerImage {
    manifest: Digest,
    names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    /// `null` for none, as Go writes it.
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

struct Archive<'a> {
    content: &'a dyn ContentStore,
    export: &'a Export,
    /// In the order in which they are written.
    files: BTreeMap<String, File>,
    docker: Vec<DockerImage>,
}

impl Archive<'_> {
    async fn gather(&mut self) -> Result<()> {
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        self.files
            .insert("oci-layout".into(), File::Document(0o444, layout));
        let mut index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        };
        let mut resolved: HashMap<Digest, Option<Digest>> = HashMap::new();
        for (name, target) in &self.export.images {
            index.manifests.push(self.named(name, target).await?);
            let shown = match resolved.get(&target.digest) {
                Some(shown) => shown.clone(),
                None => {
                    let shown = self.image(target).await?;
                    resolved.insert(target.digest.clone(), shown.clone());
                    shown
                }
            };
            if let Some(shown) = shown {
                self.docker_name(shown, name);
            }
        }
        let index = json(&index)?;
        self.files
            .insert("index.json".into(), File::Document(0o644, index));
        if !self.export.skip_docker && !self.docker.is_empty() {
            let manifests = json(&self.docker_manifests().await?)?;
            self.files
                .insert("manifest.json".into(), File::Document(0o644, manifests));
        }
        Ok(())
    }

    /// The descriptor of an image in `index.json`.
    async fn named(&self, name: &str, target: &Descriptor) -> Result<Descriptor> {
        let mut named = target.clone();
        let info = self.content.info(&target.digest).await;
        let info = info.map_err(|source| part("the target", &target.digest, name, source))?;
        let sources = info
            .labels
            .into_iter()
            .filter(|(label, _)| label.starts_with(SOURCE_LABEL));
        named.annotations.extend(sources);
        named.annotations.insert(NAME_ANNOTATION.into(), name.into());
        named
            .annotations
            .insert(REF_ANNOTATION.into(), ref_name(name).into());
        Ok(named)
    }

    /// Adds all that a target leads to and that is wanted; gives the manifest that Docker shall take.
    async fn image(&mut self, target: &Descriptor) -> Result<Option<Digest>> {
        if media_type::is_manifest(&target.media_type) {
            self.tree(target, target).await?;
            return Ok(Some(target.digest.clone()));
        }
        if !media_type::is_index(&target.media_type) {
            return Err(Error::NotAManifest);
        }
        let Document::Index(index) = self.document(target, target).await? else {
            return Err(Error::NotAManifest);
        };
        self.blob(target, target).await?;
        let wanted = match self.export.platforms.as_slice() {
            [] => vec![Platform::host()],
            platforms => platforms.to_vec(),
        };
        let mut best: Option<(usize, Digest)> = None;
        for manifest in &index.manifests {
            let rank = match &manifest.platform {
                None => Some(wanted.len()),
                Some(platform) => wanted.iter().position(|wanted| wanted.matches(platform)),
            };
            match rank {
                Some(rank) if best.as_ref().is_none_or(|(first, _)| rank < *first) => {
                    best = Some((rank, manifest.digest.clone()));
                }
                None if !self.export.all_platforms => continue,
                _ => {}
            }
            self.tree(manifest, target).await?;
        }
        match best {
            Some((_, digest)) => Ok(Some(digest)),
            None => Err(Error::NothingToExport),
        }
    }

    /// Adds a descriptor and all below it.
    async fn tree(&mut self, root: &Descriptor, of: &Descriptor) -> Result<()> {
        let mut found = vec![(root.clone(), 0)];
        while let Some((descriptor, depth)) = found.pop() {
            let kind = &descriptor.media_type;
            if media_type::is_index(kind) || media_type::is_manifest(kind) {
                if depth > MOST_NESTING {
                    return Err(Error::Document {
                        digest: root.digest.clone(),
                        why: "indexes in indexes in indexes".into(),
                    });
                }
                let document = self.document(&descriptor, of).await?;
                let children = document.children().into_iter().cloned();
                found.extend(children.map(|child| (child, depth + 1)));
            }
            self.blob(&descriptor, of).await?;
        }
        Ok(())
    }

    async fn document(&self, descriptor: &Descriptor, of: &Descriptor) -> Result<Document> {
        let body = read_blob(self.content, &descriptor.digest, MOST_OF_MANIFEST).await;
        let body =
            body.map_err(|source| part("the manifest", &descriptor.digest, of.digest.as_str(), source))?;
        parse(&descriptor.digest, &body)
    }

    /// Adds one blob.
    async fn blob(&mut self, descriptor: &Descriptor, of: &Descriptor) -> Result<()> {
        if self.export.skip_nondistributable && is_kept_back(&descriptor.media_type) {
            return Ok(());
        }
        let name = blob_name(&descriptor.digest);
        if self.files.contains_key(&name) {
            return Ok(());
        }
        let info = self.content.info(&descriptor.digest).await;
        let info = info.map_err(|source| part("content", &descriptor.digest, of.digest.as_str(), source))?;
        if info.size != descriptor.size {
            return Err(Error::Document {
                digest: of.digest.clone(),
                why: format!(
                    "it says that {} has {} bytes, which has {}",
                    descriptor.digest, descriptor.size, info.size
                ),
            });
        }
        let algorithm = descriptor.digest.algorithm().name();
        self.files.insert("blobs/".into(), File::Directory);
        self.files.insert(format!("blobs/{algorithm}/"), File::Directory);
        self.files.insert(name, File::Blob(descriptor.clone()));
        Ok(())
    }

    fn docker_name(&mut self, manifest: Digest, name: &str) {
        let known = self.docker.iter_mut().find(|image| image.manifest == manifest);
        match known {
            Some(image) => image.names.push(name.to_owned()),
            None => self.docker.push(DockerImage {
                manifest,
                names: vec![name.to_owned()],
            }),
        }
    }

    async fn docker_manifests(&self) -> Result<Vec<DockerManifest>> {
        let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
        let mut all = Vec::with_capacity(self.docker.len());
        for image in &self.docker {
            let body = read_blob(self.content, &image.manifest, MOST_OF_MANIFEST).await?;
            // An index in an index is no image that Docker could take.
            let Document::Manifest(manifest) = parse(&image.manifest, &body)? else {
                continue;
            };
            // Names that Docker has no way to write are left to index.json.
            let tags = image.names.iter().filter_map(|name| {
                let reference = Reference::parse(name).ok()?;
                Some(reference.or_latest().familiar())
            });
            all.push(DockerManifest {
                config: blob_name(&manifest.config.digest),
                repo_tags: some(tags.collect()),
                layers: some(
                    manifest
                        .layers
                        .iter()
                        .map(|layer| blob_name(&layer.digest))
                        .collect(),
                ),
            });
        }
        Ok(all)
    }

    async fn send(&self, name: &str, file: &File, sink: &Sender<Bytes>) -> Result<()> {
        match file {
            File::Directory => {
                let block = header(name, 0o755, Entry::Directory);
                send(sink, Bytes::copy_from_slice(&block)).await
            }
            File::Document(mode, body) => {
                let size = body.len() as u64;
                let mut whole = header(name, *mode, Entry::File(size)).to_vec();
                whole.extend_from_slice(body);
                whole.resize(whole.len() + padding(size), 0);
                send(sink, whole.into()).await
            }
            File::Blob(descriptor) => {
                let block = header(name, 0o444, Entry::File(descriptor.size));
                send(sink, Bytes::copy_from_slice(&block)).await?;
                self.send_blob(descriptor, sink).await?;
                send(sink, vec![0; padding(descriptor.size)].into()).await
            }
        }
    }

    async fn send_blob(&self, descriptor: &Descriptor, sink: &Sender<Bytes>) -> Result<()> {
        let reader = self.content.reader_at(&descriptor.digest).await?;
        let mut hasher = descriptor.digest.algorithm().hasher();
        let mut offset = 0;
        while offset < descriptor.size {
            let data = reader.read_at(offset, CHUNK).await?;
            if data.is_empty() {
                break;
            }
            offset += data.len() as u64;
            hasher.update(&data);
            send(sink, data).await?;
        }
        let actual = hasher.finish();
        if actual != descriptor.digest {
            return Err(Error::Document {
                digest: descriptor.digest.clone(),
                why: format!("its file is damaged: it has digest {actual}"),
            });
        }
        Ok(())
    }
}

async fn send(sink: &Sender<Bytes>, data: Bytes) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    sink.send(data).await.map_err(|_| Error::NoReader)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::BadArchive {
        what: "index.json".into(),
        why: error.to_string(),
    })
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.encoded())
}

fn part(what: &str, digest: &Digest, of: &str, source: lighter_content::Error) -> Error {
    Error::Part {
        what: format!("{what} {digest}"),
        of: of.to_owned(),
        source,
    }
}

/// The tag of a name, or its digest with the `@`; the whole of what is no name with a host.
fn ref_name(name: &str) -> &str {
    match name.split_once('/') {
        Some((_, path)) => match path.find([':', '@']) {
            Some(at) => path[at..].trim_start_matches(':'),
            None => "",
        },
        None if name.contains(':') => name,
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_name_is_a_tag_or_a_digest() {
        let check = |name, expected| assert_eq!(ref_name(name), expected, "{name}");
        check("docker.io/library/busybox:1.36", "1.36");
        check("127.0.0.1:5000/a/b:t", "t");
        check("docker.io/library/busybox@sha256:12", "@sha256:12");
        check("docker.io/library/busybox", "");
        check("busybox:latest", "busybox:latest");
        check("busybox", "");
    }
}
