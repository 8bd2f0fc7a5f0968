//! Images as they are listed and shown.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use lighter_engine_api::{
    Filters, GraphDriver, HistoryResponseItem, ImageInspect, ImageMetadata, ImageSummary, RootFs, go,
};
use lighter_oci::{Digest, Reference};

use super::{Image, Record, SNAPSHOTTER, names, printed};
use crate::{Engine, Error, Result};

/// The keys that `filters` of a list may have.
const FILTERS: &[&str] = &["dangling", "label", "before", "since", "reference", "until"];

/// What a list of images is to hold.
#[derive(Debug, Clone, Default)]
pub struct ImageListOptions {
    /// Also those that only others stand on. There are none here: kept for the API's sake.
    pub all: bool,
    /// Whether `SharedSize` is to be counted.
    pub shared_size: bool,
    /// Which.
    pub filters: Filters,
}

impl Engine {
    /// The images that are here, the newest first.
    pub async fn image_list(&self, options: ImageListOptions) -> Result<Vec<ImageSummary>> {
        let filters = &options.filters;
        filters.check(FILTERS).map_err(Error::invalid)?;
        let dangling = filters.flag("dangling").map_err(Error::invalid)?;
        let (after, before) = (
            self.created_of(filters, "since").await?,
            self.created_of(filters, "before").await?,
        );
        let images = self.images_here().await?;
        let users = self.image_users();
        let shared = match options.shared_size {
            true => self.shared_layers(&images),
            false => HashMap::new(),
        };
        let mut list = Vec::new();
        for (image, records) in &images {
            let created = created(image);
            let labels = image.inherited.labels.clone();
            let (mut repo_tags, mut repo_digests) = names::shown(records);
            let nameless = repo_tags.is_empty() && repo_digests.is_empty();
            // An image is listed under those of its names only that were asked for.
            repo_tags.retain(|tag| filters.any("reference", |pattern| matches(pattern, tag)));
            repo_digests.retain(|digest| filters.any("reference", |pattern| matches(pattern, digest)));
            let chosen = dangling.is_none_or(|dangling| dangling == nameless)
                && after.is_none_or(|after| created > after)
                && before.is_none_or(|before| created < before)
                && filters.labels(labels.as_ref().unwrap_or(&BTreeMap::new()))
                && !(filters.contains("reference") && repo_tags.is_empty() && repo_digests.is_empty());
            if !chosen {
                continue;
            }
            let sizes = self.inner.images.layer_sizes(image).await?;
            let chains = lighter_oci::chain_ids(&image.config.rootfs.diff_ids);
            let shared_size = match options.shared_size {
                true => chains
                    .iter()
                    .zip(&sizes)
                    .filter(|(chain, _)| shared.get(chain).is_some_and(|users| *users > 1))
                    .map(|(_, size)| size)
                    .sum(),
                false => -1,
            };
            list.push(ImageSummary {
                containers: users.get(image.id.as_str()).map_or(0, |users| users.len() as i64),
                created: created.as_second(),
                id: image.id.to_string(),
                labels,
                parent_id: String::new(),
                repo_digests,
                repo_tags,
                shared_size,
                size: sizes.iter().sum(),
                descriptor: None,
            });
        }
        list.sort_by(|one, two| two.created.cmp(&one.created).then_with(|| one.id.cmp(&two.id)));
        Ok(list)
    }

    /// When the image that the filter `key` names was made.
    async fn created_of(&self, filters: &Filters, key: &str) -> Result<Option<Timestamp>> {
        match filters.values(key).first() {
            Some(name) => Ok(Some(created(&*self.image(name).await?))),
            None => Ok(None),
        }
    }

    /// In how many images each layer is.
    fn shared_layers(&self, images: &[(std::sync::Arc<Image>, Vec<Record>)]) -> HashMap<Digest, usize> {
        let mut users = HashMap::new();
        for (image, _) in images {
            for chain in lighter_oci::chain_ids(&image.config.rootfs.diff_ids) {
                *users.entry(chain).or_default() += 1;
            }
        }
        users
    }

