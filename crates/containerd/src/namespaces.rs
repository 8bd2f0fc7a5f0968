//! Namespaces: each has its own containers, images, snapshots and leases, and its own view of the content.

use std::collections::BTreeSet;

use lighter_meta::{Db, Durability, Read};

use crate::containers::Labels;
use crate::event_types::{Event as _, NamespaceCreate, NamespaceDelete, NamespaceUpdate};
use crate::events::Bus;
use crate::{Error, Result, identifier};

const BUCKET: &str = "namespaces";

/// All namespaces. One is there when it was made, or when something was made in it.
#[derive(Debug, Clone)]
pub struct Namespaces {
    db: Db,
    bus: Bus,
}

impl Namespaces {
    pub(crate) fn new(db: &Db, bus: &Bus) -> Namespaces {
        Namespaces {
            db: db.clone(),
            bus: bus.clone(),
        }
    }

    /// The labels of a namespace; none for one that is not there, as with containerd: Docker 20.10 asks before it makes anything in its own.
    pub fn get(&self, name: &str) -> Result<Labels> {
        let labels = self
            .db
            .read(|tx| tx.get_json(BUCKET, name).map_err(Error::from))?;
        Ok(labels.unwrap_or_default())
    }

    /// The names of all, in order, with their labels.
    pub fn list(&self) -> Result<Vec<(String, Labels)>> {
        self.db.read(|tx| {
            let mut all: Vec<(String, Labels)> = tx.list_json(BUCKET, "")?;
            let known: BTreeSet<String> = all.iter().map(|(name, _)| name.clone()).collect();
            let buckets = tx.buckets("v1/")?;
            let used: BTreeSet<&str> = buckets
                .iter()
                .filter_map(|bucket| bucket.split('/').nth(1))
                .collect();
            let unknown = used.into_iter().filter(|name| !known.contains(*name));
            all.extend(unknown.map(|name| (name.to_owned(), Labels::new())));
            all.sort();
            Ok(all)
        })
    }

    /// Makes a namespace.
    pub async fn create(&self, name: &str, labels: Labels) -> Result<()> {
        identifier::check("namespace", name)?;
        let event = NamespaceCreate {
            name: name.to_owned(),
            labels: labels.clone(),
        };
        let key = name.to_owned();
        self.db
            .write_async(Durability::Kill, move |tx| {
                if tx.get(BUCKET, &key)?.is_some() || !held(tx, &key)?.is_empty() {
                    return Err(Error::AlreadyExists {
                        what: "namespace",
                        name: key,
                    });
                }
                Ok(tx.put_json(BUCKET, &key, &labels)?)
            })
            .await?;
        self.bus.publish(name, NamespaceCreate::TOPIC, event.to_any());
        Ok(())
    }

    /// Changes the labels of a namespace; gives all it has then. `fields` as containerd's field mask.
    pub async fn update(&self, name: &str, labels: Labels, fields: Vec<String>) -> Result<Labels> {
        identifier::check("namespace", name)?;
        // What was asked for, not what came of it, is what containerd tells.
        let event = NamespaceUpdate {
            name: name.to_owned(),
            labels: labels.clone(),
        };
        let key = name.to_owned();
        let now: Labels = self
            .db
            .write_async(Durability::Kill, move |tx| {
                let mut now: Labels = match tx.get_json(BUCKET, &key)? {
                    Some(labels) => labels,
                    None if !held(tx, &key)?.is_empty() => Labels::new(),
                    None => return Err(Error::not_found("namespace", key)),
                };
                lighter_content::labels::update(&mut now, labels, &fields)?;
                tx.put_json(BUCKET, &key, &now)?;
                Ok::<_, Error>(now)
            })
            .await?;
        self.bus.publish(name, NamespaceUpdate::TOPIC, event.to_any());
        Ok(now)
    }

    /// Removes an empty namespace.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let key = name.to_owned();
        self.db
            .write_async(Durability::Kill, move |tx| {
                let held = held(tx, &key)?;
                if !held.is_empty() {
                    let text = format!(
                        "namespace {key:?} must be empty, but it still has {}",
                        held.join(", ")
                    );
                    return Err(Error::Precondition(text));
                }
                match tx.delete(BUCKET, &key)? {
                    true => Ok(()),
                    false => Err(Error::not_found("namespace", key)),
                }
            })
            .await?;
        let event = NamespaceDelete {
            name: name.to_owned(),
        };
        self.bus.publish(name, NamespaceDelete::TOPIC, event.to_any());
        Ok(())
    }
}

/// What sorts of things a namespace has: the last parts of its buckets' names.
fn held(tx: &impl Read, name: &str) -> std::result::Result<Vec<String>, lighter_meta::Error> {
    let prefix = format!("v1/{name}/");
    Ok(tx
        .buckets(&prefix)?
        .iter()
        .map(|bucket| bucket[prefix.len()..].to_owned())
        .collect())
}
