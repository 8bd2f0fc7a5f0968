//! What an index holds for other platforms.

use std::sync::Arc;

use lighter_content::ContentStore;
use lighter_oci::{Descriptor, Document, ImageConfig, Reference, media_type};
use lighter_registry::Client;

use crate::progress::Progress;
use crate::pull::Stores;
use crate::read::{MOST_NESTING, MOST_OF_CONFIG, MOST_OF_MANIFEST, parse};
use crate::{Error, Result, fetch, labels, layers};

/// How much of an image for several platforms is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// All of it; nothing is unpacked.
    All,
    /// Manifests and configs: with them the image can be shown whole, and pushed to where the layers are.
    Metadata,
}

/// Fetches what is not there of all that `reference` leads to; gives what it names.
pub async fn pull_rest(
    client: &Client,
    content: &Arc<dyn ContentStore>,
    reference: &Reference,
    rest: Rest,
    progress: &Progress,
) -> Result<Descriptor> {
    let reference = reference.clone().or_latest();
    let repository = Arc::new(client.repository(&reference)?);
    let resolved = repository.resolve(&reference).await?;
    let (target, mut body) = (resolved.descriptor, resolved.body);
    let stores = Stores {
        content: Arc::clone(content),
        unpack: None,
    };
    let content = content.as_ref();
    let mut found = vec![(target.clone(), 0)];
    while let Some((descriptor, depth)) = found.pop() {
        let kind = if media_type::is_index(&descriptor.media_type) {
            "index"
        } else {
            "manifest"
        };
        let (limit, known) = (MOST_OF_MANIFEST, body.take());
        let bytes = fetch::document(&repository, content, &descriptor, known, kind, limit).await?;
        let document = parse(&descriptor.digest, &bytes)?;
        labels::add(content, &descriptor.digest, labels::children(&document)).await?;
        match document {
            Document::Index(index) if depth < MOST_NESTING => {
                let below = index.manifests.into_iter().rev();
                found.extend(below.map(|child| (child, depth + 1)));
            }
            Document::Index(_) => {
                return Err(Error::Document {
                    digest: descriptor.digest,
                    why: "indexes in indexes in indexes".into(),
                });
            }
            Document::Manifest(manifest) => {
                let config = &manifest.config;
                fetch::document(&repository, content, config, None, "config", MOST_OF_CONFIG).await?;
                if rest == Rest::All {
                    let config = ImageConfig::default();
                    layers::bring(&repository, &stores, &manifest, &config, progress).await?;
                }
            }
        }
    }
    Ok(target)
}
