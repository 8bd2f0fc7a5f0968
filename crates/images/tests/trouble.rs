//! Pulls that go wrong: cut, wrong, slow, full. Nothing half-made stays, and the next pull goes on. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;
#[path = "../../registry/tests/common/mod.rs"]
mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{Home, Layout, options};
use lighter_content::Error as ContentError;
use lighter_images::Error;
use lighter_oci::{Descriptor, Digest};
use lighter_registry::Error as RegistryError;
use lighter_stdx::kind::Kind;
use server::{Reply, Request, Server};

type Fault = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// A registry of one image, whose answers a test can spoil.
struct Bad {
    server: Server,
    fault: Arc<Mutex<Box<Fault>>>,
}

impl Bad {
    fn serve(layout: &Layout, manifest: &Descriptor) -> Bad {
        let blobs: HashMap<String, Vec<u8>> = std::fs::read_dir(layout.dir.path().join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    format!("sha256:{}", entry.file_name().to_str().unwrap()),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        let fault: Arc<Mutex<Box<Fault>>> = Arc::new(Mutex::new(Box::new(|_: &Request, reply| reply)));
        let (spoil, manifest) = (Arc::clone(&fault), manifest.clone());
        let server = Server::start(move |request| {
            let object = request.path.rsplit('/').next().unwrap();
            let reply = match blobs.get(object) {
                _ if object == "latest" => {
                    Reply::manifest(&blobs[manifest.digest.as_str()], &manifest.media_type)
                }
                Some(data) if request.path.contains("/manifests/") => {
                    Reply::manifest(data, &manifest.media_type)
                }
                Some(data) => Reply::blob(request, data),
                None => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
            };
            spoil.lock().unwrap()(request, reply)
        });
        Bad { server, fault }
    }

    /// From now on, spoils answers about `digest` so.
    fn spoil(&self, digest: &Digest, how: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) {
        let digest = digest.to_string();
        *self.fault.lock().unwrap() =
            Box::new(
                move |request: &Request, reply: Reply| match request.path.ends_with(&digest) {
                    true => how(request, reply),
                    false => reply,
                },
            );
    }

    fn name(&self) -> String {
        self.server.image("app")
    }
}

fn image(layout: &Layout) -> (Vec<common::Layer>, Descriptor) {
    let layers = vec![
        layout.layer("echo base >base; head -c 2000000 /dev/urandom >noise"),
        layout.layer("echo mid >mid; head -c 4000000 /dev/urandom >noise2"),
        layout.layer("echo top >top"),
    ];
    let manifest = layout.image(&layers, "amd64");
    (layers, manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_cut_is_resumed_by_the_next() {
    let (layout, home) = (Layout::new(), Home::new());
    let (layers, manifest) = image(&layout);
    let bad = Bad::serve(&layout, &manifest);
    let (middle, size) = (
        layers[1].0.digest.clone(),
        usize::try_from(layers[1].0.size).unwrap(),
    );
    bad.spoil(&middle, move |request, reply| Reply {
        cut: Some((size / 2).saturating_sub(request.range())),
        ..reply
    });
    let (result, _) = home.pull(&bad.name(), options()).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Cut { .. })),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Unavailable);
    // What was whole is there, what was half is an ingest, and no snapshot is half.
    assert!(
        home.snapshotter()
            .walk(&["kind==Active".into()])
            .await
            .unwrap()
            .is_empty()
    );
    let left = home.store().list_statuses(&[]).await.unwrap();
    assert!(
        left.iter()
            .any(|status| status.expected.as_ref() == Some(&middle) && status.offset > 0),
        "{left:?}"
    );

