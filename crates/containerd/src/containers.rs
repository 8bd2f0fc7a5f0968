//! Container records: what a task is made from. No state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lighter_meta::filter::Filters;
use lighter_meta::{Db, Durability, Read};
use lighter_stdx::clock::Clock;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::event_types::{ContainerCreate, ContainerDelete, ContainerUpdate, Event as _, Runtime};
use crate::events::Bus;
use crate::{Error, Result, identifier};

/// Labels: short texts that users hang on things.
pub type Labels = BTreeMap<String, String>;

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its name; cannot be changed.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// The reference of its image.
    pub image: String,
    /// What runs it: `io.containerd.runc.v2` and the like; cannot be changed.
    pub runtime: String,
    /// Options of the runtime.
    #[serde(with = "crate::any::option", default)]
    pub options: Option<Any>,
    /// What is run, for the runtime: `config.json`.
    #[serde(with = "crate::any::option", default)]
    pub spec: Option<Any>,
    /// The snapshotter of its root.
    pub snapshotter: String,
    /// The snapshot of its root; kept while the container is.
    pub snapshot_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Blobs of clients.
    #[serde(with = "crate::any::map", default)]
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to.
    pub sandbox: String,
}

/// The containers of all namespaces.
#[derive(Debug, Clone)]
pub struct Containers {
    db: Db,
    clock: Clock,
    bus: Bus,
}

/// The bucket of a namespace's containers.
pub(crate) fn bucket(namespace: &str) -> String {
    format!("v1/{namespace}/containers")
}

impl Containers {
    pub(crate) fn new(db: &Db, clock: &Clock, bus: &Bus) -> Containers {
        Containers {
            db: db.clone(),
            clock: clock.clone(),
            bus: bus.clone(),
        }
    }

    /// Waits until what was recorded so far, here and elsewhere in the same database, survives the death of the machine.
    pub(crate) async fn settle(&self) -> Result<()> {
        Ok(self.db.settle().await?)
    }

    /// The container of this name.
    pub fn get(&self, namespace: &str, id: &str) -> Result<Container> {
        let found = self
            .db
            .read(|tx| tx.get_json(&bucket(namespace), id).map_err(Error::from))?;
        found.ok_or_else(|| missing(namespace, id))
    }

    /// The containers that one of `filters` selects (fields: `id`, `image`, `runtime.name`, `snapshotter`, `snapshotkey`, `sandbox`, `labels."key"`).
    pub fn list(&self, namespace: &str, filters: &[String]) -> Result<Vec<Container>> {
        let filters = Filters::parse(filters)
            .map_err(|error| Error::invalid("filter", error.filter.clone(), error.to_string()))?;
        let all: Vec<(String, Container)> = self
            .db
            .read(|tx| tx.list_json(&bucket(namespace), "").map_err(Error::from))?;
        let selected = all
            .into_iter()
            .map(|(_, container)| container)
            .filter(|container| {
                filters.matches(&|path| match path {
                    ["id"] => Some(container.id.as_str()),
                    ["image"] => Some(container.image.as_str()),
                    ["runtime", "name"] => Some(container.runtime.as_str()),
                    ["snapshotter"] => Some(container.snapshotter.as_str()),
                    ["snapshotkey" | "snapshot_key"] => Some(container.snapshot_key.as_str()),
                    ["sandbox" | "sandbox_id"] => Some(container.sandbox.as_str()),
                    ["labels", key] => container.labels.get(*key).map(String::as_str),
                    _ => None,
                })
            });
        Ok(selected.collect())
    }

    /// Makes a container. Durable.
    pub async fn create(&self, namespace: &str, mut container: Container) -> Result<Container> {
        identifier::check("namespace", namespace)?;
        identifier::check("container", &container.id)?;
        if container.runtime.is_empty() {
            return Err(Error::invalid(
                "container",
                &container.id,
                "runtime.name is empty",
            ));
        }
        if container.spec.is_none() {
            return Err(Error::invalid("container", &container.id, "it has no spec"));
        }
        if container.snapshotter.is_empty() && !container.snapshot_key.is_empty() {
            return Err(Error::invalid(
                "container",
                &container.id,
                "it has a snapshot, but no snapshotter",
            ));
        }
        container.created_at = self.clock.now();
        container.updated_at = container.created_at;
        let bucket = bucket(namespace);
        let container: Container = self
            .db
            .write_async(Durability::Power, move |tx| {
                if tx.get(&bucket, &container.id)?.is_some() {
                    return Err(Error::AlreadyExists {
                        what: "container",
                        name: container.id,
                    });
                }
                tx.put_json(&bucket, &container.id, &container)?;
                Ok(container)
            })
            .await?;
        let event = ContainerCreate {
            id: container.id.clone(),
            image: container.image.clone(),
            runtime: Some(Runtime {
                name: container.runtime.clone(),
                options: container.options.clone(),
            }),
        };
        self.bus
            .publish(namespace, ContainerCreate::TOPIC, event.to_any());
        Ok(container)
    }

