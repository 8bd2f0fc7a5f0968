//! The layer's records and blobs, read; what a digest holds is kept.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lighter_containerd_api::{content, images, snapshots, types};
use lighter_oci::{Descriptor, Digest, Document, Manifest, Platform};
use prost_types::FieldMask;

use super::{DockerFields, Image, Record, SNAPSHOTTER, names};
use crate::layer::Layer;
use crate::{Error, Kind, Result};

/// The longest manifest, index or configuration that is read, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;

/// Access to the layer's images.
#[derive(Debug)]
pub(crate) struct Store {
    layer: Layer,
    platform: Platform,
    /// By target.
    images: Mutex<HashMap<Digest, Arc<Image>>>,
    /// Bytes of a committed snapshot, by chain id.
    sizes: Mutex<HashMap<Digest, i64>>,
}

impl Store {
    /// The images of `layer` that run on this machine.
    pub(crate) fn new(layer: Layer) -> Self {
        Self {
            layer,
            platform: Platform::host(),
            images: Mutex::default(),
            sizes: Mutex::default(),
        }
    }

    pub(crate) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The record of that full name.
    pub(crate) async fn record(&self, name: &str) -> Result<Option<Record>> {
        let asked = images::GetImageRequest {
            name: name.to_owned(),
        };
        match self.layer.images().get(asked).await {
            Ok(found) => Ok(found.into_inner().image.and_then(read_record)),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(Error::from_layer(&status)),
        }
    }

    /// All records, by name.
    pub(crate) async fn records(&self) -> Result<Vec<Record>> {
        let asked = images::ListImagesRequest::default();
        let found = self
            .layer
            .images()
            .list(asked)
            .await
            .map_err(|status| Error::from_layer(&status))?;
        let mut records: Vec<_> = found
            .into_inner()
            .images
            .into_iter()
            .filter_map(read_record)
            .collect();
        records.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        self.forget_all_but(&records);
        Ok(records)
    }

    /// Lets go of images that no record leads to any more.
    fn forget_all_but(&self, records: &[Record]) {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if images.len() <= records.len() {
            return;
        }
        let named: HashSet<&Digest> = records.iter().map(|record| &record.target).collect();
        images.retain(|target, _| named.contains(target));
    }