    bad.spoil(&middle, |_, reply| reply);
    let before = bad.server.requests().len();
    let (result, _) = home.pull(&bad.name(), options()).await;
    let chain_id = result.unwrap().chain_id.unwrap();
    let resumed = bad.server.requests().split_off(before);
    let resumed = resumed
        .iter()
        .find(|request| request.path.ends_with(middle.as_str()))
        .unwrap();
    assert!(resumed.range() >= size / 2 - (512 << 10), "{}", resumed.range());
    assert_eq!(home.look(&chain_id, "cat base mid top").await, "base\nmid\ntop\n");
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_a_wrong_digest_leaves_nothing() {
    let layout = Layout::new();
    let (layers, manifest) = image(&layout);
    let bad = Bad::serve(&layout, &manifest);
    for layer in [0, 2] {
        let home = Home::new();
        bad.spoil(&layers[layer].0.digest, |_, mut reply| {
            // In the trailer of the stream: it unpacks, and is wrong.
            let at = reply.body.len() - 1;
            reply.body[at] ^= 1;
            reply
        });
        let (result, _) = home.pull(&bad.name(), options()).await;
        let error = result.unwrap_err();
        let told = matches!(&error, Error::Layer { .. } | Error::Unpack { .. });
        assert!(told, "{error:?}");
        assert!(
            home.snapshotter()
                .walk(&["kind==Active".into()])
                .await
                .unwrap()
                .is_empty()
        );
        assert!(home.is_clean().await);
        assert!(home.store().info(&layers[layer].0.digest).await.is_err());
        bad.spoil(&layers[0].0.digest, |_, reply| reply);
        home.pull(&bad.name(), options()).await.0.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_lies_about_a_layer_is_refused() {
    let (layout, home) = (Layout::new(), Home::new());
    let (mut layers, _) = image(&layout);
    layers[1].1 = Digest::sha256(b"something else");
    let bad = Bad::serve(&layout, &layout.image(&layers, "amd64"));
    let (result, _) = home.pull(&bad.name(), options()).await;
    let error = result.unwrap_err();
    assert!(matches!(error, Error::DiffId { .. }), "{error:?}");
    // The layer below, which is right, and nothing half-made.
    assert!(home.is_clean().await);
    let left = home.snapshotter().walk(&[]).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].kind, lighter_snapshots::Kind::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_no_archive_is_refused() {
    let (layout, home) = (Layout::new(), Home::new());
    let noise = layout.layer_of(&[b'x'; 100_000]);
    let bad = Bad::serve(&layout, &layout.image(&[noise], "amd64"));
    let (result, _) = home.pull(&bad.name(), options()).await;
    let error = result.unwrap_err();
    assert!(
        lighter_stdx::error::chain(&error).contains("not a tar header"),
        "{error:?}"
    );
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_and_a_missing_blob_is_told() {
    let (layout, home) = (Layout::new(), Home::new());
    let (layers, manifest) = image(&layout);
    let bad = Bad::serve(&layout, &manifest);
    bad.spoil(&layers[0].0.digest, |request, reply| Reply {
        stall: Some(1000_usize.saturating_sub(request.range())),
        ..reply
    });
    let mut quick = options();
    quick.stall_timeout = std::time::Duration::from_millis(100);
    let (result, _) = home.pull(&bad.name(), quick).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Cut { at: 1000, .. })),
        "{error:?}"
    );
    assert!(
        lighter_stdx::error::chain(&error).contains("no answer within 0.1 s"),
        "{error:?}"
    );
    bad.spoil(&layers[0].0.digest, |_, _| {
        Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry")
    });
    let (result, _) = home.pull(&bad.name(), options()).await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains("blob unknown"), "{error}");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_wrong_leaves_nothing() {
    let (layout, home) = (Layout::new(), Home::new());
    let (_, manifest) = image(&layout);
    let bad = Bad::serve(&layout, &manifest);
    let config = {
        let body = std::fs::read(layout.path(&manifest.digest)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&body).unwrap();
        manifest["config"]["digest"].as_str().unwrap().parse().unwrap()
    };
    let spoil = |_: &Request, mut reply: Reply| {
        reply.body[0] ^= 1;
        reply
    };
    bad.spoil(&config, spoil);
    let error = home.pull(&bad.name(), options()).await.0.unwrap_err();
    assert!(
        matches!(error, Error::Content(ContentError::Digest { .. })),
        "{error:?}"
    );
    assert!(home.is_clean().await);
    let home = Home::new();
    bad.spoil(&manifest.digest, spoil);
    let name = format!("{}@{}", bad.name(), manifest.digest);
    let error = home.pull(&name, options()).await.0.unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::Digest { .. })),
        "{error:?}"
    );
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_dropped_stops_and_the_next_goes_on() {
    let (layout, home) = (Layout::new(), Home::new());
    let (layers, manifest) = image(&layout);
    let bad = Bad::serve(&layout, &manifest);
    let reached = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&reached);
    bad.spoil(&layers[1].0.digest, move |_, reply| {
        flag.store(true, Ordering::SeqCst);
        Reply {
            stall: Some(2_000_000),
            ..reply
        }
    });
    {
        let name = bad.name();
        let pulling = home.pull(&name, options());
        let seen = async {
            while !reached.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = pulling => panic!("it cannot end"),
            () = seen => {}
        }
    }
    bad.spoil(&layers[1].0.digest, |_, reply| reply);
    let (result, _) = home.pull(&bad.name(), options()).await;
    let chain_id = result.unwrap().chain_id.unwrap();
    assert_eq!(home.look(&chain_id, "cat base mid top").await, "base\nmid\ntop\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_dropped_before_a_byte_came_leaves_nothing() {
    let (layout, home) = (Layout::new(), Home::new());
    let (layers, manifest) = image(&layout);
    let bad = Bad::serve(&layout, &manifest);
    bad.spoil(&layers[1].0.digest, |_, reply| Reply {
        stall: Some(0),
        ..reply
    });
    {
        let name = bad.name();
        let pulling = home.pull(&name, options());
        let middle = &layers[1].0.digest;
        let begun = async {
            // The others are whole: an ingest that is just being made when the pull is dropped would come after the clean-up.
            let is_it = |status: &lighter_content::Status| status.expected.as_ref() == Some(middle);
            while !home.store().list_statuses(&[]).await.unwrap().iter().any(is_it)
                || home.store().info(&layers[0].0.digest).await.is_err()
                || home.store().info(&layers[2].0.digest).await.is_err()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = pulling => panic!("it cannot end"),
            () = begun => {}
        }
    }
    lighter_images::discard_empty(home.store().as_ref()).await;
    let left = home.store().list_statuses(&[]).await.unwrap();
    assert!(left.iter().all(|status| status.offset > 0), "{left:?}");
}

