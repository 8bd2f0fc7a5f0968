//! Images as users see them.
#![allow(
    missing_docs,
    reason = "the fields are the contract's own words: the Engine API reference explains each"
)]

use crate::container::{GraphDriver, HealthConfig};
use crate::{StringMap, StringSet, Strings, go, is_empty_list, is_empty_map, is_false};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row of `GET /images/json`. Keys in Docker's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// How many containers use it, or -1 when not counted.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: i64,
    pub id: String,
    pub labels: StringMap,
    pub parent_id: String,
    pub repo_digests: Vec<String>,
    pub repo_tags: Vec<String>,
    /// Bytes, or -1 when not counted.
    pub shared_size: i64,
    pub size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<OciDescriptor>,
}

/// The answer of `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageInspect {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub parent: String,
    pub comment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    pub docker_version: String,
    pub author: String,
    pub architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes, unpacked.
    pub size: i64,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: ImageMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<OciDescriptor>,
    pub config: Option<ImageConfig>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    /// Diff ids, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageMetadata {
    pub last_tag_time: String,
}

/// The part of an image's configuration that containers inherit. Reads Docker's and OCI's config objects (`config`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    #[serde(skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    #[serde(deserialize_with = "go::one_or_many")]
    pub cmd: Strings,
    #[serde(deserialize_with = "go::one_or_many")]
    pub entrypoint: Strings,
    pub env: Strings,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub exposed_ports: StringSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    pub labels: StringMap,
    pub on_build: Strings,
    #[serde(deserialize_with = "go::one_or_many", skip_serializing_if = "is_empty_list")]
    pub shell: Strings,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    pub user: String,
    pub volumes: StringSet,
    pub working_dir: String,
}

/// A row of `GET /images/{name}/history`, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HistoryResponseItem {
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    pub created_by: String,
    /// `<missing>` when that step is no image here.
    pub id: String,
    pub size: i64,
    pub tags: Strings,
}

/// A line of the answer of `DELETE /images/{name}`: one of the two is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageDeleteResponseItem {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deleted: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub untagged: String,
}

/// A content descriptor (OCI image specification, descriptor.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OciDescriptor {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OciPlatform {
    pub architecture: String,
    pub os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}
