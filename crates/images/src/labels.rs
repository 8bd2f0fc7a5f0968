//! The labels that a pull hangs on blobs, as containerd does.

use std::collections::BTreeMap;

use lighter_content::gc::{CONTENT_LABEL, SNAPSHOT_LABEL};
use lighter_content::{ContentStore, Labels};
use lighter_oci::{Digest, Document, media_type};
use lighter_registry::Repository;

use crate::Result;

/// Where a blob came from: `…<host>` = repositories, joined by commas. A push to the same registry can mount it from there.
pub const SOURCE_LABEL: &str = "containerd.io/distribution.source.";
/// On a compressed layer: the digest of what it holds.
pub const UNCOMPRESSED_LABEL: &str = "containerd.io/uncompressed";

/// The label for a blob that comes from `repository`.
pub(crate) fn source(repository: &Repository) -> Labels {
    Labels::from([(source_of(repository.domain()), repository.name().to_owned())])
}

/// The label that tells which repositories of the registry `domain` a blob comes from.
pub(crate) fn source_of(domain: &str) -> String {
    // Without the port, as containerd has it.
    let host = match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => domain,
    };
    let host = host.trim_matches(['[', ']']);
    format!("{SOURCE_LABEL}{host}")
}

/// The labels by which a document keeps what it points at: each sort has a letter, and is counted by itself; what is of none, such as an index
/// within an index, has none. Source: containerd, `images.ChildGCLabels`.
pub(crate) fn children(document: &Document) -> Labels {
    let mut counts = BTreeMap::new();
    let labels = document.children().into_iter().map(|child| {
        let sort = match child.media_type.as_str() {
            kind if media_type::is_config(kind) => return (format!("{CONTENT_LABEL}.config"), child),
            kind if media_type::is_manifest(kind) => "m.",
            kind if media_type::is_layer(kind) => "l.",
            _ => "",
        };
        let at: &mut usize = counts.entry(sort).or_default();
        *at += 1;
        (format!("{CONTENT_LABEL}.{sort}{}", *at - 1), child)
    });
    labels
        .map(|(label, child)| (label, child.digest.to_string()))
        .collect()
}

/// The label by which a config keeps the snapshot that was made of its layers.
pub(crate) fn snapshot(snapshotter: &str, chain_id: &Digest) -> Labels {
    Labels::from([(format!("{SNAPSHOT_LABEL}{snapshotter}"), chain_id.to_string())])
}

/// Adds `labels` to those of a blob that is there; a source is added to the sources that it has. Nothing is written when
/// nothing changes.
pub(crate) async fn add(content: &dyn ContentStore, digest: &Digest, labels: Labels) -> Result<()> {
    let old = content.info(digest).await?.labels;
    let mut changed = Labels::new();
    for (name, value) in labels {
        let value = match old.get(&name) {
            Some(old) if name.starts_with(SOURCE_LABEL) && !old.split(',').any(|one| one == value) => {
                format!("{old},{value}")
            }
            Some(old) if name.starts_with(SOURCE_LABEL) => old.clone(),
            _ => value,
        };
        if old.get(&name) != Some(&value) {
            changed.insert(name, value);
        }
    }
    if !changed.is_empty() {
        let fields: Vec<String> = changed.keys().map(|name| format!("labels.{name}")).collect();
        content.update(digest, changed, &fields).await?;
    }
    Ok(())
}
