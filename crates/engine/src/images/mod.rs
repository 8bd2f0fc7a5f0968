//! Images as users know them, over the layer's records and blobs.
//!
//! The layer keeps records: a full reference (`docker.io/library/busybox:latest`) and the digest of a manifest or an index.
//! Users see *images*: the hash of the configuration object, with all the references that lead to it. What a digest holds
//! never changes, so what was read once is kept; the records are asked anew each time.

mod hosts;
mod lease;
mod list;
mod names;
mod progress;
mod pull;
mod remove;
mod store;
mod tag;
mod users;

use std::sync::Arc;

use jiff::Timestamp;
use lighter_engine_api::go;
use lighter_oci::{Descriptor, Digest, ImageConfig, Manifest, Reference, ReferenceError};

pub use list::ImageListOptions;
pub use pull::PullRequest;
pub(crate) use store::Store;

use crate::{Engine, Error, Result};

/// The snapshotter that images are unpacked with.
pub const SNAPSHOTTER: &str = "overlayfs";

/// An image that is here, for one platform. Immutable: its names are not part of it.
#[derive(Debug)]
pub struct Image {
    /// What users see: the digest of the configuration object.
    pub id: Digest,
    /// What records point at: a manifest or an index.
    pub target: Descriptor,
    /// The manifest that was chosen; the target's own digest when that is a manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration object.
    pub config: ImageConfig,
    /// What containers inherit, in the API's words.
    pub inherited: lighter_engine_api::ImageConfig,
    /// Fields of Docker's own in the configuration object.
    pub(crate) docker: DockerFields,
}

/// Fields that Docker's configuration objects have beside OCI's.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(crate) struct DockerFields {
    pub(crate) docker_version: String,
    pub(crate) comment: String,
}

impl Image {
    /// The snapshot that containers of this image stand on: the chain id of its topmost layer. `None` for an image
    /// without layers.
    pub fn chain_id(&self) -> Option<Digest> {
        self.config.chain_id()
    }

    /// The first twelve digits of its id.
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }
}

/// The first twelve digits of a digest.
pub(crate) fn short(digest: &Digest) -> &str {
    let digits = digest.encoded();
    digits.get(..12).unwrap_or(digits)
}

/// A record of the layer: a name and what it points at.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) target: Digest,
    /// Made by `tag`, not by a pull: it has no digest in a registry.
    pub(crate) local: bool,
    pub(crate) created: Timestamp,
}

/// What a user may call an image by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A name; the text as it was given may also be the start of an id.
    Name(Reference),
    /// A whole digest.
    Digest(Digest),
}

impl Wanted {
    /// Reads what a user gave.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let whole = |digits: &str| format!("sha256:{digits}").parse::<Digest>();
        match Reference::parse(text) {
            // `sha256:<64 digits>` is also a valid name; Docker takes it for the digest.
            _ if text.parse::<Digest>().is_ok() => {
                text.parse().map(Self::Digest).map_err(|_| bad_reference())
            }
            Ok(reference) => Ok(Self::Name(reference)),
            Err(ReferenceError::Identifier(_)) => whole(text).map(Self::Digest).map_err(|_| bad_reference()),
            Err(error) => Err(Error::invalid(error.to_string())),
        }
    }

    /// The error for an image that is not here.
    pub(crate) fn missing(&self) -> Error {
        match self {
            Self::Name(reference) => Error::not_found(format!(
                "No such image: {}",
                reference.clone().or_latest().familiar()
            )),
            Self::Digest(digest) => Error::not_found(format!("No such image: {digest}")),
        }
    }
}

fn bad_reference() -> Error {
    Error::invalid("invalid reference format")
}

impl Engine {
    /// The image that `name` leads to: a reference, a whole id or digest, or the beginning of an id.
    pub async fn image(&self, name: &str) -> Result<Arc<Image>> {
        let wanted = Wanted::parse(name)?;
        if let Wanted::Name(reference) = &wanted
            && let Some(image) = self.image_by_reference(reference).await?
        {
            return Ok(image);
        }
        self.image_by_id(name, &wanted)
            .await?
            .ok_or_else(|| wanted.missing())
    }

    async fn image_by_reference(&self, reference: &Reference) -> Result<Option<Arc<Image>>> {
        let full = reference.clone().or_latest().to_string();
        if let Some(record) = self.inner.images.record(&full).await? {
            return match self.inner.images.image(&record.target).await {
                Ok(image) => Ok(Some(image)),
                Err(error) if error.kind == crate::Kind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        // `name@digest` also leads to a tag of that name that points there.
        let Some(digest) = reference.digest() else {
            return Ok(None);
        };
        let name = reference.name();
        for record in self.inner.images.records().await? {
            if names::repository(&record.name) == Some(name.as_str()) && record.target == *digest {
                return self.inner.images.image(&record.target).await.map(Some);
            }
        }
        Ok(None)
    }

    /// The only image whose id, target or manifest begins with `text`.
    async fn image_by_id(&self, text: &str, wanted: &Wanted) -> Result<Option<Arc<Image>>> {
        let start = match wanted {
            Wanted::Digest(digest) => digest.encoded(),
            Wanted::Name(_) => text.strip_prefix("sha256:").unwrap_or(text),
        };
        if start.is_empty()
            || !start
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        {
            return Ok(None);
        }
        let mut found: Option<Arc<Image>> = None;
        for (image, _) in self.images_here().await? {
            let digests = [&image.id, &image.target.digest, &image.manifest_digest];
            if !digests.iter().any(|digest| digest.encoded().starts_with(start)) {
                continue;
            }
            if found.as_ref().is_some_and(|other| other.id != image.id) {
                return Ok(None);
            }
            found = Some(image);
        }
        Ok(found)
    }

    /// Every image that is here whole, with the records that lead to it. Images of which two manifests have one id are one.
    pub(crate) async fn images_here(&self) -> Result<Vec<(Arc<Image>, Vec<Record>)>> {
        let mut images: Vec<(Arc<Image>, Vec<Record>)> = Vec::new();
        for record in self.inner.images.records().await? {
            let image = match self.inner.images.image(&record.target).await {
                Ok(image) => image,
                // A record of another platform, or of no image at all: not for users of this engine.
                Err(error) if error.kind == crate::Kind::NotFound => continue,
                Err(error) => {
                    tracing::warn!(
                        name = record.name,
                        error = error.text(),
                        "an image cannot be read"
                    );
                    continue;
                }
            };
            match images.iter_mut().find(|(other, _)| other.id == image.id) {
                Some((_, records)) => records.push(record),
                None => images.push((image, vec![record])),
            }
        }
        Ok(images)
    }
}

/// A time of the layer as Go prints it.
pub(crate) fn printed(time: Timestamp) -> String {
    match time == Timestamp::UNIX_EPOCH {
        true => go::ZERO_TIME.to_owned(),
        false => go::time(time),
    }
}
