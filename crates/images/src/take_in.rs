//! Images that are in the content store, but for which nothing is labelled, looked at or unpacked yet.

use lighter_content::{ContentStore, Error as ContentError, read_blob};
use lighter_oci::{Descriptor, Document, ImageConfig, Manifest, Platform, media_type};

use crate::progress::Progress;
use crate::pull::{Stores, Unpack};
use crate::push::is_kept_back;
use crate::read::{MOST_NESTING, MOST_OF_CONFIG, MOST_OF_MANIFEST, parse, parse_config};
use crate::{Error, Result, labels, layers};

/// What shall be taken in.
#[derive(Debug, Clone, Default)]
pub struct TakeIn {
    /// Of the images only what is for these, all of it; none: whatever is there.
    pub platforms: Vec<Platform>,
    /// What is unpacked where.
    pub unpacks: Vec<(Platform, Unpack)>,
}

/// Labels what the index `target` leads to, looks whether it is there, and unpacks it. Gives the index's own entries.
pub async fn take_in(
    content: &std::sync::Arc<dyn ContentStore>,
    target: &Descriptor,
    wanted: &TakeIn,
    progress: &Progress,
) -> Result<Vec<Descriptor>> {
    let mut entries = Vec::new();
    let (mut is_empty, mut missing) = (true, None);
    let mut found = vec![(target.clone(), 0)];
    while let Some((descriptor, depth)) = found.pop() {
        let (digest, of) = (&descriptor.digest, target.digest.as_str());
        let body = read_blob(content.as_ref(), digest, MOST_OF_MANIFEST).await;
        let body = body.map_err(|source| part(format!("the manifest {digest}"), of, source))?;
        let document = parse(digest, &body)?;
        labels::add(content.as_ref(), digest, labels::children(&document)).await?;
        match document {
            Document::Index(index) => {
                if depth > MOST_NESTING {
                    return Err(Error::Document {
                        digest: digest.clone(),
                        why: "indexes in indexes in indexes".into(),
                    });
                }
                if depth == 0 {
                    entries.clone_from(&index.manifests);
                }
                let is_wanted = |descriptor: &Descriptor| match &descriptor.platform {
                    _ if wanted.platforms.is_empty() => true,
                    None => true,
                    Some(platform) => wanted.platforms.iter().any(|wanted| wanted.matches(platform)),
                };
                let is_document = |kind: &str| {
                    kind.is_empty() || media_type::is_index(kind) || media_type::is_manifest(kind)
                };
                let below = index.manifests.into_iter().rev();
                let below = below.filter(|child| is_wanted(child) && is_document(&child.media_type));
                found.extend(below.map(|child| (child, depth + 1)));
            }
            Document::Manifest(manifest) => match whole(content.as_ref(), &manifest).await? {
                None => {
                    is_empty = false;
                    unpack(content, &manifest, wanted, progress).await?;
                }
                Some((digest, source)) => {
                    missing.get_or_insert(part(
                        format!("content {digest}"),
                        descriptor.digest.as_str(),
                        source,
                    ));
                }
            },
        }
    }
    match missing {
        // Archives of all platforms may hold one whole, and of the others the manifests.
        Some(missing) if is_empty || !wanted.platforms.is_empty() => Err(missing),
        None if is_empty => Err(Error::NothingToImport),
        _ => Ok(entries),
    }
}

/// The first part of the image that is not there.
async fn whole(
    content: &dyn ContentStore,
    manifest: &Manifest,
) -> Result<Option<(lighter_oci::Digest, ContentError)>> {
    let parts = std::iter::once(&manifest.config).chain(&manifest.layers);
    for part in parts.filter(|part| !is_kept_back(&part.media_type)) {
        match content.info(&part.digest).await {
            Ok(_) => {}
            Err(error @ ContentError::NoContent(_)) => return Ok(Some((part.digest.clone(), error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Unpacks an image whose parts are all there, if it is for one of the platforms that are unpacked.
async fn unpack(
    content: &std::sync::Arc<dyn ContentStore>,
    manifest: &Manifest,
    wanted: &TakeIn,
    progress: &Progress,
) -> Result<()> {
    if wanted.unpacks.is_empty() || !media_type::is_config(&manifest.config.media_type) {
        return Ok(());
    }
    let body = read_blob(content.as_ref(), &manifest.config.digest, MOST_OF_CONFIG).await?;
    let config: ImageConfig = parse_config(manifest, &body)?;
    for (platform, unpack) in &wanted.unpacks {
        if platform.matches(&config.platform()) {
            let stores = Stores {
                content: std::sync::Arc::clone(content),
                unpack: Some(unpack.clone()),
            };
            layers::unpack_stored(&stores, unpack, manifest, &config, progress).await?;
        }
    }
    Ok(())
}

fn part(what: String, of: &str, source: ContentError) -> Error {
    Error::Part {
        what,
        of: of.to_owned(),
        source,
    }
}
