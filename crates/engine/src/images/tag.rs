//! A further name for an image.

use lighter_oci::Reference;

use super::{Image, names};
use crate::{Engine, Error, Result};

impl Engine {
    /// Gives the image `name` the further name `repo:tag` (`latest` when `tag` is empty).
    pub async fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let image = self.image(name).await?;
        let invalid = |error: lighter_oci::ReferenceError| Error::invalid(error.to_string());
        let mut new = Reference::parse(repo).map_err(invalid)?;
        if !tag.is_empty() {
            new = new.without_version().with_tag(tag).map_err(invalid)?;
        }
        let new = new.or_latest();
        if new.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let full = new.to_string();
        if let Some(old) = self.inner.images.record(&full).await? {
            if old.target == image.target.digest {
                return Ok(());
            }
            self.keep_nameless(&old.name).await?;
        }
        // A repository that knows the image by its digest goes on to.
        let pulled = self
            .records_of(&image)
            .await?
            .iter()
            .any(|record| !record.local && names::repository(&record.name) == Some(new.name().as_str()));
        self.inner.images.put(&full, &image.target, !pulled).await?;
        self.publish_image(&image, "tag", image.id.as_str(), &new.familiar());
        Ok(())
    }

    /// Keeps the image that `record` leads to when no other record will, so that it can still be listed and removed.
    pub(crate) async fn keep_nameless(&self, record: &str) -> Result<()> {
        let records = self.inner.images.records().await?;
        let Some(leaving) = records.iter().find(|other| other.name == record) else {
            return Ok(());
        };
        let named = records
            .iter()
            .any(|other| other.name != record && other.target == leaving.target);
        if named {
            return Ok(());
        }
        // What is no image for this machine needs no keeping.
        let Ok(image) = self.inner.images.image(&leaving.target).await else {
            return Ok(());
        };
        self.inner
            .images
            .put(&names::dangling(&leaving.target), &image.target, true)
            .await
    }

    /// Tells that something was done to an image; `name` is the attribute of that name.
    pub(crate) fn publish_image(&self, image: &Image, action: &str, id: &str, name: &str) {
        let mut attributes = image.inherited.labels.clone().unwrap_or_default();
        attributes.insert("name".into(), name.to_owned());
        self.inner.events.publish("image", action, id, attributes);
    }
}
