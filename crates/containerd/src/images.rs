//! Image records: names of manifests and indexes.

use jiff::Timestamp;
use lighter_meta::filter::Filters;
use lighter_meta::{Db, Durability, Read};
use lighter_oci::Descriptor;
use lighter_stdx::clock::Clock;
use serde::{Deserialize, Serialize};

use crate::containers::Labels;
use crate::event_types::{Event as _, ImageCreate, ImageDelete, ImageUpdate};
use crate::events::Bus;
use crate::{Error, Kind, Result};

/// An image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Its name: a whole reference.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// The manifest or index that it names.
    pub target: Descriptor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The images of all namespaces.
#[derive(Debug, Clone)]
pub struct Images {
    db: Db,
    clock: Clock,
    bus: Bus,
}

/// The bucket of a namespace's images.
pub(crate) fn bucket(namespace: &str) -> String {
    format!("v1/{namespace}/images")
}

impl Images {
    pub(crate) fn new(db: &Db, clock: &Clock, bus: &Bus) -> Images {
        Images {
            db: db.clone(),
            clock: clock.clone(),
            bus: bus.clone(),
        }
    }

    /// The image of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Result<Image> {
        let found = self
            .db
            .read(|tx| tx.get_json(&bucket(namespace), name).map_err(Error::from))?;
        found.ok_or_else(|| Error::not_found("image", name))
    }

    /// The images that one of `filters` selects (fields: `name`, `target.digest`, `target.mediatype`, `labels."key"`), in the order of their names.
    pub fn list(&self, namespace: &str, filters: &[String]) -> Result<Vec<Image>> {
        let filters = Filters::parse(filters)
            .map_err(|error| Error::invalid("filter", error.filter.clone(), error.to_string()))?;
        let all: Vec<(String, Image)> = self
            .db
            .read(|tx| tx.list_json(&bucket(namespace), "").map_err(Error::from))?;
        let selected = all.into_iter().map(|(_, image)| image).filter(|image| {
            filters.matches(&|path| match path {
                ["name"] => Some(image.name.as_str()),
                ["target", "digest"] => Some(image.target.digest.as_str()),
                ["target", "mediatype"] => Some(image.target.media_type.as_str()),
                ["labels" | "annotations", key] => image.labels.get(*key).map(String::as_str),
                _ => None,
            })
        });
        Ok(selected.collect())
    }

    /// Makes an image. Durable.
    pub async fn create(
        &self,
        namespace: &str,
        name: &str,
        labels: Labels,
        target: Descriptor,
    ) -> Result<Image> {
        let image = self.new_image(name, labels, target)?;
        let bucket = bucket(namespace);
        let image = self
            .db
            .write_async(Durability::Power, move |tx| {
                if tx.get(&bucket, &image.name)?.is_some() {
                    return Err(Error::AlreadyExists {
                        what: "image",
                        name: image.name,
                    });
                }
                tx.put_json(&bucket, &image.name, &image)?;
                Ok(image)
            })
            .await?;
        let event = ImageCreate {
            name: image.name.clone(),
            labels: image.labels.clone(),
        };
        self.bus.publish(namespace, ImageCreate::TOPIC, event.to_any());
        Ok(image)
    }

    /// Makes an image, or points the one of this name to another target. Durable.
    pub async fn put(
        &self,
        namespace: &str,
        name: &str,
        labels: Labels,
        target: Descriptor,
    ) -> Result<Image> {
        let mut image = self.new_image(name, labels, target)?;
        let bucket = bucket(namespace);
        let (image, existed) = self
            .db
            .write_async(Durability::Power, move |tx| {
                let old: Option<Image> = tx.get_json(&bucket, &image.name)?;
                if let Some(old) = &old {
                    image.created_at = old.created_at;
                }
                tx.put_json(&bucket, &image.name, &image)?;
                Ok::<_, Error>((image, old.is_some()))
            })
            .await?;
        let (name, labels) = (image.name.clone(), image.labels.clone());
        if existed {
            self.bus.publish(
                namespace,
                ImageUpdate::TOPIC,
                ImageUpdate { name, labels }.to_any(),
            );
        } else {
            self.bus.publish(
                namespace,
                ImageCreate::TOPIC,
                ImageCreate { name, labels }.to_any(),
            );
        }
        Ok(image)
    }

    /// Changes an image. `fields` as containerd's field mask (none: labels and target): `labels`, `labels.KEY`, `target`. Durable.
    pub async fn update(
        &self,
        namespace: &str,
        name: &str,
        labels: Labels,
        target: Option<Descriptor>,
        fields: Vec<String>,
    ) -> Result<Image> {
        let (bucket, name, now) = (bucket(namespace), name.to_owned(), self.clock.now());
        let image = self
            .db
            .write_async(Durability::Power, move |tx| {
                let mut image: Image = tx
                    .get_json(&bucket, &name)?
                    .ok_or_else(|| Error::not_found("image", &name))?;
                let target = target
                    .ok_or_else(|| Error::invalid("image", &name, "its target is missing"))
                    .and_then(|target| check_target(&name, &target).map(|()| target));
                if fields.is_empty() {
                    image.labels = lighter_content::labels::checked(labels)?;
                    image.target = target?;
                } else {
                    // Masks may also name parts of the target; it is replaced as a whole.
                    let (targets, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|field| {
                        field == "target" || field.starts_with("target.") || field.starts_with("annotations")
                    });
                    if !targets.is_empty() {
                        image.target = target?;
                    }
                    if !others.is_empty() {
                        lighter_content::labels::update(&mut image.labels, labels, &others)?;
                    }
                }
                image.updated_at = now;
                tx.put_json(&bucket, &image.name, &image)?;
                Ok::<_, Error>(image)
            })
            .await?;
        let event = ImageUpdate {
            name: image.name.clone(),
            labels: image.labels.clone(),
        };
        self.bus.publish(namespace, ImageUpdate::TOPIC, event.to_any());
        Ok(image)
    }

    /// Removes an image's record; only if it still names `target`, when one is given. Durable.
    pub async fn delete(&self, namespace: &str, name: &str, target: Option<String>) -> Result<()> {
        let (bucket, key) = (bucket(namespace), name.to_owned());
        self.db
            .write_async(Durability::Power, move |tx| {
                let image: Image = tx
                    .get_json(&bucket, &key)?
                    .ok_or_else(|| Error::not_found("image", &key))?;
                if target.is_some_and(|target| target != image.target.digest.as_str()) {
                    // containerd's kind: the image that was meant is not there.
                    return Err(Error::Answer {
                        kind: Kind::NotFound,
                        message: format!("image {key:?} has another target now: {}", image.target.digest),
                    });
                }
                tx.delete(&bucket, &key)?;
                Ok(())
            })
            .await?;
        let event = ImageDelete {
            name: name.to_owned(),
        };
        self.bus.publish(namespace, ImageDelete::TOPIC, event.to_any());
        Ok(())
    }

    fn new_image(&self, name: &str, labels: Labels, target: Descriptor) -> Result<Image> {
        if name.is_empty() {
            return Err(Error::invalid("image", name, "its name is empty"));
        }
        check_target(name, &target)?;
        let labels = lighter_content::labels::checked(labels)?;
        let now = self.clock.now();
        Ok(Image {
            name: name.to_owned(),
            labels,
            target,
            created_at: now,
            updated_at: now,
        })
    }
}

/// A target says what it is and has at least one byte. Source: containerd's validation of images.
fn check_target(name: &str, target: &Descriptor) -> Result<()> {
    let why = match target {
        target if target.media_type.is_empty() => "its target has no media type",
        target if target.size == 0 => "its target has no bytes",
        _ => return Ok(()),
    };
    Err(Error::invalid("image", name, why))
}
