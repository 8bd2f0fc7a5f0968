//! Files that are truncated, flipped and taken away under the layer: `content check` says which, and with a pull all is well again.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use lighter_containerd_api::leases::leases_client::LeasesClient;
use lighter_containerd_api::leases::{Lease, ListRequest};
use lighter_containerd_api::snapshots::PrepareSnapshotRequest;
use lighter_containerd_api::snapshots::snapshots_client::SnapshotsClient;
use lighter_harness::Machine;

use crate::check::{self, entries, trees};
use crate::daemon::{Daemon, request};
use crate::kills::{clear, must, reference};
use crate::operations::{self, Operation, SNAPSHOTTER};

/// What `content check` says of the layer that was killed.
pub(crate) fn look(daemon: &Daemon, repair: bool) -> (bool, String) {
    let program = lighter_harness::dist().join("lighter-containerd");
    let mut command = daemon
        .host
        .command(Machine::Host, &[&program.display().to_string()]);
    command.arg("--root").arg(&daemon.root).args(["content", "check"]);
    if repair {
        command.arg("--repair");
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("running the check");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.success(), said)
}

/// A way to damage a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Truncate,
    Delete,
}

fn damage(path: &Path, how: Damage) {
    let metadata = fs::symlink_metadata(path).expect("a file to damage");
    // Its time stays: nobody could tell by it.
    let times = fs::FileTimes::new().set_modified(metadata.modified().expect("a time"));
    let writable = fs::Permissions::from_mode(0o600);
    match how {
        Damage::Delete => return fs::remove_file(path).expect("removing a file"),
        _ => fs::set_permissions(path, writable).expect("making a file writable"),
    }
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("opening a file");
    if let Damage::Truncate = how {
        file.set_len(metadata.len() / 2).expect("truncating a file");
    } else {
        let byte = fs::read(path).expect("reading a file")[0];
        file.seek(SeekFrom::Start(0)).expect("seeking");
        file.write_all(&[byte ^ 0x10]).expect("flipping a bit");
    }
    file.set_times(times).expect("setting a time");
    drop(file);
    fs::set_permissions(path, metadata.permissions()).expect("setting a mode");
}

/// Regular files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(dir) {
        let metadata = fs::symlink_metadata(&path).expect("a file");
        if metadata.is_dir() {
            found.extend(files(&path));
        } else if metadata.is_file() && metadata.len() > 0 {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_damaged_blob_is_told_and_fetched_again() {
    let mut daemon = Daemon::start();
    let trees_of_it = reference(&daemon);
    must(&daemon, operations::pull(&daemon.channel, true), "the pull");
    let blobs = entries(&daemon.root.join("content/blobs/sha256"));
    assert!(blobs.len() >= 4, "a manifest, a config and two layers: {blobs:?}");
    for (path, how) in blobs.iter().zip(
        [Damage::Flip, Damage::Truncate, Damage::Delete]
            .into_iter()
            .cycle(),
    ) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let about = format!("{how:?} of {name}");
        daemon.kill();
        let (well, said) = look(&daemon, false);
        assert!(
            well && said.contains("nothing is wrong"),
            "{about}: before: {said}"
        );
        damage(path, how);
        let (well, said) = look(&daemon, false);
        assert!(!well && said.contains(&name), "{about}: {said}");
        let (_, said) = look(&daemon, true);
        assert!(
            said.contains(&name) && said.contains("dropped"),
            "{about}: {said}"
        );
        daemon.restart();
        must(&daemon, operations::pull(&daemon.channel, true), &about);
        check::whole(&daemon, &trees_of_it, &about);
    }
    daemon.kill();
    let (well, said) = look(&daemon, false);
    assert!(well, "{said}");
    daemon.restart();
    clear(&daemon, "in the end");
}

