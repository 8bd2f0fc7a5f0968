//! What must be true of the layer's files and records whenever nothing is under way.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lighter_containerd_api::content::content_client::ContentClient;
use lighter_containerd_api::content::{Info as Blob, ListContentRequest};
use lighter_containerd_api::snapshots::snapshots_client::SnapshotsClient;
use lighter_containerd_api::snapshots::{
    Info, Kind, ListSnapshotsRequest, RemoveSnapshotRequest, ViewSnapshotRequest,
};
use lighter_containerd_api::types::Mount;
use lighter_harness::eventually;
use tonic::Status;
use tonic::transport::Channel;

use crate::daemon::{Daemon, request};
use crate::kills::must;
use crate::operations::{self, ROOT, SNAPSHOTTER, digest};

/// Hashes of what committed snapshots hold, layer by layer, by their names.
pub(crate) type Trees = BTreeMap<String, u64>;

/// Blobs are what their names say; files and records tell of the same; committed snapshots hold what they held the first time.
pub(crate) fn whole(daemon: &Daemon, known: &Trees, about: &str) {
    let records: BTreeMap<String, i64> = blobs(daemon)
        .into_iter()
        .map(|blob| (blob.digest, blob.size))
        .collect();
    let mut files = BTreeMap::new();
    for path in entries(&daemon.root.join("content/blobs/sha256")) {
        let bytes = fs::read(&path).expect("reading a blob");
        let named = format!(
            "sha256:{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
        assert_eq!(digest(&bytes), named, "{about}: a blob is not what its name says");
        files.insert(named, i64::try_from(bytes.len()).unwrap_or(0));
    }
    assert_eq!(files, records, "{about}: files and records of blobs");

    let snapshots = snapshots(daemon);
    let names: BTreeSet<_> = snapshots.iter().map(|info| info.name.as_str()).collect();
    for info in &snapshots {
        assert!(
            info.parent.is_empty() || names.contains(info.parent.as_str()),
            "{about}: {info:?} has no parent"
        );
    }
    // What was removed is renamed away before it is deleted, or, if it cannot be, deleted where it is.
    must(daemon, operations::cleanup(&daemon.channel), about);
    let directories = numbered(&daemon.root.join("snapshots")).len();
    assert_eq!(
        directories,
        snapshots.len(),
        "{about}: directories of snapshots; records: {snapshots:?}"
    );
    for (name, tree) in trees(daemon, &snapshots) {
        if let Some(known) = known.get(&name) {
            assert_eq!(tree, *known, "{about}: the layer {name} is not what it was");
        }
    }
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", daemon.host.pid())).unwrap_or_default();
    let root = daemon.root.display().to_string();
    let mine = mounts.lines().find(|line| {
        let place = line.split(' ').nth(1).unwrap_or_default();
        place.starts_with(&root) || place.contains("containerd-mount")
    });
    assert_eq!(mine, None, "{about}: a mount is left");
    // A shim's last child sees the end of an overlay through after it.
    eventually(&format!("{about}: no shim is left"), || {
        let left = daemon.host.running("containerd-shim-lighter-v1");
        left.is_empty().then_some(())
    });
}

/// Nothing is there: no record, no file.
pub(crate) fn empty(daemon: &Daemon, about: &str) {
    assert_eq!(blobs(daemon), [], "{about}: blobs stay");
    assert_eq!(snapshots(daemon), [], "{about}: snapshots stay");
    let content = daemon.root.join("content");
    let mut left = entries(&content.join("blobs/sha256"));
    left.extend(entries(&content.join("ingest")));
    left.extend(numbered(&daemon.root.join("snapshots")));
    assert!(left.is_empty(), "{about}: files stay: {left:?}");
    // Deleted by a thread.
    eventually(&format!("{about}: the trash is empty"), || {
        entries(&daemon.root.join("snapshots/trash"))
            .is_empty()
            .then_some(())
    });
}

pub(crate) fn blobs(daemon: &Daemon) -> Vec<Blob> {
    daemon.runtime.block_on(async {
        let mut client = ContentClient::new(daemon.channel.clone());
        let list = client.list(request(ListContentRequest::default())).await;
        let mut parts = list.expect("listing blobs").into_inner();
        let mut all = Vec::new();
        while let Some(part) = parts.message().await.expect("listing blobs") {
            all.extend(part.info);
        }
        all
    })
}

pub(crate) fn snapshots(daemon: &Daemon) -> Vec<Info> {
    daemon.runtime.block_on(async {
        let mut client = SnapshotsClient::new(daemon.channel.clone());
        let list = ListSnapshotsRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            filters: Vec::new(),
        };
        let list = client.list(request(list)).await;
        let mut parts = list.expect("listing snapshots").into_inner();
        let mut all = Vec::new();
        while let Some(part) = parts.message().await.expect("listing snapshots") {
            all.extend(part.info);
        }
        all
    })
}

