//! The engine's answers, as they came or as the API's types.

use lighter_client::{Client, Error, Query, segment};
use lighter_engine_api::go;
use serde::de::DeserializeOwned;

/// `GET path`, as it came.
pub(super) fn raw(client: &Client, path: &str, query: &Query) -> Result<Vec<u8>, Error> {
    client.get(path, query)
}

/// `GET path`, read by Go's rules.
pub(super) fn get<T: DeserializeOwned>(client: &Client, path: &str, query: &Query) -> Result<T, Error> {
    let bytes = raw(client, path, query)?;
    go::from_slice(&bytes).map_err(|error| Error::Answer(error.to_string()))
}

/// `/containers/<name>/json` and its like.
pub(super) fn of(noun: &str, name: &str, what: &str) -> String {
    format!("/{noun}/{}/{what}", segment(name))
}
