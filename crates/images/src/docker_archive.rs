//! What `docker save` writes: `manifest.json`, configs and layers under names of their own.
//!
//! Source: Docker's image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use lighter_content::{ContentStore, Labels, WriterOptions, read_blob, write_blob};
use lighter_oci::{Descriptor, ImageConfig, Index, Manifest, Reference, media_type};
use serde::Deserialize;

use crate::export::{NAME_ANNOTATION, REF_ANNOTATION};
use crate::labels::UNCOMPRESSED_LABEL;
use crate::read::MOST_OF_CONFIG;
use crate::{Error, Result};

/// An image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Saved {
    #[serde(default)]
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Writes the manifests of the images, and an index that names them; gives the index. `compress`: layers that are not are.
pub(crate) async fn index(
    content: &dyn ContentStore,
    images: Vec<Saved>,
    blobs: &HashMap<String, Descriptor>,
    compress: bool,
) -> Result<Descriptor> {
    let mut index = Index {
        schema_version: 2,
        media_type: None,
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    };
    for image in images {
        let manifest = manifest(content, &image, blobs, compress).await?;
        let tags = image.repo_tags.unwrap_or_default();
        if tags.is_empty() {
            index.manifests.push(manifest);
            continue;
        }
        for tag in tags {
            let reference = Reference::parse(&tag).map_err(|error| bad(&tag, error))?;
            let mut named = manifest.clone();
            let name = tagged(reference.or_latest());
            let version = match (name.digest(), name.tag()) {
                (Some(digest), _) => format!("@{digest}"),
                (None, tag) => tag.unwrap_or_default().to_owned(),
            };
            named.annotations.insert(NAME_ANNOTATION.into(), name.to_string());
            named.annotations.insert(REF_ANNOTATION.into(), version);
            index.manifests.push(named);
        }
    }
    let body = serde_json::to_vec(&index).map_err(|error| bad("manifest.json", error))?;
    write(content, body, media_type::OCI_INDEX).await
}

/// Of a name with a tag and a digest only the digest counts.
fn tagged(reference: Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.without_version().with_digest(digest.clone()),
        None => reference,
    }
}

async fn manifest(
    content: &dyn ContentStore,
    image: &Saved,
    blobs: &HashMap<String, Descriptor>,
    compress: bool,
) -> Result<Descriptor> {
    let config = blobs
        .get(&image.config)
        .ok_or_else(|| bad(&image.config, "the image config is not in it"))?;
    let mut config = config.clone();
    config.media_type = media_type::DOCKER_CONFIG.into();
    let body = read_blob(content, &config.digest, MOST_OF_CONFIG).await?;
    let parsed: ImageConfig = serde_json::from_slice(&body).map_err(|error| bad(&image.config, error))?;
    let files = image.layers.as_deref().unwrap_or_default();
    if files.len() != parsed.rootfs.diff_ids.len() {
        let (tells, lists) = (parsed.rootfs.diff_ids.len(), files.len());
        return Err(bad(
            &image.config,
            format!("it tells of {tells} layers, manifest.json of {lists}"),
        ));
    }
    let mut layers = Vec::with_capacity(files.len());
    for file in files {
        let layer = blobs
            .get(file)
            .ok_or_else(|| bad(file, "the layer is not in it"))?;
        layers.push(self::layer(content, layer, compress).await?);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::DOCKER_MANIFEST.into()),
        config,
        layers,
        annotations: BTreeMap::new(),
    };
    let body = serde_json::to_vec(&manifest).map_err(|error| bad("manifest.json", error))?;
    let mut descriptor = write(content, body, media_type::DOCKER_MANIFEST).await?;
    let platform = parsed.platform();
    descriptor.platform = (!platform.os.is_empty() || !platform.architecture.is_empty()).then_some(platform);
    Ok(descriptor)
}

/// A layer as it is, or the compressed form of it that is known.
async fn layer(content: &dyn ContentStore, layer: &Descriptor, compress: bool) -> Result<Descriptor> {
    let known = format!("labels.\"{UNCOMPRESSED_LABEL}\"=={}", layer.digest);
    if let Some(known) = content.list(&[known]).await?.into_iter().next() {
        let kind = kind(content, &known.digest).await?;
        return Ok(Descriptor::new(kind, known.digest, known.size));
    }
    let kind = kind(content, &layer.digest).await?;
    if compress && kind == media_type::DOCKER_LAYER {
        return compressed(content, layer).await;
    }
    Ok(Descriptor::new(kind, layer.digest.clone(), layer.size))
}

/// The media type of a layer by its first bytes.
async fn kind(content: &dyn ContentStore, digest: &lighter_oci::Digest) -> Result<&'static str> {
    let start = content.reader_at(digest).await?.read_at(0, 10).await?;
    let is_compressed = matches!(
        start.as_ref(),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
    );
    Ok(match is_compressed {
        // What it is compressed with is told by its bytes; Docker's types know one way only.
        true => media_type::DOCKER_LAYER_GZIP,
        false => media_type::DOCKER_LAYER,
    })
}

/// The layer with gzip, labelled with what it is of.
async fn compressed(content: &dyn ContentStore, layer: &Descriptor) -> Result<Descriptor> {
    use std::io::Write as _;
    const CHUNK: usize = 512 << 10;
    let reader = content.reader_at(&layer.digest).await?;
    let options = WriterOptions {
        name: format!("compress-blob-{}", layer.digest),
        ..WriterOptions::default()
    };
    let mut writer = content.writer(options).await?;
    writer.truncate(0).await?;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let (mut hasher, mut size, mut offset) = (lighter_oci::Algorithm::Sha256.hasher(), 0, 0);
    loop {
        let data = reader.read_at(offset, CHUNK).await?;
        offset += data.len() as u64;
        let is_end = data.is_empty();
        // It takes a while, which other requests need not wait for.
        let work = tokio::task::spawn_blocking(move || {
            if is_end {
                encoder.try_finish()?;
            } else {
                encoder.write_all(&data)?;
            }
            let made = std::mem::take(encoder.get_mut());
            Ok::<_, std::io::Error>((encoder, made))
        });
        let worked = work.await.map_err(|_| Error::Panicked)?;
        let made;
        (encoder, made) = worked.map_err(|error| bad(layer.digest.as_str(), error))?;
        hasher.update(&made);
        size += made.len() as u64;
        writer.write(made.into()).await?;
        if is_end {
            break;
        }
    }
    let digest = hasher.finish();
    let labels = Labels::from([(UNCOMPRESSED_LABEL.to_owned(), layer.digest.to_string())]);
    match writer.commit(size, Some(&digest), labels).await {
        Ok(_) | Err(lighter_content::Error::ContentExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size))
}

async fn write(content: &dyn ContentStore, body: Vec<u8>, kind: &str) -> Result<Descriptor> {
    let size = body.len() as u64;
    let digest = write_blob(content, Bytes::from(body), Labels::new()).await?;
    Ok(Descriptor::new(kind, digest, size))
}

fn bad(what: &str, why: impl ToString) -> Error {
    Error::BadArchive {
        what: format!("{what:?}"),
        why: why.to_string(),
    }
}
