//! Events about records: containerd's messages, names and numbers exact.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::Any;

macro_rules! event {
    ($(#[$doc:meta])* $name:ident, $full:literal, $topic:literal, { $($(#[$attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name { $($(#[$attr])* pub(crate) $field: $type,)* }

        impl Event for $name {
            const TOPIC: &'static str = $topic;
            const TYPE: &'static str = $full;
        }
    };
}

/// A message that is published under a topic.
pub(crate) trait Event: Message {
    const TOPIC: &'static str;
    const TYPE: &'static str;

    fn to_any(&self) -> Any
    where
        Self: Sized,
    {
        Any {
            type_url: Self::TYPE.to_owned(),
            value: self.encode_to_vec(),
        }
    }
}

/// Runtime of a container.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Runtime {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) options: Option<Any>,
}

event!(ContainerCreate, "containerd.events.ContainerCreate", "/containers/create", {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    image: String,
    #[prost(message, optional, tag = "3")]
    runtime: Option<Runtime>,
});
event!(ContainerUpdate, "containerd.events.ContainerUpdate", "/containers/update", {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    image: String,
    #[prost(btree_map = "string, string", tag = "3")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    snapshot_key: String,
});
event!(ContainerDelete, "containerd.events.ContainerDelete", "/containers/delete", {
    #[prost(string, tag = "1")]
    id: String,
});
event!(ImageCreate, "containerd.services.images.v1.ImageCreate", "/images/create", {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
});
event!(ImageUpdate, "containerd.services.images.v1.ImageUpdate", "/images/update", {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
});
event!(ImageDelete, "containerd.services.images.v1.ImageDelete", "/images/delete", {
    #[prost(string, tag = "1")]
    name: String,
});
event!(NamespaceCreate, "containerd.events.NamespaceCreate", "/namespaces/create", {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
});
event!(NamespaceUpdate, "containerd.events.NamespaceUpdate", "/namespaces/update", {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
});
event!(NamespaceDelete, "containerd.events.NamespaceDelete", "/namespaces/delete", {
    #[prost(string, tag = "1")]
    name: String,
});
event!(SnapshotPrepare, "containerd.events.SnapshotPrepare", "/snapshot/prepare", {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    parent: String,
    #[prost(string, tag = "5")]
    snapshotter: String,
});
event!(SnapshotCommit, "containerd.events.SnapshotCommit", "/snapshot/commit", {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "5")]
    snapshotter: String,
});
event!(SnapshotRemove, "containerd.events.SnapshotRemove", "/snapshot/remove", {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "5")]
    snapshotter: String,
});
event!(ContentDelete, "containerd.events.ContentDelete", "/content/delete", {
    #[prost(string, tag = "1")]
    digest: String,
});
event!(ContentCreate, "containerd.events.ContentCreate", "/content/create", {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(int64, tag = "2")]
    size: i64,
});
event!(SandboxCreate, "containerd.events.SandboxCreate", "/sandboxes/create", {
    #[prost(string, tag = "1")]
    sandbox_id: String,
});
event!(SandboxStart, "containerd.events.SandboxStart", "/sandboxes/start", {
    #[prost(string, tag = "1")]
    sandbox_id: String,
});
event!(SandboxExit, "containerd.events.SandboxExit", "/sandboxes/exit", {
    #[prost(string, tag = "1")]
    sandbox_id: String,
    #[prost(uint32, tag = "2")]
    exit_status: u32,
    #[prost(message, optional, tag = "3")]
    exited_at: Option<prost_types::Timestamp>,
});
