//! What a shim is told about its sandbox, and says of it: containerd.runtime.sandbox.v1, numbers exact.
//!
//! Only what is used, and all requests that merely name the sandbox are one message.

#![allow(
    missing_docs,
    reason = "names and meanings are those of containerd's protocol"
)]

use std::collections::HashMap;

use crate::types::Mount;
use prost::Message;
use prost_types::{Any, Timestamp};

#[derive(Clone, PartialEq, Message)]
pub struct CreateRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(string, tag = "2")]
    pub bundle_path: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub options: Option<Any>,
    #[prost(string, tag = "5")]
    pub netns_path: String,
    #[prost(map = "string, string", tag = "6")]
    pub annotations: HashMap<String, String>,
}

/// All requests that only name the sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct Named {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct StopRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub timeout_secs: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct StartResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(message, optional, tag = "2")]
    pub created_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WirePlatform {
    #[prost(string, tag = "1")]
    pub os: String,
    #[prost(string, tag = "2")]
    pub architecture: String,
    #[prost(string, tag = "3")]
    pub variant: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct PlatformResponse {
    #[prost(message, optional, tag = "1")]
    pub platform: Option<WirePlatform>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(string, tag = "3")]
    pub state: String,
    #[prost(map = "string, string", tag = "4")]
    pub info: HashMap<String, String>,
    #[prost(message, optional, tag = "5")]
    pub created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub exited_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub extra: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WireMetric {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, optional, tag = "3")]
    pub data: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MetricsResponse {
    #[prost(message, optional, tag = "1")]
    pub metrics: Option<WireMetric>,
}
