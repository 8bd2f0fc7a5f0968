//! The native snapshotter: the suite, and what only it promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lighter_meta::Db;
use lighter_snapshots::{Labels, Local, Snapshotters as _, native, suite};
use lighter_stdx::clock::Clock;

fn open(dir: &Path) -> Local {
    let db = Db::open(&dir.join("meta.db"), 1).unwrap();
    native::open(&dir.join("snapshots"), &db, &Clock::system())
        .unwrap()
        .0
}

#[test]
fn native_conforms() {
    let dir = tempfile::tempdir().unwrap();
    suite::run(dir.path(), suite::Takes::AllItShows, |root| Arc::new(open(root)));
}

/// What is in the snapshotter's root but for the trash.
fn trees(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("snapshots")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut trees: Vec<PathBuf> = paths
        .filter(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok())
        .collect();
    trees.sort();
    trees
}

#[tokio::test]
async fn a_copy_that_nobody_waits_for_leaves_no_half_made_tree() {
    let dir = tempfile::tempdir().unwrap();
    let one = open(dir.path()).namespace("one", None);
    let mounts = one.prepare("making", "", Labels::new()).await.unwrap();
    for number in 0..500 {
        fs::write(Path::new(&mounts[0].source).join(number.to_string()), "x").unwrap();
    }
    one.commit("base", "making", Labels::new()).await.unwrap();
    // The caller goes away as soon as the copy is under way.
    let prepare = one.prepare("active", "base", Labels::new());
    assert!(
        tokio::time::timeout(std::time::Duration::ZERO, prepare)
            .await
            .is_err()
    );
    // The name is taken in the end, by a whole tree.
    let mounts = loop {
        match one.mounts("active").await {
            Ok(mounts) => break mounts,
            Err(error) => assert_eq!(error.kind(), lighter_stdx::kind::Kind::NotFound, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(fs::read_dir(&mounts[0].source).unwrap().count(), 500);
    assert_eq!(trees(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_copy_that_fails_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let one = open(dir.path()).namespace("one", None);
    one.prepare("making", "", Labels::new()).await.unwrap();
    one.commit("base", "making", Labels::new()).await.unwrap();
    let [base] = trees(dir.path()).try_into().unwrap();
    fs::remove_dir(base.join("fs")).unwrap();
    let error = one.prepare("active", "base", Labels::new()).await.unwrap_err();
    assert!(
        error.to_string().contains("base") || error.to_string().contains("fs"),
        "{error}"
    );
    one.cleanup().await.unwrap();
    assert_eq!(trees(dir.path()), [base]);
}
