//! All containers, by id and by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, watch};

use super::View;
use super::actor::Command;
use super::attach::Hub;
use crate::{Error, Result};

/// A container as others reach it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// Those who wait to be attached.
    pub(crate) hub: Hub,
}

impl Container {
    /// What was published last.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }
}

/// The containers of an engine. Locks are held for look-ups only.
#[derive(Debug, Default)]
pub(crate) struct Index(RwLock<Maps>);

#[derive(Debug, Default)]
struct Maps {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Names that are taken, and by whom: also by a container that is still being made.
    names: HashMap<String, String>,
}

impl Index {
    /// Takes `name` for `id`.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = maps.names.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        maps.names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Gives `name` back, if `id` has it.
    pub(crate) fn release(&self, name: &str, id: &str) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if maps.names.get(name).is_some_and(|owner| owner == id) {
            maps.names.remove(name);
        }
    }

    /// Adds a container, whose name is reserved.
    pub(crate) fn insert(&self, container: Arc<Container>) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.insert(container.id.clone(), container);
    }

    /// Takes a container and its name out.
    pub(crate) fn remove(&self, id: &str) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_id.remove(id);
        maps.names.retain(|_, owner| owner != id);
    }

    /// All, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_id
            .values()
            .cloned()
            .collect()
    }

    /// Finds a container as Docker does: by its whole id, then by its name, then by the beginning of its id.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(container) = maps.by_id.get(reference) {
            return Ok(container.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(container) = maps.names.get(name).and_then(|id| maps.by_id.get(id)) {
            return Ok(container.clone());
        }
        let missing = || Error::not_found(format!("No such container: {reference}"));
        if reference.is_empty() {
            return Err(missing());
        }
        let mut matches = maps
            .by_id
            .range(reference.to_owned()..)
            .take_while(|(id, _)| id.starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "Multiple IDs found with provided prefix: {reference}"
            ))),
            _ => Err(missing()),
        }
    }
}
