//! Introspection: what this server is made of.

use std::collections::HashMap;
use std::fs;
use std::os::linux::fs::MetadataExt as _;

use lighter_containerd::Layer;
use lighter_containerd_api::introspection as api;
use lighter_containerd_api::introspection::introspection_server::Introspection;
use lighter_containerd_api::types::Platform;
use tonic::{Request, Response, Status};

use crate::convert::filters;
use crate::error::Result;

pub(crate) struct Service(pub(crate) Layer);

/// What clients look for, by containerd's names: (type, id). Snapshotters are asked of the layer.
const PLUGINS: &[(&str, &str)] = &[
    ("io.containerd.content.v1", "content"),
    ("io.containerd.differ.v1", "walking"),
    ("io.containerd.event.v1", "exchange"),
    ("io.containerd.warning.v1", "deprecations"),
    ("io.containerd.gc.v1", "scheduler"),
    ("io.containerd.lease.v1", "manager"),
    ("io.containerd.metadata.v1", "bolt"),
    ("io.containerd.service.v1", "containers-service"),
    ("io.containerd.service.v1", "content-service"),
    ("io.containerd.service.v1", "diff-service"),
    ("io.containerd.service.v1", "images-service"),
    ("io.containerd.service.v1", "introspection-service"),
    ("io.containerd.service.v1", "namespaces-service"),
    ("io.containerd.service.v1", "snapshots-service"),
    ("io.containerd.service.v1", "tasks-service"),
    ("io.containerd.shim.v1", "manager"),
    ("io.containerd.runtime.v2", "task"),
    ("io.containerd.sandbox.store.v1", "local"),
    ("io.containerd.sandbox.controller.v1", "shim"),
    ("io.containerd.streaming.v1", "manager"),
    ("io.containerd.transfer.v1", "local"),
    ("io.containerd.grpc.v1", "containers"),
    ("io.containerd.grpc.v1", "content"),
    ("io.containerd.grpc.v1", "diff"),
    ("io.containerd.grpc.v1", "events"),
    ("io.containerd.grpc.v1", "healthcheck"),
    ("io.containerd.grpc.v1", "images"),
    ("io.containerd.grpc.v1", "introspection"),
    ("io.containerd.grpc.v1", "leases"),
    ("io.containerd.grpc.v1", "namespaces"),
    ("io.containerd.grpc.v1", "sandbox-controllers"),
    ("io.containerd.grpc.v1", "sandboxes"),
    ("io.containerd.grpc.v1", "snapshots"),
    ("io.containerd.grpc.v1", "streaming"),
    ("io.containerd.grpc.v1", "tasks"),
    ("io.containerd.grpc.v1", "transfer"),
    ("io.containerd.grpc.v1", "version"),
];
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

#[tonic::async_trait]
impl Introspection for Service {
    async fn plugins(&self, request: Request<api::PluginsRequest>) -> Result<Response<api::PluginsResponse>> {
        let filters = filters(&request.get_ref().filters)?;
        let mut plugins = self.all();
        plugins.retain(|plugin| {
            filters.matches(&|path| match path {
                ["type"] => Some(plugin.r#type.as_str()),
                ["id"] => Some(plugin.id.as_str()),
                _ => None,
            })
        });
        Ok(Response::new(api::PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<api::ServerResponse>> {
        let pidns = fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.st_ino());
        Ok(Response::new(api::ServerResponse {
            uuid: self.0.uuid().to_owned(),
            pid: std::process::id().into(),
            pidns,
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<api::PluginInfoRequest>,
    ) -> Result<Response<api::PluginInfoResponse>> {
        let api::PluginInfoRequest { r#type, id, .. } = request.into_inner();
        let mut all = self.all().into_iter();
        let found = all.find(|plugin| plugin.r#type == r#type && plugin.id == id);
        let plugin = found.ok_or_else(|| Status::not_found(format!("plugin {type}.{id}: not found")))?;
        Ok(Response::new(api::PluginInfoResponse {
            plugin: Some(plugin),
            extra: None,
        }))
    }
}

impl Service {
    fn all(&self) -> Vec<api::Plugin> {
        let named = PLUGINS
            .iter()
            .map(|(r#type, id)| plugin(r#type, id, HashMap::new()));
        let snapshotters = self.0.snapshotters().map(|name| {
            let address = self.0.snapshotter_address(name);
            let address = address.map(|address| ("address".to_owned(), address.to_owned()));
            let root = self.0.snapshotter_root(name);
            let root = root.map(|root| ("root".to_owned(), root.to_string_lossy().into_owned()));
            plugin(SNAPSHOTTER, name, address.into_iter().chain(root).collect())
        });
        named.chain(snapshotters).collect()
    }
}

fn plugin(r#type: &str, id: &str, exports: HashMap<String, String>) -> api::Plugin {
    let native = Platform {
        os: "linux".to_owned(),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
        ..Default::default()
    };
    let of_platform = matches!(
        r#type,
        SNAPSHOTTER | "io.containerd.differ.v1" | "io.containerd.runtime.v2"
    );
    api::Plugin {
        r#type: r#type.to_owned(),
        id: id.to_owned(),
        platforms: of_platform.then_some(native).into_iter().collect(),
        exports,
        ..Default::default()
    }
}