    /// Everything about an image.
    pub async fn image_inspect(&self, name: &str) -> Result<ImageInspect> {
        let image = self.image(name).await?;
        let records = self.records_of(&image).await?;
        let (repo_tags, repo_digests) = names::shown(&records);
        let tagged = records
            .iter()
            .filter(|record| record.local)
            .map(|record| record.created)
            .max();
        let config = &image.config;
        let last_comment = || {
            config
                .history
                .last()
                .map(|step| step.comment.clone())
                .unwrap_or_default()
        };
        Ok(ImageInspect {
            id: image.id.to_string(),
            repo_tags,
            repo_digests,
            parent: String::new(),
            comment: match image.docker.comment.is_empty() {
                true => last_comment(),
                false => image.docker.comment.clone(),
            },
            created: config.created.clone().unwrap_or_else(|| go::ZERO_TIME.into()),
            docker_version: image.docker.docker_version.clone(),
            author: config.author.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            os_version: config.os_version.clone(),
            size: self.inner.images.layer_sizes(&image).await?.iter().sum(),
            graph_driver: GraphDriver {
                data: None,
                name: SNAPSHOTTER.into(),
            },
            root_fs: RootFs {
                kind: "layers".into(),
                layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
            },
            metadata: ImageMetadata {
                last_tag_time: tagged.map_or_else(|| go::ZERO_TIME.into(), printed),
            },
            descriptor: None,
            config: Some(image.inherited.clone()),
        })
    }

    /// The steps that made an image, the last first.
    pub async fn image_history(&self, name: &str) -> Result<Vec<HistoryResponseItem>> {
        let image = self.image(name).await?;
        let (tags, _) = names::shown(&self.records_of(&image).await?);
        let mut sizes = self.inner.images.layer_sizes(&image).await?.into_iter();
        let mut steps: Vec<_> = image
            .config
            .history
            .iter()
            .map(|step| HistoryResponseItem {
                comment: step.comment.clone(),
                created: seconds(step.created.as_deref()),
                created_by: step.created_by.clone(),
                id: "<missing>".into(),
                size: if step.empty_layer {
                    0
                } else {
                    sizes.next().unwrap_or(0)
                },
                tags: None,
            })
            .collect();
        steps.reverse();
        if let Some(last) = steps.first_mut() {
            last.id = image.id.to_string();
            last.tags = (!tags.is_empty()).then_some(tags);
        }
        Ok(steps)
    }

    /// The records that lead to an image.
    pub(crate) async fn records_of(&self, image: &Image) -> Result<Vec<Record>> {
        let found = self
            .images_here()
            .await?
            .into_iter()
            .find(|(other, _)| other.id == image.id);
        Ok(found.map(|(_, records)| records).unwrap_or_default())
    }
}

fn created(image: &Image) -> Timestamp {
    image
        .config
        .created
        .as_deref()
        .and_then(|time| time.parse().ok())
        // What says nothing is as old as Go's zero time, which clients print as long ago.
        .unwrap_or_else(|| Timestamp::from_second(-62_135_596_800).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<Timestamp>().ok())
        .map_or(0, Timestamp::as_second)
}

/// Whether a familiar name (`a/b:c`) matches a pattern of the `reference` filter: with a tag the whole, without one the
/// name; `*` and `?` do not cross a slash.
fn matches(pattern: &str, name: &str) -> bool {
    let bare = Reference::parse(name)
        .map(|reference| reference.familiar_name())
        .unwrap_or_default();
    glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.as_bytes(), bare.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), Some((byte, tail))) => glob(rest, text) || *byte != b'/' && glob(pattern, tail),
        (Some((b'*', rest)), None) => glob(rest, text),
        (Some((b'?', rest)), Some((byte, tail))) if *byte != b'/' => glob(rest, tail),
        (Some((wanted, rest)), Some((byte, tail))) if wanted == byte => glob(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_reference_filter() {
        for (pattern, name, expected) in [
            ("busybox", "busybox:latest", true),
            ("busy*", "busybox:latest", true),
            ("*:latest", "busybox:latest", true),
            ("busybox:1*", "busybox:latest", false),
            ("*", "me/app:1", false),
            ("me/*", "me/app:1", true),
            ("*/*:?", "me/app:1", true),
            ("box", "busybox:latest", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
