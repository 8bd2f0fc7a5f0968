//! Sandboxes: environments that containers are put into. The records are here, running ones in [`controller`].
//!
//! Source: containerd's services.sandbox.v1; a record is what an instance is made from, and has no state.

mod controller;

use std::collections::BTreeMap;

use jiff::Timestamp;
use lighter_meta::filter::Filters;
use lighter_meta::{Db, Durability, Read as _};
use lighter_stdx::clock::Clock;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::containers::Labels;
use crate::{Error, Result, identifier};

pub use controller::{Controller, Create, Instance, Metric, Platform, State};

/// The one controller that we have: sandboxes are made by their shim.
pub const CONTROLLER: &str = "shim";

/// A sandbox's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its name; cannot be changed.
    pub id: String,
    /// What runs it: `io.containerd.runc.v2` and the like.
    pub runtime: String,
    /// Options of the runtime, for the start of its shim.
    #[serde(with = "crate::any::option", default)]
    pub options: Option<Any>,
    /// Its configuration: becomes the `config.json` of its bundle.
    #[serde(with = "crate::any::option", default)]
    pub spec: Option<Any>,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Blobs of clients.
    #[serde(with = "crate::any::map", default)]
    pub extensions: BTreeMap<String, Any>,
    /// Which controller it is for; empty: [`CONTROLLER`].
    #[serde(default)]
    pub sandboxer: String,
}

/// The records of all namespaces.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    db: Db,
    clock: Clock,
}

fn bucket(namespace: &str) -> String {
    format!("v1/{namespace}/sandboxes")
}

impl Sandboxes {
    pub(crate) fn new(db: &Db, clock: &Clock) -> Sandboxes {
        Sandboxes {
            db: db.clone(),
            clock: clock.clone(),
        }
    }

    /// The sandbox of this name.
    pub fn get(&self, namespace: &str, id: &str) -> Result<Sandbox> {
        let found = self
            .db
            .read(|tx| tx.get_json(&bucket(namespace), id).map_err(Error::from))?;
        found.ok_or_else(|| Error::not_found("sandbox", id))
    }

    /// The sandboxes that one of `filters` selects (fields: `id`, `runtime.name`, `sandboxer`, `labels."key"`).
    pub fn list(&self, namespace: &str, filters: &[String]) -> Result<Vec<Sandbox>> {
        let filters = Filters::parse(filters)
            .map_err(|error| Error::invalid("filter", error.filter.clone(), error.to_string()))?;
        let all: Vec<(String, Sandbox)> = self
            .db
            .read(|tx| tx.list_json(&bucket(namespace), "").map_err(Error::from))?;
        let all = all.into_iter().map(|(_, sandbox)| sandbox);
        let selected = all.filter(|sandbox| {
            filters.matches(&|path| match path {
                ["id"] => Some(sandbox.id.as_str()),
                ["runtime", "name"] => Some(sandbox.runtime.as_str()),
                ["sandboxer"] => Some(sandbox.sandboxer.as_str()),
                ["labels", key] => sandbox.labels.get(*key).map(String::as_str),
                _ => None,
            })
        });
        Ok(selected.collect())
    }

    /// Makes a record. Durable.
    pub async fn create(&self, namespace: &str, mut sandbox: Sandbox) -> Result<Sandbox> {
        identifier::check("namespace", namespace)?;
        identifier::check("sandbox", &sandbox.id)?;
        sandbox.created_at = self.clock.now();
        sandbox.updated_at = sandbox.created_at;
        let bucket = bucket(namespace);
        self.db
            .write_async(Durability::Power, move |tx| {
                if tx.get(&bucket, &sandbox.id)?.is_some() {
                    return Err(Error::AlreadyExists {
                        what: "sandbox",
                        name: sandbox.id,
                    });
                }
                tx.put_json(&bucket, &sandbox.id, &sandbox)?;
                Ok(sandbox)
            })
            .await
    }

    /// Changes a record. `fields` (none: all of them): `labels`, `labels.KEY`, `extensions`, `extensions.KEY`, `runtime`, `spec`. The
    /// runtime's name is changed only when `runtime` is named.
    pub async fn update(&self, namespace: &str, change: Sandbox, fields: Vec<String>) -> Result<Sandbox> {
        let (bucket, now) = (bucket(namespace), self.clock.now());
        self.db
            .write_async(Durability::Kill, move |tx| {
                let mut sandbox: Sandbox = tx
                    .get_json(&bucket, &change.id)?
                    .ok_or_else(|| Error::not_found("sandbox", &change.id))?;
                apply(&mut sandbox, change, &fields)?;
                sandbox.updated_at = now;
                tx.put_json(&bucket, &sandbox.id, &sandbox)?;
                Ok(sandbox)
            })
            .await
    }

    /// Removes a record.
    pub async fn delete(&self, namespace: &str, id: &str) -> Result<()> {
        let (bucket, key) = (bucket(namespace), id.to_owned());
        self.db
            .write_async(Durability::Kill, move |tx| match tx.delete(&bucket, &key)? {
                true => Ok(()),
                false => Err(Error::not_found("sandbox", key)),
            })
            .await
    }
}

fn apply(sandbox: &mut Sandbox, change: Sandbox, fields: &[String]) -> Result<()> {
    if fields.is_empty() {
        if change.runtime != sandbox.runtime {
            return Err(Error::invalid(
                "sandbox",
                &change.id,
                "its runtime.name cannot be changed",
            ));
        }
        *sandbox = Sandbox {
            created_at: sandbox.created_at,
            sandboxer: std::mem::take(&mut sandbox.sandboxer),
            ..change
        };
        return Ok(());
    }
    for field in fields {
        let split = field.split_once('.');
        match split.map_or((field.as_str(), None), |(head, key)| (head, Some(key))) {
            ("labels", None) => sandbox.labels = change.labels.clone(),
            ("labels", Some(key)) => match change.labels.get(key).filter(|value| !value.is_empty()) {
                Some(value) => drop(sandbox.labels.insert(key.to_owned(), value.clone())),
                None => drop(sandbox.labels.remove(key)),
            },
            ("extensions", None) => sandbox.extensions = change.extensions.clone(),
            ("extensions", Some(key)) => match change.extensions.get(key) {
                Some(value) => drop(sandbox.extensions.insert(key.to_owned(), value.clone())),
                None => drop(sandbox.extensions.remove(key)),
            },
            ("runtime", None) => {
                sandbox.runtime = change.runtime.clone();
                sandbox.options = change.options.clone();
            }
            ("spec", None) => sandbox.spec = change.spec.clone(),
            _ => {
                let why = "a sandbox has no such field that can be changed";
                return Err(Error::invalid("field", field, why));
            }
        }
    }
    Ok(())
}
