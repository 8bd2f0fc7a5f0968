//! What the layer is at when it dies.

use std::collections::HashMap;

use lighter_containerd_api::any;
use lighter_containerd_api::content::content_client::ContentClient;
use lighter_containerd_api::content::{ReadContentRequest, WriteAction, WriteContentRequest};
use lighter_containerd_api::diff::ApplyRequest;
use lighter_containerd_api::diff::diff_client::DiffClient;
use lighter_containerd_api::images::images_client::ImagesClient;
use lighter_containerd_api::images::{DeleteImageRequest, GetImageRequest};
use lighter_containerd_api::leases::leases_client::LeasesClient;
use lighter_containerd_api::leases::{CreateRequest, DeleteRequest, ListRequest};
use lighter_containerd_api::snapshots::snapshots_client::SnapshotsClient;
use lighter_containerd_api::snapshots::{CleanupRequest, CommitSnapshotRequest, PrepareSnapshotRequest};
use lighter_containerd_api::transfer::TransferRequest;
use lighter_containerd_api::transfer::transfer_client::TransferClient;
use lighter_containerd_api::transfer_types::{
    ImageStore, OciRegistry, RegistryResolver, UnpackConfiguration,
};
use lighter_containerd_api::types::{Descriptor, Platform};
use lighter_harness::Registry;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::daemon::request;

pub(crate) const SNAPSHOTTER: &str = "overlayfs";
/// The label that keeps a thing that nobody refers to.
pub(crate) const ROOT: &str = "containerd.io/gc.root";
/// The lease that an unpacking client holds.
const UNPACKING: &str = "unpacking";

/// One of the five things that must survive a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// An image from the registry, unpacked while it comes: one call.
    Pull,
    /// Its layers into snapshots, as clients do it that have no transfer: prepare, apply, commit.
    Unpack,
    /// A blob, written and committed.
    Commit,
    /// An image, with all that only it has.
    Remove,
    /// What an image that has gone left.
    Collect,
}

impl Operation {
    pub(crate) const ALL: [Operation; 5] = [
        Operation::Pull,
        Operation::Unpack,
        Operation::Commit,
        Operation::Remove,
        Operation::Collect,
    ];
}

/// The image: two layers of a megabyte and of 200 bytes.
pub(crate) fn image() -> String {
    format!("{}/library/web:latest", Registry::ADDRESS)
}

/// What must be there before `operation`.
pub(crate) async fn prepare(channel: &Channel, operation: Operation) -> Result<(), Status> {
    match operation {
        Operation::Pull | Operation::Commit => Ok(()),
        Operation::Unpack => pull(channel, false).await,
        Operation::Remove => pull(channel, true).await,
        Operation::Collect => {
            pull(channel, true).await?;
            remove(channel, false).await
        }
    }
}

pub(crate) async fn run(channel: &Channel, operation: Operation) -> Result<(), Status> {
    match operation {
        Operation::Pull => pull(channel, true).await,
        Operation::Unpack => unpack(channel).await,
        Operation::Commit => commit(channel, &blob()).await,
        Operation::Remove => remove(channel, true).await,
        Operation::Collect => collect(channel).await,
    }
}

/// Pulls [`image`].
pub(crate) async fn pull(channel: &Channel, unpacked: bool) -> Result<(), Status> {
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        ..Default::default()
    };
    let source = OciRegistry {
        reference: image(),
        resolver: Some(RegistryResolver {
            default_scheme: "http".to_owned(),
            ..Default::default()
        }),
    };
    let unpacks = unpacked.then(|| UnpackConfiguration {
        platform: Some(platform.clone()),
        snapshotter: SNAPSHOTTER.to_owned(),
    });
    let destination = ImageStore {
        name: image(),
        platforms: vec![platform],
        unpacks: unpacks.into_iter().collect(),
        ..Default::default()
    };
    let transfer = TransferRequest {
        source: Some(any::pack(&source)),
        destination: Some(any::pack(&destination)),
        options: None,
    };
    TransferClient::new(channel.clone())
        .transfer(request(transfer))
        .await
        .map(drop)
}

