//! One client over one connection, of either daemon.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use lighter_containerd_api::NAMESPACE_HEADER;
use lighter_containerd_api::any;
use lighter_containerd_api::containers::containers_client::ContainersClient;
use lighter_containerd_api::containers::{
    Container, CreateContainerRequest, DeleteContainerRequest, container::Runtime,
};
use lighter_containerd_api::content::content_client::ContentClient;
use lighter_containerd_api::content::{InfoRequest, ReadContentRequest};
use lighter_containerd_api::diff::ApplyRequest;
use lighter_containerd_api::diff::diff_client::DiffClient;
use lighter_containerd_api::images::GetImageRequest;
use lighter_containerd_api::images::images_client::ImagesClient;
use lighter_containerd_api::snapshots::snapshots_client::SnapshotsClient;
use lighter_containerd_api::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use lighter_containerd_api::tasks::tasks_client::TasksClient;
use lighter_containerd_api::tasks::{
    CreateTaskRequest, DeleteTaskRequest, KillRequest, StartRequest, WaitRequest,
};
use lighter_containerd_api::types::Descriptor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use super::daemons::Daemon;

/// `ctr`'s namespace and snapshotter.
const NAMESPACE: &str = "default";
const SNAPSHOTTER: &str = "overlayfs";

/// A connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    runtime: &'static str,
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(
        NAMESPACE_HEADER,
        tonic::metadata::MetadataValue::from_static(NAMESPACE),
    );
    request
}

impl Client {
    pub async fn connect(daemon: &Daemon) -> Result<Client> {
        let endpoint = Endpoint::try_from(format!("unix://{}", daemon.socket.display()))?;
        Ok(Client {
            channel: endpoint.connect().await?,
            runtime: daemon.runtime,
        })
    }

    /// Makes and starts `count` containers of `image`, eight at a time; how long it took until the last was started.
    pub async fn start_many(&self, image: &str, count: usize, cgroup: &str) -> Result<Duration> {
        let chain = self
            .layers(image)
            .await?
            .pop()
            .context("an image without layers")?
            .1;
        let begin = Instant::now();
        self.each(count, |client, id| {
            let (chain, cgroup) = (chain.clone(), format!("{cgroup}/{id}"));
            async move { client.start(&id, &chain, &cgroup).await }
        })
        .await?;
        Ok(begin.elapsed())
    }

    /// Ends them all.
    pub async fn end_many(&self, count: usize) -> Result<()> {
        self.each(count, |client, id| async move { client.end(&id).await })
            .await
    }