    /// Changes a container. `fields` as containerd's field mask (none: all that can be changed): `labels`, `labels.KEY`, `spec`, `extensions`,
    /// `extensions.KEY`, `image`, `snapshotkey`, `sandbox`.
    pub async fn update(&self, namespace: &str, change: Container, fields: Vec<String>) -> Result<Container> {
        let (bucket, home) = (bucket(namespace), namespace.to_owned());
        let now = self.clock.now();
        let container: Container = self
            .db
            .write_async(Durability::Kill, move |tx| {
                let mut container: Container = tx
                    .get_json(&bucket, &change.id)?
                    .ok_or_else(|| missing(&home, &change.id))?;
                apply(&mut container, change, &fields)?;
                container.updated_at = now;
                tx.put_json(&bucket, &container.id, &container)?;
                Ok::<_, Error>(container)
            })
            .await?;
        let event = ContainerUpdate {
            id: container.id.clone(),
            image: container.image.clone(),
            labels: container.labels.clone(),
            snapshot_key: container.snapshot_key.clone(),
        };
        self.bus
            .publish(namespace, ContainerUpdate::TOPIC, event.to_any());
        Ok(container)
    }

    /// Removes a container's record.
    pub async fn delete(&self, namespace: &str, id: &str) -> Result<()> {
        let (bucket, home, key) = (bucket(namespace), namespace.to_owned(), id.to_owned());
        self.db
            .write_async(Durability::Kill, move |tx| match tx.delete(&bucket, &key)? {
                true => Ok(()),
                false => Err(missing(&home, &key)),
            })
            .await?;
        let event = ContainerDelete { id: id.to_owned() };
        self.bus
            .publish(namespace, ContainerDelete::TOPIC, event.to_any());
        Ok(())
    }
}

fn missing(namespace: &str, id: &str) -> Error {
    Error::NoContainer {
        namespace: namespace.to_owned(),
        id: id.to_owned(),
    }
}

fn apply(container: &mut Container, change: Container, fields: &[String]) -> Result<()> {
    if fields.is_empty() {
        let (runtime, options) = (container.runtime.clone(), container.options.clone());
        if !change.runtime.is_empty() && change.runtime != runtime {
            return Err(Error::invalid(
                "container",
                &change.id,
                "its runtime cannot be changed",
            ));
        }
        if !change.snapshotter.is_empty() && change.snapshotter != container.snapshotter {
            return Err(Error::invalid(
                "container",
                &change.id,
                "its snapshotter cannot be changed",
            ));
        }
        let (created_at, snapshotter) = (container.created_at, container.snapshotter.clone());
        *container = Container {
            runtime,
            options,
            created_at,
            snapshotter,
            ..change
        };
        return Ok(());
    }
    for field in fields {
        match field
            .split_once('.')
            .map_or((field.as_str(), None), |(head, key)| (head, Some(key)))
        {
            ("labels", None) => container.labels = change.labels.clone(),
            ("labels", Some(key)) => match change.labels.get(key) {
                Some(value) if !value.is_empty() => {
                    drop(container.labels.insert(key.to_owned(), value.clone()))
                }
                _ => drop(container.labels.remove(key)),
            },
            ("extensions", None) => container.extensions = change.extensions.clone(),
            ("extensions", Some(key)) => match change.extensions.get(key) {
                Some(value) => drop(container.extensions.insert(key.to_owned(), value.clone())),
                None => drop(container.extensions.remove(key)),
            },
            ("spec", None) => container.spec = change.spec.clone(),
            ("image", None) => container.image = change.image.clone(),
            ("snapshotkey" | "snapshot_key", None) => container.snapshot_key = change.snapshot_key.clone(),
            ("sandbox" | "sandbox_id", None) => container.sandbox = change.sandbox.clone(),
            _ => {
                return Err(Error::invalid(
                    "field",
                    field,
                    "a container has no such field that can be changed",
                ));
            }
        }
    }
    Ok(())
}