/// Removes [`image`]; that it is gone already is as good.
pub(crate) async fn remove(channel: &Channel, sync: bool) -> Result<(), Status> {
    let delete = DeleteImageRequest {
        name: image(),
        sync,
        target: None,
    };
    let deleted = ImagesClient::new(channel.clone()).delete(request(delete)).await;
    match deleted {
        Err(error) if error.code() == Code::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// Collects now: what the end of a lease brings with it.
pub(crate) async fn collect(channel: &Channel) -> Result<(), Status> {
    lease(channel, "collect").await?;
    end_lease(channel, "collect").await
}

/// Waits until the directories of removed snapshots are deleted.
pub(crate) async fn cleanup(channel: &Channel) -> Result<(), Status> {
    let cleanup = CleanupRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
    };
    let mut client = SnapshotsClient::new(channel.clone());
    client.cleanup(request(cleanup)).await.map(drop)
}

async fn lease(channel: &Channel, id: &str) -> Result<(), Status> {
    let create = CreateRequest {
        id: id.to_owned(),
        labels: HashMap::new(),
    };
    let created = LeasesClient::new(channel.clone()).create(request(create)).await;
    match created {
        Err(error) if error.code() == Code::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

async fn end_lease(channel: &Channel, id: &str) -> Result<(), Status> {
    let delete = DeleteRequest {
        id: id.to_owned(),
        sync: true,
    };
    let deleted = LeasesClient::new(channel.clone()).delete(request(delete)).await;
    deleted.map(drop)
}

/// Ends every lease: those of clients and pulls that died last a day.
pub(crate) async fn end_leases(channel: &Channel) -> Result<(), Status> {
    let mut client = LeasesClient::new(channel.clone());
    let list = client.list(request(ListRequest::default())).await?.into_inner();
    for lease in list.leases {
        end_lease(channel, &lease.id).await?;
    }
    Ok(())
}

/// The blob that [`Operation::Commit`] writes.
pub(crate) fn blob() -> Vec<u8> {
    (0..80_000_u32).flat_map(u32::to_le_bytes).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

async fn commit(channel: &Channel, bytes: &[u8]) -> Result<(), Status> {
    let digest = digest(bytes);
    let message = |action: WriteAction| WriteContentRequest {
        action: action.into(),
        r#ref: "a blob".to_owned(),
        total: i64::try_from(bytes.len()).unwrap_or(0),
        expected: digest.clone(),
        ..Default::default()
    };
    let mut client = ContentClient::new(channel.clone());
    // What an earlier try wrote is gone on with.
    let begun = client
        .write(request(tokio_stream::once(message(WriteAction::Stat))))
        .await;
    let begun = match begun {
        Ok(answers) => {
            let mut answers = answers.into_inner();
            let first = answers.message().await;
            // To its end: only then may it be opened again.
            while let Ok(Some(_)) = answers.message().await {}
            first
        }
        Err(error) => Err(error),
    };
    let offset = match begun {
        Ok(Some(answer)) => usize::try_from(answer.offset).unwrap_or(0),
        Ok(None) => 0,
        Err(error) if error.code() == Code::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut messages: Vec<_> = (offset..bytes.len())
        .step_by(100_000)
        .map(|from| WriteContentRequest {
            offset: i64::try_from(from).unwrap_or(0),
            data: bytes[from..(from + 100_000).min(bytes.len())].to_vec(),
            ..message(WriteAction::Write)
        })
        .collect();
    messages.push(WriteContentRequest {
        offset: i64::try_from(bytes.len()).unwrap_or(0),
        labels: HashMap::from([(ROOT.to_owned(), "true".to_owned())]),
        ..message(WriteAction::Commit)
    });
    let answers = client.write(request(tokio_stream::iter(messages))).await;
    let mut answers = match answers {
        Err(error) if error.code() == Code::AlreadyExists => return Ok(()),
        other => other?.into_inner(),
    };
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) if error.code() == Code::AlreadyExists => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn unpack(channel: &Channel) -> Result<(), Status> {
    lease(channel, UNPACKING).await?;
    let done = unpack_layers(channel).await;
    end_lease(channel, UNPACKING).await?;
    done
}

async fn unpack_layers(channel: &Channel) -> Result<(), Status> {
    let mut parent = String::new();
    for (layer, chain) in layers(channel).await? {
        let mut snapshots = SnapshotsClient::new(channel.clone());
        let key = format!("unpack {chain}");
        let made = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.clone(),
            parent: parent.clone(),
            labels: HashMap::new(),
        };
        let mounts = match snapshots.prepare(leased(made.clone())).await {
            // What the one that died half filled.
            Err(error) if error.code() == Code::AlreadyExists => {
                let remove = lighter_containerd_api::snapshots::RemoveSnapshotRequest {
                    snapshotter: SNAPSHOTTER.to_owned(),
                    key: key.clone(),
                };
                snapshots.remove(request(remove)).await?;
                snapshots.prepare(leased(made)).await?
            }
            other => other?,
        };
        let apply = ApplyRequest {
            diff: Some(layer),
            mounts: mounts.into_inner().mounts,
            ..Default::default()
        };
        DiffClient::new(channel.clone()).apply(request(apply)).await?;
        let commit = CommitSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            name: chain.clone(),
            key: key.clone(),
            labels: HashMap::from([(ROOT.to_owned(), "true".to_owned())]),
        };
        match snapshots.commit(leased(commit)).await {
            Err(error) if error.code() == Code::AlreadyExists => {
                let remove = lighter_containerd_api::snapshots::RemoveSnapshotRequest {
                    snapshotter: SNAPSHOTTER.to_owned(),
                    key,
                };
                snapshots.remove(request(remove)).await?;
            }
            other => drop(other?),
        }
        parent = chain;
    }
    Ok(())
}

fn leased<T>(message: T) -> tonic::Request<T> {
    let mut request = request(message);
    let lease = UNPACKING.parse().expect("a name is a header's value");
    request
        .metadata_mut()
        .insert(lighter_containerd_api::LEASE_HEADER, lease);
    request
}

/// The layers of [`image`] and the names of the snapshots that they make.
pub(crate) async fn layers(channel: &Channel) -> Result<Vec<(Descriptor, String)>, Status> {
    let get = GetImageRequest { name: image() };
    let image = ImagesClient::new(channel.clone()).get(request(get)).await?;
    let target = image.into_inner().image.and_then(|image| image.target);
    let manifest = document(channel, &target.unwrap_or_default().digest).await?;
    let config = document(channel, manifest["config"]["digest"].as_str().unwrap_or_default()).await?;
    let (mut chain, mut layers) = (String::new(), Vec::new());
    let diffs = config["rootfs"]["diff_ids"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (layer, diff) in manifest["layers"].as_array().into_iter().flatten().zip(diffs) {
        let diff = diff.as_str().unwrap_or_default().to_owned();
        // OCI image spec, config.md, "Layer ChainID".
        chain = if chain.is_empty() {
            diff
        } else {
            digest(format!("{chain} {diff}").as_bytes())
        };
        let descriptor = Descriptor {
            media_type: layer["mediaType"].as_str().unwrap_or_default().to_owned(),
            digest: layer["digest"].as_str().unwrap_or_default().to_owned(),
            size: layer["size"].as_i64().unwrap_or(0),
            ..Default::default()
        };
        layers.push((descriptor, chain.clone()));
    }
    Ok(layers)
}

async fn document(channel: &Channel, digest: &str) -> Result<Value, Status> {
    let read = ReadContentRequest {
        digest: digest.to_owned(),
        offset: 0,
        size: 0,
    };
    let mut parts = ContentClient::new(channel.clone())
        .read(request(read))
        .await?
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await? {
        bytes.extend(part.data);
    }
    serde_json::from_slice(&bytes).map_err(|error| Status::data_loss(error.to_string()))
}

/// Takes the labels away that keep what nobody refers to.
pub(crate) async fn unroot(channel: &Channel) -> Result<(), Status> {
    use lighter_containerd_api::content::{Info as Blob, UpdateRequest};
    use lighter_containerd_api::snapshots::{Info, ListSnapshotsRequest, UpdateSnapshotRequest};
    let mask = || {
        Some(prost_types::FieldMask {
            paths: vec!["labels".to_owned()],
        })
    };
    let mut content = ContentClient::new(channel.clone());
    let update = UpdateRequest {
        info: Some(Blob {
            digest: digest(&blob()),
            ..Default::default()
        }),
        update_mask: mask(),
    };
    match content.update(request(update)).await {
        Err(error) if error.code() == Code::NotFound => {}
        other => drop(other?),
    }
    let mut snapshots = SnapshotsClient::new(channel.clone());
    let list = ListSnapshotsRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        filters: Vec::new(),
    };
    let mut parts = snapshots.list(request(list)).await?.into_inner();
    while let Some(part) = parts.message().await? {
        for info in part.info {
            let update = UpdateSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                info: Some(Info {
                    name: info.name,
                    ..Default::default()
                }),
                update_mask: mask(),
            };
            SnapshotsClient::new(channel.clone())
                .update(request(update))
                .await?;
        }
    }
    Ok(())
}
