//! What a shim is told about its sandbox: containerd.runtime.sandbox.v1, numbers exact.

use std::collections::HashMap;

use lighter_shim_api::types::Mount;
use prost::Message;
use prost_types::{Any, Timestamp};

/// The shims' service.
pub(super) const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateRequest {
    #[prost(string, tag = "1")]
    pub(super) sandbox_id: String,
    #[prost(string, tag = "2")]
    pub(super) bundle_path: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub(super) options: Option<Any>,
    #[prost(string, tag = "5")]
    pub(super) netns_path: String,
    #[prost(map = "string, string", tag = "6")]
    pub(super) annotations: HashMap<String, String>,
}

/// All requests that only name the sandbox.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) sandbox_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StopRequest {
    #[prost(string, tag = "1")]
    pub(super) sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub(super) timeout_secs: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRequest {
    #[prost(string, tag = "1")]
    pub(super) sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub(super) verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StartResponse {
    #[prost(uint32, tag = "1")]
    pub(super) pid: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) created_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WirePlatform {
    #[prost(string, tag = "1")]
    pub(super) os: String,
    #[prost(string, tag = "2")]
    pub(super) architecture: String,
    #[prost(string, tag = "3")]
    pub(super) variant: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PlatformResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) platform: Option<WirePlatform>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub(super) exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(super) sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub(super) pid: u32,
    #[prost(string, tag = "3")]
    pub(super) state: String,
    #[prost(map = "string, string", tag = "4")]
    pub(super) info: HashMap<String, String>,
    #[prost(message, optional, tag = "5")]
    pub(super) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(super) exited_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub(super) extra: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireMetric {
    #[prost(message, optional, tag = "1")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) data: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricsResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) metrics: Option<WireMetric>,
}
