//! The Engine API's types, version 1.51; data only.
//!
//! Both the server and our client use them. The names, their case and their order are the contract's (the Engine API
//! reference); a field that Docker leaves out when it is empty is left out here too, one that it prints as `null` is an
//! `Option` and prints `null`. Times are strings as Go prints them (RFC 3339, nanoseconds, no trailing zeros): see
//! [`go::time`].
//!
//! Read a body with [`go::from_slice`], which obeys Go's rules (any case of a key, `null` for anything); write with
//! `serde_json`.

mod container;
mod exec;
mod filters;
pub mod go;
mod host;
mod image;
mod network;
mod stream;
mod system;

pub use container::*;
pub use exec::*;
pub use filters::Filters;
pub use host::*;
pub use image::*;
pub use network::*;
pub use stream::*;
pub use system::*;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Go's `map[string]string`; `None` prints `null`.
pub type StringMap = Option<BTreeMap<String, String>>;

/// Go's `[]string`; `None` prints `null`.
pub type Strings = Option<Vec<String>>;

/// Go's `map[string]struct{}`: a set; `None` prints `null`.
pub type StringSet = Option<BTreeMap<String, Empty>>;

/// An object without keys, `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The version that this API speaks.
pub const API_VERSION: &str = "1.51";

/// The oldest version that it still answers.
pub const MIN_API_VERSION: &str = "1.24";

/// The body of every answer with a status of 400 and above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// What failed, on what, why.
    pub message: String,
}

/// The answer of `POST /containers/{id}/exec` and of others that make one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IdResponse {
    /// The new thing's id, 64 hex digits.
    pub id: String,
}

/// Credentials for a registry: the header `X-Registry-Auth` (base64 of this as JSON) and the body of `POST /auth`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Password, or a token in its place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// base64 of `user:password`: an old form.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    /// Not used by registries any more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The registry that these are for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// A refresh token for the registry's token service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    /// A bearer token that is sent as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

impl std::fmt::Debug for AuthConfig {
    /// Shows who, never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

/// The answer of `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// A refresh token to keep in the password's place, or empty.
    pub identity_token: String,
    /// `Login Succeeded`.
    pub status: String,
}

pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

pub(crate) fn is_zero(value: &i64) -> bool {
    *value == 0
}

pub(crate) fn is_empty_map<V>(value: &Option<BTreeMap<String, V>>) -> bool {
    value.as_ref().is_none_or(BTreeMap::is_empty)
}

pub(crate) fn is_empty_list<V>(value: &Option<Vec<V>>) -> bool {
    value.as_ref().is_none_or(Vec::is_empty)
}