#[test]
fn a_damaged_layer_is_told_and_unpacked_again_below_its_container() {
    let mut daemon = Daemon::start();
    let known = reference(&daemon);
    must(&daemon, operations::pull(&daemon.channel, true), "the pull");
    // A container's snapshot stands on it: it cannot be taken away.
    let (_, top) = must(&daemon, operations::layers(&daemon.channel), "the layers")
        .pop()
        .expect("a layer");
    let prepare = PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: "container".to_owned(),
        parent: top,
        labels: [("containerd.io/gc.root".to_owned(), "true".to_owned())].into(),
    };
    let prepared = daemon
        .runtime
        .block_on(SnapshotsClient::new(daemon.channel.clone()).prepare(request(prepare)));
    prepared.expect("a container's snapshot");
    daemon.kill();
    let layers: Vec<_> = entries(&daemon.root.join("snapshots"))
        .into_iter()
        .map(|dir| dir.join("fs"))
        .filter(|dir| !files(dir).is_empty())
        .collect();
    assert_eq!(layers.len(), 2, "{layers:?}");
    for (layer, how) in layers.iter().flat_map(|layer| {
        [
            (layer, Damage::Flip),
            (layer, Damage::Truncate),
            (layer, Damage::Delete),
        ]
    }) {
        let path = files(layer).pop().expect("a file of the layer");
        let name = path
            .strip_prefix(layer)
            .expect("it is below")
            .display()
            .to_string();
        let about = format!("{how:?} of {}", path.display());
        damage(&path, how);
        let (well, said) = look(&daemon, false);
        assert!(!well && said.contains(&name), "{about}: {said}");
        let (well, said) = look(&daemon, true);
        assert!(well && said.contains("unpacked anew"), "{about}: {said}");
        let (well, said) = look(&daemon, false);
        assert!(well && said.contains("nothing is wrong"), "{about}: {said}");
    }
    // All of a layer.
    fs::remove_dir_all(&layers[1]).expect("removing a layer");
    let (well, said) = look(&daemon, true);
    assert!(well && said.contains("its directory is gone"), "{said}");
    daemon.restart();
    let mut there = trees(&daemon, &check::snapshots(&daemon));
    there.retain(|name, _| known.contains_key(name));
    assert_eq!(there, known);
}

#[test]
fn a_blob_that_is_damaged_under_a_running_layer_is_fetched_again_when_it_is_needed() {
    let daemon = Daemon::start();
    let known = reference(&daemon);
    for how in [Damage::Flip, Damage::Truncate, Damage::Delete] {
        let about = format!("{how:?}");
        must(&daemon, operations::pull(&daemon.channel, false), &about);
        for path in entries(&daemon.root.join("content/blobs/sha256")) {
            damage(&path, how);
        }
        must(&daemon, operations::pull(&daemon.channel, true), &about);
        check::whole(&daemon, &known, &about);
        clear(&daemon, &about);
    }
}

#[test]
fn what_a_killed_pull_brought_is_kept_for_minutes_and_not_for_a_day() {
    let mut daemon = Daemon::start();
    // Until a death hits one in the middle.
    let lease = (0..50).find_map(|round| {
        let channel = daemon.channel.clone();
        let running = daemon
            .runtime
            .spawn(async move { operations::run(&channel, Operation::Pull).await });
        while !running.is_finished() && leases(&daemon).is_empty() {}
        daemon.kill();
        // It fails, or was done.
        let _ = daemon.runtime.block_on(running);
        daemon.restart();
        let leases = leases(&daemon);
        must(
            &daemon,
            operations::remove(&daemon.channel, true),
            &format!("round {round}"),
        );
        leases.into_iter().next()
    });
    let lease = lease.expect("a pull was hit");
    let end: jiff::Timestamp = lease.labels["containerd.io/gc.expire"].parse().expect("a time");
    let left = end.duration_since(jiff::Timestamp::now());
    assert!(left.as_secs() <= 600, "{lease:?}");
    // The next try succeeds, and then nothing stays.
    must(&daemon, operations::pull(&daemon.channel, true), "the next try");
    clear(&daemon, "in the end");
}

fn leases(daemon: &Daemon) -> Vec<Lease> {
    let mut client = LeasesClient::new(daemon.channel.clone());
    let list = client.list(request(ListRequest::default()));
    daemon.runtime.block_on(list).expect("leases").into_inner().leases
}