/// What the committed ones of `snapshots` hold.
pub(crate) fn trees(daemon: &Daemon, snapshots: &[Info]) -> Trees {
    let committed = snapshots.iter().filter(|info| info.kind() == Kind::Committed);
    committed
        .map(|info| {
            let mounts = daemon.runtime.block_on(view(&daemon.channel, &info.name));
            let mut hasher = DefaultHasher::new();
            for dir in directories(&mounts.expect("a view of a snapshot")) {
                hash(&dir, &dir, &mut hasher);
            }
            let removed = daemon.runtime.block_on(end_view(&daemon.channel, &info.name));
            removed.expect("the end of a view");
            (info.name.clone(), hasher.finish())
        })
        .collect()
}

/// The mounts of a view, which is there until [`end_view`]: until then no collection takes what is looked at.
async fn view(channel: &Channel, name: &str) -> Result<Vec<Mount>, Status> {
    let mut client = SnapshotsClient::new(channel.clone());
    let view = ViewSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: look_at(name),
        parent: name.to_owned(),
        // A collection may come in between.
        labels: HashMap::from([(ROOT.to_owned(), "true".to_owned())]),
    };
    Ok(client.view(request(view)).await?.into_inner().mounts)
}

async fn end_view(channel: &Channel, name: &str) -> Result<(), Status> {
    let remove = RemoveSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: look_at(name),
    };
    let removed = SnapshotsClient::new(channel.clone())
        .remove(request(remove))
        .await;
    removed.map(drop)
}

fn look_at(name: &str) -> String {
    format!("look at {name}")
}

/// The directories that a view is made of, the highest first.
pub(crate) fn directories(mounts: &[Mount]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in mounts {
        let lower = mount
            .options
            .iter()
            .find_map(|option| option.strip_prefix("lowerdir="));
        match lower {
            Some(lower) => found.extend(lower.split(':').map(PathBuf::from)),
            None => found.push(PathBuf::from(&mount.source)),
        }
    }
    found
}

fn hash(root: &Path, dir: &Path, hasher: &mut DefaultHasher) {
    for path in entries(dir) {
        let metadata = fs::symlink_metadata(&path).expect("a file of a layer");
        let name = path.strip_prefix(root).expect("it is below");
        name.as_os_str().as_bytes().hash(hasher);
        (
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.rdev(),
        )
            .hash(hasher);
        if metadata.is_dir() {
            hash(root, &path, hasher);
        } else if metadata.is_symlink() {
            fs::read_link(&path)
                .expect("a link")
                .as_os_str()
                .as_bytes()
                .hash(hasher);
        } else if metadata.is_file() {
            metadata.len().hash(hasher);
            fs::read(&path).expect("a file of a layer").hash(hasher);
        }
    }
}

/// The paths in a directory, in order; none, if it is not there.
pub(crate) fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn numbered(dir: &Path) -> Vec<PathBuf> {
    let mut paths = entries(dir);
    paths.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.parse::<u64>().is_ok())
    });
    paths
}
