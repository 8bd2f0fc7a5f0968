//! What the database promises to its callers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lighter_meta::{Db, Durability, Error, Read as _};

fn open(dir: &tempfile::TempDir) -> Db {
    Db::open(&dir.path().join("meta.db"), 1).unwrap()
}

fn put(db: &Db, bucket: &'static str, key: &'static str, value: &'static str) {
    db.write(Durability::Kill, move |tx| tx.put(bucket, key, value.as_bytes()))
        .unwrap();
}

fn keys(db: &Db, bucket: &str, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let each = &mut |key: &str, _: &[u8]| {
        keys.push(key.to_owned());
        Ok(())
    };
    db.read(|tx| tx.scan(bucket, prefix, each)).unwrap();
    keys
}

#[test]
fn records_are_put_replaced_scanned_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    for key in ["b", "a/1", "a/2", "a", "c"] {
        put(&db, "v1/x/images", key, "old");
    }
    put(&db, "v1/x/images", "a/1", "new");
    put(&db, "v1/y/images", "a/3", "");
    assert_eq!(
        db.read(|tx| tx.get("v1/x/images", "a/1")).unwrap().unwrap(),
        b"new"
    );
    assert_eq!(db.read(|tx| tx.get("v1/x/images", "z")).unwrap(), None);
    assert_eq!(keys(&db, "v1/x/images", ""), ["a", "a/1", "a/2", "b", "c"]);
    assert_eq!(keys(&db, "v1/x/images", "a/"), ["a/1", "a/2"]);
    assert_eq!(
        db.read(|tx| tx.buckets("v1/")).unwrap(),
        ["v1/x/images", "v1/y/images"]
    );
    let deleted = db.write(Durability::Kill, |tx| {
        let none = tx.delete("v1/x/images", "z")?;
        let one = tx.delete("v1/x/images", "b")?;
        Ok::<_, Error>((none, one, tx.delete_prefix("v1/x/images", "a/")?))
    });
    assert_eq!(deleted.unwrap(), (false, true, 2));
    assert_eq!(keys(&db, "v1/x/images", ""), ["a", "c"]);
}

#[test]
fn a_write_that_fails_or_panics_leaves_nothing_and_hurts_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    let failed = db.write(Durability::Power, |tx| {
        tx.put("b", "failed", b"")?;
        Err::<(), _>(Error::Closed)
    });
    assert!(matches!(failed, Err(Error::Closed)));
    let panicked = db.write(Durability::Power, |tx| {
        tx.put("b", "panicked", b"")?;
        if tx.get("b", "panicked")?.is_some() {
            panic!("on purpose");
        }
        Ok::<(), Error>(())
    });
    assert!(matches!(panicked, Err(Error::Panicked)), "{panicked:?}");
    put(&db, "b", "good", "");
    assert_eq!(keys(&db, "b", ""), ["good"]);
}

#[test]
fn a_reader_sees_one_state_and_never_waits_for_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    put(&db, "b", "k", "before");
    let (writing, started) = std::sync::mpsc::channel();
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let other = db.clone();
    let writer = std::thread::spawn(move || {
        other.write(Durability::Power, move |tx| {
            tx.put("b", "k", b"after")?;
            writing.send(()).unwrap();
            gate.recv().unwrap();
            Ok::<(), Error>(())
        })
    });
    started.recv().unwrap();
    // The writer stands inside its transaction.
    let seen = db.read(|tx| {
        let first = tx.get("b", "k")?;
        go_on.send(()).unwrap();
        writer.join().unwrap()?;
        // It has committed; this view is still the one before.
        Ok::<_, Error>((first, tx.get("b", "k")?))
    });
    assert_eq!(
        seen.unwrap(),
        (Some(b"before".to_vec()), Some(b"before".to_vec()))
    );
    assert_eq!(db.read(|tx| tx.get("b", "k")).unwrap().unwrap(), b"after");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_all_get_what_they_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                let durability = if number % 3 == 0 {
                    Durability::Power
                } else {
                    Durability::Kill
                };
                let key = format!("{number:03}");
                let put = key.clone();
                db.write_async(durability, move |tx| tx.put("b", &put, b""))
                    .await
                    .unwrap();
                assert!(db.read(|tx| tx.get("b", &key)).unwrap().is_some(), "{key}");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(keys(&db, "b", "").len(), 200);
}

#[test]
fn formats_are_numbered_migrated_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    drop(open(&dir));
    let unknown = Db::open(&path, 2).unwrap_err();
    assert!(matches!(unknown, Error::Migrate { from: 1, .. }), "{unknown}");
    let ran = Arc::new(AtomicBool::new(false));
    let told = ran.clone();
    let db = Db::open_with(&path, 3, |tx, from| {
        told.store(from == 1, Ordering::Relaxed);
        Ok(tx.put("b", "migrated", b"")?)
    });
    assert_eq!(keys(&db.unwrap(), "b", ""), ["migrated"]);
    assert!(ran.load(Ordering::Relaxed));
    let newer = Db::open(&path, 2).unwrap_err();
    assert!(
        matches!(
            newer,
            Error::Newer {
                found: 3,
                known: 2,
                ..
            }
        ),
        "{newer}"
    );
}

#[test]
fn a_database_is_one_handle_family_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    let second = Db::open(&dir.path().join("meta.db"), 1).unwrap_err();
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    drop(db);
    open(&dir);
}
