//! What comes as a stream of JSON objects: progress and events.
#![allow(
    missing_docs,
    reason = "the fields are the contract's own words: the Engine API reference explains each"
)]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line of the answer of a pull, push, load or build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JsonMessage {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// A bar for people who read raw streams.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

impl JsonMessage {
    /// A line of text.
    pub fn status(text: impl Into<String>) -> Self {
        Self {
            status: text.into(),
            ..Self::default()
        }
    }

    /// A line about one thing: a layer, a tag.
    pub fn about(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            status: text.into(),
            ..Self::default()
        }
    }

    /// The last line of a stream that failed after its status was sent.
    pub fn failed(message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = ErrorDetail {
            code: 0,
            message: message.clone(),
        };
        Self {
            error: message,
            error_detail: Some(detail),
            ..Self::default()
        }
    }
}

/// How far something is, in bytes. Both 0 prints `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "crate::is_zero")]
    pub current: i64,
    #[serde(skip_serializing_if = "crate::is_zero")]
    pub total: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "crate::is_zero")]
    pub code: i64,
    pub message: String,
}

/// A line of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventMessage {
    /// For old clients, of containers and images only: as [`EventMessage::action`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// As [`EventActor::id`], of containers and images only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A container's image, for old clients.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `volume`, `network`, `daemon`, `plugin`, `builder`.
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventActor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}
