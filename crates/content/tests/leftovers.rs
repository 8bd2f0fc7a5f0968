//! What a death between the commit of a blob and the removal of its ingest leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lighter_content::{Collector, ContentStore, Labels, LocalContent, WriterOptions, read_blob};
use lighter_meta::Db;
use lighter_oci::Digest;
use lighter_stdx::clock::Clock;

fn options(expected: Option<&Digest>) -> WriterOptions {
    WriterOptions {
        name: "ref".into(),
        total: 0,
        expected: expected.cloned(),
    }
}

fn ingest(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir.join("content/ingest")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// Commits a blob and puts its ingest back, as if we had died just before it was removed.
async fn left(dir: &Path, content: &LocalContent, expected: Option<&Digest>) -> Digest {
    let store = content.namespace("n", None);
    let mut writer = store.writer(options(expected)).await.unwrap();
    writer.write(Bytes::from_static(b"whole")).await.unwrap();
    let ingest = ingest(dir);
    let record = fs::read(ingest.join("ingest.json")).unwrap();
    let labels = Labels::from([("containerd.io/gc.root".to_owned(), "true".to_owned())]);
    let digest = writer.commit(5, None, labels).await.unwrap();
    assert!(!ingest.exists());
    fs::create_dir(&ingest).unwrap();
    fs::write(ingest.join("ingest.json"), record).unwrap();
    let blob = dir.join("content/blobs/sha256").join(digest.encoded());
    fs::hard_link(blob, ingest.join("data")).unwrap();
    digest
}

#[tokio::test]
async fn what_is_written_under_the_same_name_never_lands_in_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("meta.db"), 1).unwrap();
    let (content, _) = LocalContent::open(&dir.path().join("content"), &db, &Clock::system()).unwrap();
    let digest = left(dir.path(), &content, None).await;
    let store = content.namespace("n", None);
    let mut writer = store.writer(options(None)).await.unwrap();
    assert_eq!(writer.status().offset, 0);
    writer.write(Bytes::from_static(b"other")).await.unwrap();
    let other = writer.commit(5, None, Labels::new()).await.unwrap();
    assert_ne!(other, digest);
    assert_eq!(read_blob(&store, &digest, 10).await.unwrap(), "whole");
    assert_eq!(read_blob(&store, &other, 10).await.unwrap(), "other");
}

#[tokio::test]
async fn a_collection_takes_the_ingest_of_a_blob_away() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("meta.db"), 1).unwrap();
    let clock = Clock::system();
    let (content, _) = LocalContent::open(&dir.path().join("content"), &db, &clock).unwrap();
    let collector = Collector::new(&db, &clock, vec![Arc::new(content.clone())], Vec::new());
    for expected in [None, Some(Digest::sha256(b"whole"))] {
        let digest = left(dir.path(), &content, expected.as_ref()).await;
        if expected.is_some() {
            // One that another namespace had already has no second name.
            let data = ingest(dir.path()).join("data");
            fs::remove_file(&data).unwrap();
            fs::write(&data, "whole").unwrap();
        }
        collector.collect().await.unwrap();
        assert_eq!(
            fs::read_dir(dir.path().join("content/ingest")).unwrap().count(),
            0,
            "{expected:?}"
        );
        let store = content.namespace("n", None);
        assert_eq!(read_blob(&store, &digest, 10).await.unwrap(), "whole");
        store.delete(&digest).await.unwrap();
    }
}
