//! An image that is in the content store.

use bytes::Bytes;
use lighter_content::{ContentStore, Error as ContentError, read_blob};
use lighter_oci::{Descriptor, Digest, Document, ImageConfig, Manifest, Platform, media_type};

use crate::{Error, Result};

/// Bytes of a manifest or an index.
pub(crate) const MOST_OF_MANIFEST: u64 = 4 << 20;
/// Bytes of a config.
pub(crate) const MOST_OF_CONFIG: u64 = 16 << 20;
/// Indexes in indexes.
pub(crate) const MOST_NESTING: u32 = 4;

/// An image for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its manifest, as the index (or the record) points at it.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// The config's own bytes.
    pub config_json: Bytes,
}

impl Image {
    /// The snapshot that its layers make; `None` for an image without layers.
    pub fn chain_id(&self) -> Option<Digest> {
        self.config.chain_id()
    }
}

/// Reads the image that `target` (an image record's) points at, for `platform`. Of several manifests that fit, the best that is in the
/// store is taken. A manifest that is the target itself is taken for whatever platform it is.
pub async fn read(content: &dyn ContentStore, target: &Descriptor, platform: &Platform) -> Result<Image> {
    let mut candidates = vec![(target.clone(), 0)];
    let mut missing = None;
    // Best last: indexes put theirs on top.
    while let Some((descriptor, depth)) = candidates.pop() {
        let body = match read_blob(content, &descriptor.digest, MOST_OF_MANIFEST).await {
            Err(error @ ContentError::NoContent(_)) => {
                missing.get_or_insert(error);
                continue;
            }
            result => result?,
        };
        match parse(&descriptor.digest, &body)? {
            Document::Index(index) if depth < MOST_NESTING => {
                candidates.extend(
                    index
                        .matching(platform)
                        .into_iter()
                        .rev()
                        .map(|child| (child.clone(), depth + 1)),
                );
            }
            Document::Index(_) => {}
            Document::Manifest(manifest) => {
                let config_json = read_blob(content, &manifest.config.digest, MOST_OF_CONFIG).await?;
                let config = parse_config(&manifest, &config_json)?;
                return Ok(Image {
                    descriptor,
                    manifest: *manifest,
                    config,
                    config_json,
                });
            }
        }
    }
    Err(missing.map_or_else(
        || Error::NoPlatform {
            platform: platform.clone(),
        },
        Error::from,
    ))
}

pub(crate) fn parse(digest: &Digest, body: &[u8]) -> Result<Document> {
    Document::parse(body).map_err(|error| Error::Document {
        digest: digest.clone(),
        why: error.to_string(),
    })
}

/// The config of an image. That of another artifact is refused.
pub(crate) fn parse_config(manifest: &Manifest, body: &[u8]) -> Result<ImageConfig> {
    let bad = |why: String| Error::Document {
        digest: manifest.config.digest.clone(),
        why,
    };
    if !media_type::is_config(&manifest.config.media_type) {
        return Err(Error::NotAnImage(manifest.config.media_type.clone()));
    }
    let config: ImageConfig = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let (diffs, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    match diffs == layers {
        true => Ok(config),
        false => Err(bad(format!(
            "it tells of {diffs} layers, the manifest of {layers}"
        ))),
    }
}
