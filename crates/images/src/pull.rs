//! A reference to an image in the stores.

use std::sync::Arc;

use bytes::Bytes;
use lighter_content::ContentStore;
use lighter_oci::{Descriptor, Digest, Document, ImageConfig, Manifest, Platform, Reference};
use lighter_registry::{Client, Repository};
use lighter_snapshots::Snapshotter;
use lighter_stdx::kind::Kind;

use crate::progress::Progress;
use crate::read::{MOST_NESTING, MOST_OF_CONFIG, MOST_OF_MANIFEST, parse, parse_config};
use crate::{Error, Result, fetch, labels, layers};

/// Where an image goes. Both stores are given as a lease sees them, which the caller holds until the image's record is written: what is
/// brought, and what was there and is counted on, is kept by it.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The blobs.
    pub content: Arc<dyn ContentStore>,
    /// Where to unpack to, if at all.
    pub unpack: Option<Unpack>,
}

/// Where layers are unpacked.
#[derive(Debug, Clone)]
pub struct Unpack {
    /// The snapshotter's name, as labels have it: `overlayfs`.
    pub name: String,
    /// The snapshotter.
    pub snapshots: Arc<dyn Snapshotter>,
    /// Most bytes that one layer may have, uncompressed.
    pub limit: u64,
}

/// What to pull.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image; without tag and digest, `latest`.
    pub reference: Reference,
    /// For what platform.
    pub platform: Platform,
}

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The name that its record should have.
    pub name: String,
    /// What the reference names: an index or a manifest. The record's target.
    pub target: Descriptor,
    /// The manifest for the platform.
    pub manifest: Descriptor,
    /// The image's id as Docker shows it: its config.
    pub config: Digest,
    /// The snapshot of all layers; `None` for an image without layers.
    pub chain_id: Option<Digest>,
}

/// Pulls an image. All of it is there afterwards, both hashes of each layer checked; only the record is missing, which is the caller's to
/// write. What was there is not fetched again. After a failure nothing half-made is there; but where only the way to the registry failed,
/// ingests stay, which the next pull resumes (the collector gives them up after a day). Where the disk is full, those of earlier pulls go too.
/// Dropping the future stops it, and is such a failure; what it had made goes with the lease.
pub async fn pull(
    client: &Client,
    stores: &Stores,
    request: &Request,
    progress: &Progress,
) -> Result<Pulled> {
    let result = bring(client, stores, request, progress).await;
    if result
        .as_ref()
        .is_err_and(|error| error.kind() == Kind::Exhausted)
    {
        fetch::abort_idle(stores.content.as_ref()).await;
    }
    result
}

async fn bring(client: &Client, stores: &Stores, request: &Request, progress: &Progress) -> Result<Pulled> {
    let reference = request.reference.clone().or_latest();
    let repository = Arc::new(client.repository(&reference)?);
    let resolved = repository.resolve(&reference).await?;
    let content = stores.content.as_ref();
    let target = resolved.descriptor;
    let (descriptor, manifest) =
        manifest(&repository, content, &target, resolved.body, &request.platform).await?;
    let config = config(&repository, stores, &manifest).await?;
    // Before anybody looks what layers are there: from now on the lease keeps them, through the config.
    let chain_id = config.chain_id();
    if let (Some(unpack), Some(chain_id)) = (&stores.unpack, &chain_id) {
        labels::add(
            content,
            &manifest.config.digest,
            labels::snapshot(&unpack.name, chain_id),
        )
        .await?;
    }
    layers::bring(&repository, stores, &manifest, &config, progress).await?;
    Ok(Pulled {
        name: reference.to_string(),
        target,
        manifest: descriptor,
        config: manifest.config.digest.clone(),
        chain_id,
    })
}

/// The manifest for `platform` that `target` is or leads to, all documents on the way stored.
async fn manifest(
    repository: &Repository,
    content: &dyn ContentStore,
    target: &Descriptor,
    body: Option<Bytes>,
    platform: &Platform,
) -> Result<(Descriptor, Manifest)> {
    let (mut descriptor, mut body) = (target.clone(), body);
    for _ in 0..=MOST_NESTING {
        let kind = if lighter_oci::media_type::is_index(&descriptor.media_type) {
            "index"
        } else {
            "manifest"
        };
        let bytes = fetch::document(
            repository,
            content,
            &descriptor,
            body.take(),
            kind,
            MOST_OF_MANIFEST,
        )
        .await?;
        let document = parse(&descriptor.digest, &bytes)?;
        labels::add(content, &descriptor.digest, labels::children(&document)).await?;
        match document {
            Document::Manifest(manifest) => return Ok((descriptor, *manifest)),
            Document::Index(index) => match index.matching(platform).first() {
                Some(best) => descriptor = (*best).clone(),
                None => {
                    return Err(Error::NoPlatform {
                        platform: platform.clone(),
                    });
                }
            },
        }
    }
    Err(Error::Document {
        digest: target.digest.clone(),
        why: "indexes in indexes in indexes".into(),
    })
}

async fn config(repository: &Repository, stores: &Stores, manifest: &Manifest) -> Result<ImageConfig> {
    let content = stores.content.as_ref();
    let bytes = fetch::document(
        repository,
        content,
        &manifest.config,
        None,
        "config",
        MOST_OF_CONFIG,
    )
    .await?;
    match parse_config(manifest, &bytes) {
        // Other artifacts are fine as long as nothing need be unpacked.
        Err(Error::NotAnImage(_)) if stores.unpack.is_none() => Ok(ImageConfig::default()),
        result => result,
    }
}
