//! Container records on disk: `<data-root>/engine/meta.db`.

use std::path::Path;

use lighter_meta::{Db, Durability, Read as _};

use super::{Record, State};
use crate::{Error, Result};

const RECORDS: &str = "containers";
const STATES: &str = "container-states";

/// The layout's number.
const FORMAT: u32 = 1;

/// Records and states of containers.
#[derive(Debug, Clone)]
pub(crate) struct Store(Db);

fn failed(error: lighter_meta::Error) -> Error {
    Error::system("container records").with_source(error)
}

impl Store {
    /// Opens the database below `data_root`.
    pub(crate) fn open(data_root: &Path) -> Result<Self> {
        Db::open(&data_root.join("engine").join("meta.db"), FORMAT)
            .map(Self)
            .map_err(failed)
    }

    /// All containers, each with its last state.
    pub(crate) fn load(&self) -> Result<Vec<(Record, State)>> {
        let read = self.0.read(|tx| {
            let records: Vec<(String, Record)> = tx.list_json(RECORDS, "")?;
            records
                .into_iter()
                .map(|(id, record)| Ok((record, tx.get_json(STATES, &id)?.unwrap_or_default())))
                .collect::<Result<Vec<_>, lighter_meta::Error>>()
        });
        read.map_err(failed)
    }

    /// Keeps a record through the death of the machine.
    pub(crate) async fn put(&self, record: &Record) -> Result<()> {
        self.put_as(record, Durability::Power).await
    }

    /// Keeps a record through the death of the engine; the next durable write takes it along.
    pub(crate) async fn put_soon(&self, record: &Record) -> Result<()> {
        self.put_as(record, Durability::Kill).await
    }

    async fn put_as(&self, record: &Record, durability: Durability) -> Result<()> {
        let record = record.clone();
        let write = move |tx: &lighter_meta::WriteTx<'_>| tx.put_json(RECORDS, &record.id, &record);
        self.0.write_async(durability, write).await.map_err(failed)
    }

    /// Keeps a state through the death of the engine.
    pub(crate) async fn put_state(&self, id: &str, state: &State) -> Result<()> {
        let (id, state) = (id.to_owned(), state.clone());
        let write = move |tx: &lighter_meta::WriteTx<'_>| tx.put_json(STATES, &id, &state);
        self.0.write_async(Durability::Kill, write).await.map_err(failed)
    }

    /// Forgets a container. `durable` unless its being there again after a power cut would remove it anyway.
    pub(crate) async fn delete(&self, id: &str, durable: bool) -> Result<()> {
        let id = id.to_owned();
        let write = move |tx: &lighter_meta::WriteTx<'_>| {
            tx.delete(STATES, &id)?;
            tx.delete(RECORDS, &id).map(drop)
        };
        let durability = if durable {
            Durability::Power
        } else {
            Durability::Kill
        };
        self.0.write_async(durability, write).await.map_err(failed)
    }
}