    /// Makes a record, or points it elsewhere.
    pub(crate) async fn put(&self, name: &str, target: &Descriptor, local: bool) -> Result<()> {
        let image = images::Image {
            name: name.to_owned(),
            labels: local
                .then(|| (names::LOCAL.to_owned(), "1".to_owned()))
                .into_iter()
                .collect(),
            target: Some(types::Descriptor {
                media_type: target.media_type.clone(),
                digest: target.digest.to_string(),
                size: i64::try_from(target.size).unwrap_or(i64::MAX),
                annotations: target.annotations.clone().into_iter().collect(),
            }),
            created_at: None,
            updated_at: None,
        };
        let create = images::CreateImageRequest {
            image: Some(image.clone()),
            source_date_epoch: None,
        };
        match self.layer.images().create(create).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => {}
            Err(status) => return Err(Error::from_layer(&status)),
        }
        let update = images::UpdateImageRequest {
            image: Some(image),
            update_mask: Some(FieldMask {
                paths: vec!["target".into(), "labels".into()],
            }),
            source_date_epoch: None,
        };
        self.layer
            .images()
            .update(update)
            .await
            .map(drop)
            .map_err(|status| Error::from_layer(&status))
    }

    /// Removes a record. With `collect` what it alone kept is gone when this returns.
    pub(crate) async fn delete(&self, name: &str, collect: bool) -> Result<()> {
        let asked = images::DeleteImageRequest {
            name: name.to_owned(),
            sync: collect,
            target: None,
        };
        match self.layer.images().delete(asked).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            Err(status) => Err(Error::from_layer(&status)),
        }
    }

    /// The image that records with this target lead to, on this machine's platform.
    pub(crate) async fn image(&self, target: &Digest) -> Result<Arc<Image>> {
        if let Some(image) = self
            .images
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(target)
        {
            return Ok(image.clone());
        }
        let image = Arc::new(self.read_image(target).await?);
        self.images
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(target.clone(), image.clone());
        Ok(image)
    }

    async fn read_image(&self, target: &Digest) -> Result<Image> {
        let bytes = self.blob(target).await?;
        let size = bytes.len() as u64;
        let (media_type, manifest_digest, manifest) = match parse(target, &bytes)? {
            Document::Manifest(manifest) => (manifest.media_type.clone(), target.clone(), *manifest),
            Document::Index(index) => {
                let (digest, manifest) = self.choose(target, &index).await?;
                (index.media_type.clone(), digest, manifest)
            }
        };
        let raw = self.blob(&manifest.config.digest).await?;
        let broken = |error: serde_json::Error| {
            Error::system(format!(
                "the image configuration {} is not valid",
                manifest.config.digest
            ))
            .with_source(error)
        };
        let config: lighter_oci::ImageConfig = serde_json::from_slice(&raw).map_err(broken)?;
        let inherited = inherited(&raw).unwrap_or_default();
        let docker: DockerFields = serde_json::from_slice(&raw).unwrap_or_default();
        Ok(Image {
            id: manifest.config.digest.clone(),
            target: Descriptor::new(media_type.unwrap_or_default(), target.clone(), size),
            manifest_digest,
            manifest,
            config,
            inherited,
            docker,
        })
    }

    /// The first manifest of an index that this machine can run and that is here; else, of a pull for another platform,
    /// the first that is here at all.
    async fn choose(&self, target: &Digest, index: &lighter_oci::Index) -> Result<(Digest, Manifest)> {
        let own = index.matching(&self.platform);
        let named = |candidate: &&Descriptor| {
            candidate
                .platform
                .as_ref()
                .is_some_and(|platform| platform.os != "unknown")
        };
        for candidate in own.into_iter().chain(index.manifests.iter().filter(named)) {
            match self.blob(&candidate.digest).await {
                Ok(bytes) => {
                    if let Document::Manifest(manifest) = parse(&candidate.digest, &bytes)? {
                        return Ok((candidate.digest.clone(), *manifest));
                    }
                }
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::not_found(format!(
            "the index {target} has no image for {}/{} here",
            self.platform.os, self.platform.architecture
        )))
    }

    /// The whole of a blob.
    pub(crate) async fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let layer = |status: tonic::Status| Error::from_layer(&status);
        let asked = content::ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let mut parts = self
            .layer
            .content()
            .read(asked)
            .await
            .map_err(layer)?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await.map_err(layer)? {
            bytes.extend_from_slice(&part.data);
            if bytes.len() > MAX_DOCUMENT {
                return Err(Error::system(format!("the document {digest} is too large")));
            }
        }
        Ok(bytes)
    }

    /// Bytes on disk of each layer, the lowest first. What is not unpacked counts as large as its blob.
    pub(crate) async fn layer_sizes(&self, image: &Image) -> Result<Vec<i64>> {
        let mut sizes = Vec::new();
        for (number, chain) in lighter_oci::chain_ids(&image.config.rootfs.diff_ids)
            .into_iter()
            .enumerate()
        {
            let known = self
                .sizes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&chain)
                .copied();
            if let Some(size) = known {
                sizes.push(size);
                continue;
            }
            let asked = snapshots::UsageRequest {
                snapshotter: SNAPSHOTTER.into(),
                key: chain.to_string(),
            };
            match self.layer.snapshots().usage(asked).await {
                Ok(usage) => {
                    let size = usage.into_inner().size;
                    self.sizes
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(chain, size);
                    sizes.push(size);
                }
                Err(status) if status.code() == tonic::Code::NotFound => {
                    let blob = image.manifest.layers.get(number).map_or(0, |layer| layer.size);
                    sizes.push(i64::try_from(blob).unwrap_or(i64::MAX));
                }
                Err(status) => return Err(Error::from_layer(&status)),
            }
        }
        Ok(sizes)
    }
}

fn parse(digest: &Digest, bytes: &[u8]) -> Result<Document> {
    Document::parse(bytes)
        .map_err(|error| Error::system(format!("the manifest {digest} is not valid")).with_source(error))
}

/// The part of a configuration object that containers inherit.
fn inherited(raw: &[u8]) -> Option<lighter_engine_api::ImageConfig> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Document {
        config: lighter_engine_api::ImageConfig,
    }
    lighter_engine_api::go::from_slice::<Document>(raw)
        .ok()
        .map(|document| document.config)
}

fn read_record(image: images::Image) -> Option<Record> {
    let target = image.target?.digest.parse().ok()?;
    let created = image
        .created_at
        .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let local = image.labels.contains_key(names::LOCAL);
    Some(Record {
        name: image.name,
        target,
        local,
        created,
    })
}