    async fn each<F: Future<Output = Result<()>> + Send + 'static>(
        &self,
        count: usize,
        work: impl Fn(Client, String) -> F,
    ) -> Result<()> {
        let mut running = JoinSet::new();
        for at in 0..count {
            if running.len() == 8 {
                running.join_next().await.context("eight are running")???;
            }
            running.spawn(work(self.clone(), format!("many-{at}")));
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn start(&self, id: &str, chain: &str, cgroup: &str) -> Result<()> {
        let container = Container {
            id: id.to_owned(),
            runtime: Some(Runtime {
                name: self.runtime.to_owned(),
                options: None,
            }),
            spec: Some(any::json(any::SPEC, spec(cgroup).to_string().into_bytes())),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: id.to_owned(),
            ..Default::default()
        };
        // First, for it keeps the snapshot.
        let create = CreateContainerRequest {
            container: Some(container),
        };
        ContainersClient::new(self.channel.clone())
            .create(request(create))
            .await?;
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: id.to_owned(),
            parent: chain.to_owned(),
            ..Default::default()
        };
        let mounts = SnapshotsClient::new(self.channel.clone())
            .prepare(request(prepare))
            .await?;
        let mut tasks = TasksClient::new(self.channel.clone());
        let create = CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs: mounts.into_inner().mounts,
            ..Default::default()
        };
        tasks.create(request(create)).await?;
        let start = StartRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        tasks.start(request(start)).await?;
        Ok(())
    }

    async fn end(&self, id: &str) -> Result<()> {
        let mut tasks = TasksClient::new(self.channel.clone());
        let kill = KillRequest {
            container_id: id.to_owned(),
            signal: 9,
            ..Default::default()
        };
        tasks.kill(request(kill)).await?;
        let wait = WaitRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        tasks.wait(request(wait)).await?;
        let delete = DeleteTaskRequest {
            container_id: id.to_owned(),
        };
        tasks.delete(request(delete)).await?;
        self.remove(id).await?;
        let delete = DeleteContainerRequest { id: id.to_owned() };
        ContainersClient::new(self.channel.clone())
            .delete(request(delete))
            .await?;
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let remove = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.to_owned(),
        };
        SnapshotsClient::new(self.channel.clone())
            .remove(request(remove))
            .await?;
        Ok(())
    }

    /// Unpacks `image`, whose blobs are there, layer by layer; how long it took. What was made is removed again.
    pub async fn unpack(&self, image: &str) -> Result<Duration> {
        let mut layers = self.layers(image).await?;
        for (_, chain) in &mut layers {
            // Names of its own: another image may have the same layer.
            *chain = format!("unpacked {chain}");
        }
        let mut snapshots = SnapshotsClient::new(self.channel.clone());
        let (mut parent, begin) = (String::new(), Instant::now());
        for (diff, chain) in &layers {
            let key = format!("unpack {chain}");
            let prepare = PrepareSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                key: key.clone(),
                parent: parent.clone(),
                labels: kept(),
            };
            let mounts = snapshots.prepare(request(prepare)).await?.into_inner().mounts;
            let apply = ApplyRequest {
                diff: Some(diff.clone()),
                mounts,
                ..Default::default()
            };
            DiffClient::new(self.channel.clone())
                .apply(request(apply))
                .await?;
            let commit = CommitSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                name: chain.clone(),
                key,
                labels: kept(),
            };
            snapshots.commit(request(commit)).await?;
            parent.clone_from(chain);
        }
        let took = begin.elapsed();
        for (_, chain) in layers.iter().rev() {
            self.remove(chain).await?;
        }
        Ok(took)
    }

    /// How many times a second the record of a blob is told, `width` questions at a time.
    pub async fn infos(&self, image: &str, width: usize, time: Duration) -> Result<f64> {
        let digest = self
            .layers(image)
            .await?
            .pop()
            .context("an image without layers")?
            .0
            .digest;
        let count = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..width {
            let (mut client, count) = (ContentClient::new(self.channel.clone()), Arc::clone(&count));
            let digest = digest.clone();
            running.spawn(async move {
                while begin.elapsed() < time {
                    let info = InfoRequest {
                        digest: digest.clone(),
                    };
                    client.info(request(info)).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), tonic::Status>(())
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
    }

    /// The layers of an image and the names of the snapshots that they make.
    async fn layers(&self, image: &str) -> Result<Vec<(Descriptor, String)>> {
        let get = GetImageRequest {
            name: image.to_owned(),
        };
        let found = ImagesClient::new(self.channel.clone()).get(request(get)).await?;
        let target = found.into_inner().image.and_then(|image| image.target);
        let manifest = self
            .document(&target.context("an image without target")?.digest)
            .await?;
        let config = manifest["config"]["digest"]
            .as_str()
            .context("a manifest without config")?;
        let config = self.document(config).await?;
        let diffs = config["rootfs"]["diff_ids"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let (mut chain, mut layers) = (String::new(), Vec::new());
        for (layer, diff) in manifest["layers"].as_array().into_iter().flatten().zip(diffs) {
            let diff = diff.as_str().unwrap_or_default().to_owned();
            // OCI image spec, config.md, "Layer ChainID".
            chain = match chain.as_str() {
                "" => diff,
                below => format!(
                    "sha256:{}",
                    hex::encode(Sha256::digest(format!("{below} {diff}")))
                ),
            };
            let text = |name: &str| layer[name].as_str().unwrap_or_default().to_owned();
            let descriptor = Descriptor {
                media_type: text("mediaType"),
                digest: text("digest"),
                size: layer["size"].as_i64().unwrap_or(0),
                ..Default::default()
            };
            layers.push((descriptor, chain.clone()));
        }
        Ok(layers)
    }

    async fn document(&self, digest: &str) -> Result<Value> {
        let read = ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            size: 0,
        };
        let mut parts = ContentClient::new(self.channel.clone())
            .read(request(read))
            .await?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await? {
            bytes.extend(part.data);
        }
        serde_json::from_slice(&bytes).map_err(|error| anyhow!("{digest}: {error}"))
    }
}

/// The labels of what a collection must leave.
fn kept() -> HashMap<String, String> {
    HashMap::from([("containerd.io/gc.root".to_owned(), "true".to_owned())])
}

/// A container that sleeps.
fn spec(cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
            "args": ["/bin/sleep", "1000"], "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"},
            ],
        },
    })
}
