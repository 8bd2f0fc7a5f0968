//! The overlayfs snapshotter: the suite, and what only it promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use lighter_content::lease::Leases;
use lighter_content::{Collector, LocalContent, write_blob};
use lighter_meta::Db;
use lighter_snapshots::{Labels, Snapshotters as _, overlayfs, suite};
use lighter_snapshots::{Local, Repairs};
use lighter_stdx::clock::Clock;

const DIRECTORY: &str = "LIGHTER_SNAPSHOTS_TEST_DIRECTORY";

fn open(dir: &Path) -> (Db, Local, Repairs) {
    let db = Db::open(&dir.join("meta.db"), 1).unwrap();
    let (overlayfs, repairs) = overlayfs::open(&dir.join("snapshots"), &db, &Clock::system()).unwrap();
    (db, overlayfs, repairs)
}

#[test]
fn overlayfs_conforms() {
    let dir = tempfile::tempdir().unwrap();
    suite::run(dir.path(), suite::Takes::WhatItAdds, |root| {
        Arc::new(open(root).1)
    });
}

#[tokio::test]
async fn what_a_death_left_is_mended_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    {
        let one = open(dir.path()).1.namespace("one", None);
        one.prepare("making", "", Labels::new()).await.unwrap();
        one.commit("base", "making", Labels::new()).await.unwrap();
        one.prepare("kept", "base", Labels::new()).await.unwrap();
        one.prepare("lost", "base", Labels::new()).await.unwrap();
    }
    let root = dir.path().join("snapshots").canonicalize().unwrap();
    fs::create_dir_all(root.join("77/fs/tree")).unwrap();
    fs::create_dir_all(root.join("trash/5/fs/tree")).unwrap();
    fs::remove_dir_all(root.join("3")).unwrap();
    let (_, overlayfs, repairs) = open(dir.path());
    assert_eq!(repairs.directories, [root.join("77")]);
    assert_eq!(repairs.records, [("one".to_owned(), "lost".to_owned())]);
    assert_eq!(repairs.broken, []);
    let one = overlayfs.namespace("one", None);
    one.cleanup().await.unwrap();
    assert_eq!(fs::read_dir(root.join("trash")).unwrap().count(), 0);
    let names: Vec<String> = one
        .walk(&[])
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["base", "kept"]);
    // The next number is above all that were seen.
    let mounts = one.prepare("new", "", Labels::new()).await.unwrap();
    assert!(
        Path::new(&mounts[0].source).starts_with(root.join("78")),
        "{mounts:?}"
    );
}

#[tokio::test]
async fn a_parent_whose_directory_is_gone_is_reported_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    {
        let one = open(dir.path()).1.namespace("one", None);
        one.prepare("making", "", Labels::new()).await.unwrap();
        one.commit("base", "making", Labels::new()).await.unwrap();
        one.prepare("child", "base", Labels::new()).await.unwrap();
    }
    fs::remove_dir_all(dir.path().join("snapshots/1")).unwrap();
    let (_, _, repairs) = open(dir.path());
    assert_eq!(
        repairs,
        Repairs {
            broken: vec![("one".into(), "base".into())],
            ..Repairs::default()
        }
    );
}

#[tokio::test]
async fn the_collector_removes_snapshots_from_the_top_of_what_nothing_holds() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let (db, overlayfs, _) = open(dir.path());
    let (content, _) = LocalContent::open(&dir.path().join("content"), &db, &clock).unwrap();
    let stores = vec![Arc::new(content.clone()) as _, Arc::new(overlayfs.clone()) as _];
    let collector = Collector::new(&db, &clock, stores, Vec::new());
    let leases = Leases::new(&db, &clock, "one");
    leases.create("pull", Labels::new()).await.unwrap();
    let one = overlayfs.namespace("one", Some("pull"));
    for (name, parent) in [("base", ""), ("top", "base"), ("other", "base")] {
        one.prepare("making", parent, Labels::new()).await.unwrap();
        one.commit(name, "making", Labels::new()).await.unwrap();
    }
    let pinned = Labels::from([("containerd.io/gc.root".to_owned(), "now".to_owned())]);
    overlayfs
        .namespace("one", None)
        .prepare("container", "top", pinned)
        .await
        .unwrap();
    assert_eq!(collector.collect().await.unwrap().removed, []);
    leases.delete("pull").await.unwrap();
    let names = || async {
        let infos = one.walk(&[]).await.unwrap();
        infos.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    collector.collect().await.unwrap();
    assert_eq!(names().await, ["base", "container", "top"]);
    overlayfs
        .namespace("one", None)
        .remove("container")
        .await
        .unwrap();
    // A blob that is a root refers to the snapshot that was unpacked from it.
    let labels = [
        ("containerd.io/gc.root", "now"),
        ("containerd.io/gc.ref.snapshot.overlayfs", "base"),
    ];
    let labels = labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    write_blob(
        &content.namespace("one", None),
        Bytes::from_static(b"config"),
        labels,
    )
    .await
    .unwrap();
    collector.collect().await.unwrap();
    assert_eq!(names().await, ["base"]);
    one.cleanup().await.unwrap();
    let left = fs::read_dir(dir.path().join("snapshots")).unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .parse::<u64>()
            .is_ok()
    });
    assert_eq!(left.count(), 1);
}

/// What the traced child does; nothing when a person runs the tests.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let dir = Path::new(&dir);
    let (db, overlayfs, _) = open(dir);
    let (content, _) = LocalContent::open(&dir.join("content"), &db, &Clock::system()).unwrap();
    let one = overlayfs.namespace("one", None);
    let store = content.namespace("one", None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        one.prepare("first", "", Labels::new()).await.unwrap();
        db.settle().await.unwrap();
        println!("MARK unpack");
        one.prepare("extract-1", "", Labels::new()).await.unwrap();
        one.commit("base", "extract-1", Labels::new()).await.unwrap();
        println!("MARK prepare");
        one.prepare("container", "base", Labels::new()).await.unwrap();
        // As a task does that is made in it.
        db.settle().await.unwrap();
        println!("MARK remove");
        one.remove("container").await.unwrap();
        println!("MARK blob");
        write_blob(&store, Bytes::from_static(b"data"), Labels::new())
            .await
            .unwrap();
        println!("MARK end");
    });
}

#[test]
fn fsyncs_are_as_few_as_promised() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args("-f -qq -s 64 -e trace=fsync,fdatasync,sync,syncfs,write -o".split(' '))
        .arg(&trace);
    strace.arg(std::env::current_exe().unwrap()).args([
        "--exact",
        "child",
        "--nocapture",
        "--test-threads=1",
    ]);
    let output = strace
        .env(DIRECTORY, dir.path())
        .stdout(Stdio::piped())
        .output()
        .expect("this test needs strace");
    assert!(output.status.success(), "{output:?}");
    let mut found: Vec<(String, usize)> = Vec::new();
    for line in fs::read_to_string(&trace).unwrap().lines() {
        if let Some((_, mark)) = line.split_once("MARK ") {
            found.push((mark.split('\\').next().unwrap().to_owned(), 0));
        } else if let Some((_, count)) = found.last_mut()
            && line.contains("sync")
            && !line.contains("resumed")
        {
            *count += 1;
        }
    }
    found.pop();
    let expected = [("unpack", 0), ("prepare", 1), ("remove", 0), ("blob", 2)];
    assert_eq!(found, expected.map(|(mark, count)| (mark.to_owned(), count)));
}