/// Where the second half of the next test finds its small disk.
const SMALL_DISK: &str = "LIGHTER_TEST_SMALL_DISK";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_cleaned_up() {
    let Some(disk) = std::env::var_os(SMALL_DISK) else {
        // Once more, in a mount namespace of its own with a disk of 24 MiB.
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$1\" --exact a_full_disk_is_told_and_cleaned_up --nocapture";
        let output = std::process::Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script])
            .args([dir.path(), &std::env::current_exe().unwrap()])
            .env(SMALL_DISK, dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    };
    let (layout, home) = (Layout::new(), Home::new_in(std::path::Path::new(&disk)));
    // Unpacking fills it, ...
    let zeros = layout.layer("head -c 60000000 /dev/zero >zeros");
    let bad = Bad::serve(
        &layout,
        &layout.image(&[layout.layer("echo base >base"), zeros], "amd64"),
    );
    let (result, _) = home.pull(&bad.name(), options()).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::Unpack { .. }) && error.kind() == Kind::Exhausted,
        "{error:?}"
    );
    assert!(
        home.snapshotter()
            .walk(&["kind==Active".into()])
            .await
            .unwrap()
            .is_empty()
    );
    home.snapshotter().cleanup().await.unwrap();
    // ... or downloading does.
    let noise = layout.layer("head -c 40000000 /dev/urandom >noise");
    let bad = Bad::serve(&layout, &layout.image(&[noise], "amd64"));
    let (result, _) = home.pull(&bad.name(), options()).await;
    assert_eq!(result.unwrap_err().kind(), Kind::Exhausted);
    assert!(
        home.snapshotter()
            .walk(&["kind==Active".into()])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(home.is_clean().await);
    // With room again all is well.
    let small = layout.layer("echo small >small");
    let bad = Bad::serve(&layout, &layout.image(&[small], "amd64"));
    home.pull(&bad.name(), options()).await.0.unwrap();
}
