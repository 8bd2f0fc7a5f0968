//! Taking names and images away, with Docker's rules of when that is refused.

use std::collections::HashSet;

use lighter_engine_api::ImageDeleteResponseItem;
use lighter_oci::{Digest, Reference};

use super::users::User;
use super::{Image, Record, Wanted, names, short};
use crate::{Engine, Error, Result};

impl Engine {
    /// Takes the name `name` off its image, and the image away when that was its last; by id all names at once.
    /// `_prune` is accepted for the API's sake: no image here has parents of its own.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        _prune: bool,
    ) -> Result<Vec<ImageDeleteResponseItem>> {
        if name.trim().is_empty() {
            return Err(Error::invalid("image name cannot be blank"));
        }
        let wanted = Wanted::parse(name)?;
        let image = self.image(name).await?;
        let records = self.records_of(&image).await?;
        let users = self.image_users().remove(image.id.as_str()).unwrap_or_default();
        let mut done = Vec::new();

        let by_id = match &wanted {
            Wanted::Digest(_) => true,
            Wanted::Name(_) => image
                .id
                .encoded()
                .starts_with(name.strip_prefix("sha256:").unwrap_or(name)),
        };
        let left = match &wanted {
            Wanted::Name(reference) if !by_id => {
                if !force
                    && one_repository(&records)
                    && let Some(user) = users.first()
                {
                    return Err(in_use_by_name(name, &image, user));
                }
                self.untag(reference, &image, records, &mut done).await?
            }
            _ if one_repository(&records) => {
                check(&image, &users, force, 0)?;
                let names: HashSet<String> = records.iter().map(|record| record.name.clone()).collect();
                self.drop_records(&image, records, &names, &mut done).await?
            }
            _ => records,
        };
        let named = left
            .iter()
            .filter(|record| !names::is_dangling(&record.name))
            .count();
        if named > 0 && !by_id {
            return Ok(done);
        }
        match check(&image, &users, force, named) {
            Ok(()) => {}
            // The name is gone, and the image stays without one for the container's sake.
            Err(_) if !done.is_empty() => return Ok(done),
            Err(conflict) => return Err(conflict),
        }
        self.delete_image(&image, left, &mut done).await?;
        Ok(done)
    }

    /// Takes one name off; a tag takes the digest of its repository along when it was the last. Answers the records that are
    /// left.
    async fn untag(
        &self,
        reference: &Reference,
        image: &Image,
        records: Vec<Record>,
        done: &mut Vec<ImageDeleteResponseItem>,
    ) -> Result<Vec<Record>> {
        let full = reference.clone().or_latest().to_string();
        if records.iter().any(|record| record.name == full) {
            return self
                .drop_records(image, records, &HashSet::from([full]), done)
                .await;
        }
        // `name@digest` of what was pulled by tag: the tag stays, and knows no digest any more.
        let mut left = records;
        for record in &mut left {
            if names::repository(&record.name) == Some(reference.name().as_str()) && !record.local {
                self.inner.images.put(&record.name, &image.target, true).await?;
                record.local = true;
            }
        }
        self.publish_image(image, "untag", image.id.as_str(), image.id.as_str());
        done.push(ImageDeleteResponseItem {
            untagged: reference.familiar(),
            ..Default::default()
        });
        Ok(left)
    }

    /// Removes the records `names` and says so; the image itself is kept by a nameless record when none is left.
    async fn drop_records(
        &self,
        image: &Image,
        records: Vec<Record>,
        names: &HashSet<String>,
        done: &mut Vec<ImageDeleteResponseItem>,
    ) -> Result<Vec<Record>> {
        let (gone, mut left): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| names.contains(&record.name));
        if left.is_empty() {
            // First, so that the image is never without a record: a crash here leaves both.
            let keeper = names::dangling(&image.target.digest);
            self.inner.images.put(&keeper, &image.target, true).await?;
            left.extend(self.inner.images.record(&keeper).await?);
        }
        for record in &gone {
            self.inner.images.delete(&record.name, false).await?;
        }
        let (tags, digests) = names::shown(&gone);
        let (_, digests_left) = names::shown(&left);
        let still_there = |digest: &String| digests_left.contains(digest);
        for text in tags
            .into_iter()
            .chain(digests.into_iter().filter(|digest| !still_there(digest)))
        {
            self.publish_image(image, "untag", image.id.as_str(), image.id.as_str());
            done.push(ImageDeleteResponseItem {
                untagged: text,
                ..Default::default()
            });
        }
        Ok(left)
    }

    /// Removes the last records and with them what only this image needed.
    async fn delete_image(
        &self,
        image: &Image,
        left: Vec<Record>,
        done: &mut Vec<ImageDeleteResponseItem>,
    ) -> Result<()> {
        let (tags, digests) = names::shown(&left);
        for text in tags.into_iter().chain(digests) {
            self.publish_image(image, "untag", image.id.as_str(), image.id.as_str());
            done.push(ImageDeleteResponseItem {
                untagged: text,
                ..Default::default()
            });
        }
        let count = left.len();
        for (number, record) in left.into_iter().enumerate() {
            self.inner
                .images
                .delete(&record.name, number + 1 == count)
                .await?;
        }
        let mut needed: HashSet<Digest> = HashSet::new();
        for (other, _) in self.images_here().await? {
            if other.id != image.id {
                needed.extend(lighter_oci::chain_ids(&other.config.rootfs.diff_ids));
            }
        }
        self.publish_image(image, "delete", image.id.as_str(), image.id.as_str());
        done.push(ImageDeleteResponseItem {
            deleted: image.id.to_string(),
            ..Default::default()
        });
        let chains = lighter_oci::chain_ids(&image.config.rootfs.diff_ids);
        done.extend(
            chains
                .into_iter()
                .rev()
                .filter(|chain| !needed.contains(chain))
                .map(|chain| ImageDeleteResponseItem {
                    deleted: chain.to_string(),
                    ..Default::default()
                }),
        );
        Ok(())
    }
}

/// Whether at most one tag leads here, and all names are of one repository.
fn one_repository(records: &[Record]) -> bool {
    let named = || records.iter().filter(|record| !names::is_dangling(&record.name));
    let repositories: HashSet<_> = named()
        .filter_map(|record| names::repository(&record.name))
        .collect();
    let tags = named().filter(|record| !record.name.contains('@')).count();
    repositories.len() <= 1 && tags <= 1
}

fn in_use_by_name(name: &str, image: &Image, user: &User) -> Error {
    Error::conflict(format!(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
        user.id.get(..12).unwrap_or(&user.id),
        image.short_id(),
    ))
}

/// Whether an image may be taken away altogether: never under a running container; forced only under a stopped one, or
/// with `names` in several repositories.
fn check(image: &Image, users: &[User], force: bool, names: usize) -> Result<()> {
    let refuse = |how: &str, why: String| {
        Err(Error::conflict(format!(
            "conflict: unable to delete {} ({how}) - {why}",
            short(&image.id)
        )))
    };
    let short_id = |user: &User| user.id.get(..12).unwrap_or(&user.id).to_owned();
    if let Some(user) = users.iter().find(|user| user.running) {
        let why = format!("image is being used by running container {}", short_id(user));
        return refuse("cannot be forced", why);
    }
    if force {
        return Ok(());
    }
    if names > 0 {
        return refuse(
            "must be forced",
            "image is referenced in multiple repositories".into(),
        );
    }
    match users.first() {
        Some(user) => refuse(
            "must be forced",
            format!("image is being used by stopped container {}", short_id(user)),
        ),
        None => Ok(()),
    }
}
