//! Images, leases, snapshots and layers through the socket; what is kept, and what is collected.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;

use lighter_containerd_api::diff::diff_client::DiffClient;
use lighter_containerd_api::diff::{ApplyRequest, DiffRequest};
use lighter_containerd_api::event_service::SubscribeRequest;
use lighter_containerd_api::event_service::events_client::EventsClient;
use lighter_containerd_api::images::images_client::ImagesClient;
use lighter_containerd_api::images::{self as api, Image};
use lighter_containerd_api::leases::leases_client::LeasesClient;
use lighter_containerd_api::leases::{self, Resource};
use lighter_containerd_api::snapshots::snapshots_client::SnapshotsClient;
use lighter_containerd_api::snapshots::{self, Kind};
use lighter_containerd_api::streaming::StreamInit;
use lighter_containerd_api::streaming::streaming_client::StreamingClient;
use lighter_containerd_api::transfer::transfer_client::TransferClient;
use lighter_containerd_api::transfer::{TransferOptions, TransferRequest};
use lighter_containerd_api::transfer_types::{ImageExportStream, ImageStore, OciRegistry};
use lighter_containerd_api::types::{Descriptor, Mount};
use lighter_containerd_api::{Any, any};
use lighter_content::write_blob;
use lighter_oci::Digest;
use prost_types::FieldMask;
use support::{Server, request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A blob that nothing protects.
async fn blob(server: &Server, data: &'static [u8], labels: &[(&str, &str)]) -> Descriptor {
    let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let store = server.layer.content("test", None);
    let digest = write_blob(store.as_ref(), data.into(), labels.collect())
        .await
        .unwrap();
    Descriptor {
        media_type: MANIFEST.to_owned(),
        digest: digest.to_string(),
        size: data.len().try_into().unwrap(),
        annotations: HashMap::new(),
    }
}

async fn exists(server: &Server, target: &Descriptor) -> bool {
    let digest: Digest = target.digest.parse().unwrap();
    server.layer.content("test", None).info(&digest).await.is_ok()
}

fn image(name: &str, target: &Descriptor) -> Image {
    Image {
        name: name.to_owned(),
        labels: HashMap::from([("a".to_owned(), "1".to_owned())]),
        target: Some(target.clone()),
        ..Default::default()
    }
}

fn create(image: Image) -> Request<api::CreateImageRequest> {
    request(api::CreateImageRequest {
        image: Some(image),
        source_date_epoch: None,
    })
}

#[tokio::test]
async fn images_are_named_changed_found_and_removed() {
    let server = Server::start().await;
    let mut client = ImagesClient::new(server.channel.clone());
    let (one, two) = (blob(&server, b"one", &[]).await, blob(&server, b"two", &[]).await);
    client.create(create(image("x/y:1", &one))).await.unwrap();
    let twice = client.create(create(image("x/y:1", &two))).await;
    assert_eq!(twice.unwrap_err().code(), Code::AlreadyExists);
    for wrong in [
        image("", &one),
        image(
            "n",
            &Descriptor {
                size: 0,
                ..one.clone()
            },
        ),
        image(
            "n",
            &Descriptor {
                media_type: String::new(),
                ..one.clone()
            },
        ),
        image(
            "n",
            &Descriptor {
                digest: "sha256:1".into(),
                ..one.clone()
            },
        ),
        Image {
            target: None,
            ..image("n", &one)
        },
    ] {
        let error = client.create(create(wrong)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }

    let update = |image: Image, fields: &[&str]| {
        let paths = fields.iter().map(|field| field.to_string()).collect();
        request(api::UpdateImageRequest {
            image: Some(image),
            update_mask: Some(FieldMask { paths }),
            source_date_epoch: None,
        })
    };
    // A mask of labels leaves the target as it is, whatever comes with it.
    let mut labelled = image("x/y:1", &Descriptor::default());
    labelled.labels = HashMap::from([("b".to_owned(), "2".to_owned())]);
    let now = client
        .update(update(labelled, &["labels.b"]))
        .await
        .unwrap()
        .into_inner();
    let now = now.image.unwrap();
    assert_eq!((now.labels.len(), now.target), (2, Some(one.clone())));
    let moved = client
        .update(update(image("x/y:1", &two), &["target"]))
        .await
        .unwrap();
    let moved = moved.into_inner().image.unwrap();
    assert_eq!((moved.labels.len(), moved.target), (2, Some(two.clone())));
    let absent = client.update(update(image("none", &one), &[])).await;
    assert_eq!(absent.unwrap_err().code(), Code::NotFound);

    client.create(create(image("x/z:1", &two))).await.unwrap();
    let mut list = async |filters: &[&str]| {
        let filters = filters.iter().map(|filter| filter.to_string()).collect();
        let list = client.list(request(api::ListImagesRequest { filters })).await;
        let names = list
            .unwrap()
            .into_inner()
            .images
            .into_iter()
            .map(|image| image.name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(list(&[]).await, ["x/y:1", "x/z:1"]);
    assert_eq!(list(&["name==x/z:1"]).await, ["x/z:1"]);
    assert_eq!(list(&[r#"labels."b"==2"#, "name==none"]).await, ["x/y:1"]);
    assert_eq!(list(&["name~=^x/"]).await.len(), 2);

    let delete = |name: &str, target: Option<&Descriptor>| {
        request(api::DeleteImageRequest {
            name: name.to_owned(),
            sync: true,
            target: target.cloned(),
        })
    };
    let other = client.delete(delete("x/y:1", Some(&one))).await;
    assert_eq!(other.unwrap_err().code(), Code::NotFound);
    client.delete(delete("x/y:1", Some(&two))).await.unwrap();
    let gone = client
        .get(request(api::GetImageRequest { name: "x/y:1".into() }))
        .await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    let again = client.delete(delete("x/y:1", None)).await;
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
    // Another image still names it; the last takes it along, before the answer.
    assert!(exists(&server, &two).await && !exists(&server, &one).await);
    client.delete(delete("x/z:1", None)).await.unwrap();
    assert!(!exists(&server, &two).await);
}

#[tokio::test]
async fn a_lease_keeps_what_is_made_under_it_and_what_is_added() {
    let server = Server::start().await;
    let mut client = LeasesClient::new(server.channel.clone());
    let labels = HashMap::from([("team".to_owned(), "a".to_owned())]);
    let id = "keeper".to_owned();
    let made = client
        .create(request(leases::CreateRequest {
            id: id.clone(),
            labels,
        }))
        .await;
    assert_eq!(made.unwrap().into_inner().lease.unwrap().id, id);
    let twice = client
        .create(request(leases::CreateRequest {
            id: id.clone(),
            ..Default::default()
        }))
        .await;
    assert_eq!(twice.unwrap_err().code(), Code::AlreadyExists);
    let unnamed = client.create(request(leases::CreateRequest::default())).await;
    let unnamed = unnamed.unwrap().into_inner().lease.unwrap();
    assert!(!unnamed.id.is_empty());

    let kept = blob(&server, b"kept", &[]).await;
    let loose = blob(&server, b"loose", &[]).await;
    let resource = |kind: &str, id: &str| Resource {
        id: id.to_owned(),
        r#type: kind.to_owned(),
    };
    let add = |resource: Resource| {
        request(leases::AddResourceRequest {
            id: id.clone(),
            resource: Some(resource),
        })
    };
    client
        .add_resource(add(resource("content", &kept.digest)))
        .await
        .unwrap();
    let odd = client.add_resource(add(resource("magic", "x"))).await;
    assert_eq!(odd.unwrap_err().code(), Code::Unimplemented);
    // A snapshot that is made in a request under the lease.
    let mut snapshots = SnapshotsClient::new(server.channel.clone());
    let mut prepare = request(snapshots::PrepareSnapshotRequest {
        snapshotter: "overlayfs".to_owned(),
        key: "active".to_owned(),
        ..Default::default()
    });
    prepare
        .metadata_mut()
        .insert("containerd-lease", id.parse().unwrap());
    snapshots.prepare(prepare).await.unwrap();
    let of = leases::ListResourcesRequest { id: id.clone() };
    let held = client
        .list_resources(request(of))
        .await
        .unwrap()
        .into_inner()
        .resources;
    assert_eq!(
        held,
        [
            resource("content", &kept.digest),
            resource("snapshots/overlayfs", "active")
        ]
    );

    client
        .delete(request(leases::DeleteRequest {
            id: unnamed.id,
            sync: true,
        }))
        .await
        .unwrap();
    assert!(exists(&server, &kept).await && !exists(&server, &loose).await);
    let filters = vec!["labels.team==a".to_owned()];
    let list = client.list(request(leases::ListRequest { filters })).await;
    assert_eq!(list.unwrap().into_inner().leases.len(), 1);
    let drop = leases::DeleteResourceRequest {
        id: id.clone(),
        resource: Some(resource("snapshots/overlayfs", "active")),
    };
    client.delete_resource(request(drop)).await.unwrap();
    client
        .delete(request(leases::DeleteRequest {
            id: id.clone(),
            sync: true,
        }))
        .await
        .unwrap();
    assert!(!exists(&server, &kept).await);
    let key = "active".to_owned();
    let stat = snapshots::StatSnapshotRequest {
        key,
        ..Default::default()
    };
    assert_eq!(
        snapshots.stat(request(stat)).await.unwrap_err().code(),
        Code::NotFound
    );
    let none = client
        .list_resources(request(leases::ListResourcesRequest { id }))
        .await;
    assert_eq!(none.unwrap_err().code(), Code::NotFound);
}

/// A tar archive of one file.
fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", data.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(data);
    header.resize(header.len().next_multiple_of(512) + 1024, 0);
    header
}

/// What is in the active snapshot behind `mounts`, as a layer of each media type; and read again.
async fn a_difference_is_stored(server: &Server, mounts: &[Mount]) {
    let mut diff = DiffClient::new(server.channel.clone());
    let made = |media_type: &str| {
        request(DiffRequest {
            right: mounts.to_vec(),
            media_type: media_type.to_owned(),
            labels: HashMap::from([("mine".to_owned(), "1".to_owned())]),
            ..Default::default()
        })
    };
    let refused = diff.diff(made("application/x-odd")).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let (gzip, zstd) = (format!("{plain}+gzip"), format!("{plain}+zstd"));
    let (mut diff_ids, store) = (Vec::new(), server.layer.content("test", None));
    for (media_type, told) in [(plain, plain), ("", &gzip), (&gzip, &gzip), (&zstd, &zstd)] {
        let layer = diff
            .diff(made(media_type))
            .await
            .unwrap()
            .into_inner()
            .diff
            .unwrap();
        assert_eq!(layer.media_type, told);
        let info = store.info(&layer.digest.parse().unwrap()).await.unwrap();
        assert_eq!(info.size, u64::try_from(layer.size).unwrap());
        assert_eq!(info.labels["mine"], "1");
        let uncompressed = info.labels.get("containerd.io/uncompressed");
        diff_ids.push(uncompressed.cloned().unwrap_or(layer.digest));
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1, "{diff_ids:?}");
    assert_eq!(store.list_statuses(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_layer_is_applied_to_a_snapshot_and_committed() {
    for snapshotter in ["overlayfs", "native"] {
        a_layer_is_applied_and_committed(snapshotter).await;
    }
}

async fn a_layer_is_applied_and_committed(snapshotter: &str) {
    let server = Server::start().await;
    let filters = vec!["topic~=^/snapshot".to_owned()];
    let mut events = EventsClient::new(server.channel.clone());
    let mut events = events
        .subscribe(SubscribeRequest { filters })
        .await
        .unwrap()
        .into_inner();
    let mut snapshots = SnapshotsClient::new(server.channel.clone());
    let mut diff = DiffClient::new(server.channel.clone());
    let layer: &'static [u8] = tar("file", b"hello").leak();
    let layer_blob = blob(&server, layer, &[]).await;
    let snapshotter = snapshotter.to_owned();
    let prepared = snapshots.prepare(request(snapshots::PrepareSnapshotRequest {
        snapshotter: snapshotter.clone(),
        key: "extract-1".to_owned(),
        labels: HashMap::from([("containerd.io/gc.root".to_owned(), "now".to_owned())]),
        ..Default::default()
    }));
    let mounts = prepared.await.unwrap().into_inner().mounts;
    let [Mount { r#type, source, .. }] = mounts.as_slice() else {
        panic!("{mounts:?}");
    };
    assert_eq!(r#type, "bind");
    let applied = diff.apply(request(ApplyRequest {
        diff: Some(layer_blob),
        mounts: mounts.clone(),
        sync_fs: true,
        ..Default::default()
    }));
    let applied = applied.await.unwrap().into_inner().applied.unwrap();
    assert_eq!(applied.digest, Digest::sha256(layer).to_string());
    assert_eq!(std::fs::read(format!("{source}/file")).unwrap(), b"hello");
    a_difference_is_stored(&server, &mounts).await;

    let commit = |name: &str, key: &str| {
        request(snapshots::CommitSnapshotRequest {
            snapshotter: snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: HashMap::new(),
        })
    };
    snapshots.commit(commit("base", "extract-1")).await.unwrap();
    let view = snapshots::ViewSnapshotRequest {
        snapshotter: snapshotter.clone(),
        key: "look".to_owned(),
        parent: "base".to_owned(),
        ..Default::default()
    };
    let seen = snapshots.view(request(view)).await.unwrap().into_inner().mounts;
    assert!(seen[0].options.contains(&"ro".to_owned()), "{seen:?}");
    let stat = |key: &str| {
        let (snapshotter, key) = (snapshotter.clone(), key.to_owned());
        request(snapshots::StatSnapshotRequest { snapshotter, key })
    };
    let info = snapshots
        .stat(stat("look"))
        .await
        .unwrap()
        .into_inner()
        .info
        .unwrap();
    assert_eq!((info.kind(), info.parent.as_str()), (Kind::View, "base"));
    let usage = snapshots::UsageRequest {
        snapshotter: snapshotter.clone(),
        key: "base".into(),
    };
    let usage = snapshots.usage(request(usage)).await.unwrap().into_inner();
    assert!(usage.inodes >= 2 && usage.size >= 5, "{usage:?}");
    let list = snapshots::ListSnapshotsRequest {
        snapshotter: snapshotter.clone(),
        filters: vec![],
    };
    let mut list = snapshots.list(request(list)).await.unwrap().into_inner();
    let names: Vec<_> = list.message().await.unwrap().unwrap().info;
    assert_eq!(
        names.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(),
        ["base", "look"]
    );

    let remove = |key: &str| {
        let (snapshotter, key) = (snapshotter.clone(), key.to_owned());
        request(snapshots::RemoveSnapshotRequest { snapshotter, key })
    };
    let parent = snapshots.remove(remove("base")).await;
    assert_eq!(parent.unwrap_err().code(), Code::FailedPrecondition);
    snapshots.remove(remove("look")).await.unwrap();
    let unknown = snapshots.stat(request(snapshots::StatSnapshotRequest {
        snapshotter: "magic".to_owned(),
        key: "base".to_owned(),
    }));
    assert_eq!(unknown.await.unwrap_err().code(), Code::InvalidArgument);
    for topic in [
        "/snapshot/prepare",
        "/snapshot/commit",
        // Of the view nothing is told, but its removal is.
        "/snapshot/remove",
    ] {
        assert_eq!(events.message().await.unwrap().unwrap().topic, topic);
    }
}

#[tokio::test]
async fn an_image_has_another_name_by_a_transfer_and_what_has_no_way_is_refused() {
    let server = Server::start().await;
    let target = blob(&server, b"target", &[]).await;
    let mut images = ImagesClient::new(server.channel.clone());
    images.create(create(image("one", &target))).await.unwrap();
    let mut transfers = TransferClient::new(server.channel.clone());
    let transfer = |source: Any, destination: Any, progress: &str| {
        request(TransferRequest {
            source: Some(source),
            destination: Some(destination),
            options: Some(TransferOptions {
                progress_stream: progress.to_owned(),
            }),
        })
    };
    let store = |name: &str| {
        any::pack(&ImageStore {
            name: name.to_owned(),
            ..Default::default()
        })
    };
    let registry_of = |name: &str| {
        any::pack(&OciRegistry {
            // Nobody listens there.
            reference: format!("127.0.0.1:1/{name}:1"),
            resolver: None,
        })
    };
    transfers
        .transfer(transfer(store("one"), store("two"), ""))
        .await
        .unwrap();
    let two = images
        .get(request(api::GetImageRequest { name: "two".into() }))
        .await
        .unwrap();
    assert_eq!(two.into_inner().image.unwrap().target, Some(target));
    let absent = transfers
        .transfer(transfer(store("none"), store("two"), ""))
        .await;
    assert_eq!(absent.unwrap_err().code(), Code::NotFound);
    let export = any::pack(&ImageExportStream::default());
    let error = transfers
        .transfer(transfer(store("one"), export, ""))
        .await
        .unwrap_err();
    // The stream that it would go to was not named.
    assert_eq!(error.code(), Code::NotFound, "{error}");
    let error = transfers
        .transfer(transfer(registry_of("x"), registry_of("y"), ""))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
    let registry = registry_of("x");
    let error = transfers
        .transfer(transfer(registry.clone(), store("x"), ""))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let error = transfers
        .transfer(transfer(registry.clone(), store("x"), "no-stream"))
        .await;
    assert_eq!(error.unwrap_err().code(), Code::NotFound);

    // A stream that was named is found once, and ends with the transfer.
    let mut streams = StreamingClient::new(server.channel.clone());
    let (sender, messages) = mpsc::channel(1);
    sender
        .send(any::pack(&StreamInit {
            id: "told".to_owned(),
        }))
        .await
        .unwrap();
    let opened = streams.stream(request(ReceiverStream::new(messages))).await;
    let mut told = opened.unwrap().into_inner();
    assert_eq!(
        told.message().await.unwrap().unwrap().type_url,
        "google.protobuf.Empty"
    );
    let error = transfers
        .transfer(transfer(registry, store("x"), "told"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    while told.message().await.unwrap().is_some() {}
    // Nothing of a failed pull stays but what its ingests had.
    let leases = LeasesClient::new(server.channel.clone())
        .list(request(leases::ListRequest::default()))
        .await;
    assert_eq!(leases.unwrap().into_inner().leases, []);
}
