//! What the local content store promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use lighter_content::{
    ContentStore, Error, Labels, LocalContent, Repairs, WriterOptions, read_blob, write_blob,
};
use lighter_meta::Db;
use lighter_oci::Digest;
use lighter_stdx::clock::Clock;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> (LocalContent, Repairs) {
        let db = Db::open(&self.dir.path().join("meta.db"), 1).unwrap();
        LocalContent::open(&self.dir.path().join("content"), &db, &Clock::system()).unwrap()
    }

    fn blob(&self, digest: &Digest) -> std::path::PathBuf {
        self.dir
            .path()
            .join("content/blobs/sha256")
            .join(digest.encoded())
    }

    fn ingests(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("content/ingest"))
            .unwrap()
            .count()
    }
}

fn options(name: &str, total: u64, expected: Option<&Digest>) -> WriterOptions {
    WriterOptions {
        name: name.into(),
        total,
        expected: expected.cloned(),
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn noise(length: usize) -> Bytes {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn what_was_written_is_read_listed_labelled_and_deleted() {
    let place = Place::new();
    let store = place.open().0.namespace("moby", None);
    let data = noise(3 << 20);
    let mut writer = store.writer(options("layer", 0, None)).await.unwrap();
    for chunk in data.chunks(100_000) {
        writer.write(data.slice_ref(chunk)).await.unwrap();
    }
    assert_eq!(writer.status().offset, data.len() as u64);
    let digest = writer
        .commit(data.len() as u64, None, labels(&[("a", "1")]))
        .await
        .unwrap();
    assert_eq!(digest, Digest::sha256(&data));
    assert_eq!(place.ingests(), 0);
    assert!(matches!(
        writer.write(Bytes::from_static(b"more")).await,
        Err(Error::Precondition { .. })
    ));

    let info = store.info(&digest).await.unwrap();
    assert_eq!(
        (info.size, &info.labels),
        (data.len() as u64, &labels(&[("a", "1")]))
    );
    assert_eq!(read_blob(&store, &digest, 4 << 20).await.unwrap(), data);
    assert!(matches!(
        read_blob(&store, &digest, 1 << 20).await,
        Err(Error::Invalid { .. })
    ));
    let reader = store.reader_at(&digest).await.unwrap();
    assert_eq!(reader.read_at(1000, 10).await.unwrap(), data.slice(1000..1010));
    assert_eq!(
        reader.read_at(data.len() as u64 - 5, 10).await.unwrap(),
        data.slice(data.len() - 5..)
    );
    assert!(reader.read_at(1 << 40, 10).await.unwrap().is_empty());

    let info = store
        .update(&digest, labels(&[("b", "2")]), &["labels.b".into()])
        .await
        .unwrap();
    assert_eq!(info.labels, labels(&[("a", "1"), ("b", "2")]));
    assert_eq!(store.list(&["labels.b==2".into()]).await.unwrap(), [info]);
    assert_eq!(store.list(&["labels.b==3".into()]).await.unwrap(), []);

    store.delete(&digest).await.unwrap();
    assert!(matches!(store.info(&digest).await, Err(Error::NoContent(_))));
    assert!(matches!(store.delete(&digest).await, Err(Error::NoContent(_))));
    assert!(!place.blob(&digest).exists());
    // A reader that was opened before reads on.
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut reader.into_read(), &mut all).unwrap();
    assert_eq!(all, data);
}

#[tokio::test]
async fn an_ingest_goes_on_where_it_stopped_also_after_a_restart() {
    let place = Place::new();
    let data = noise(2 << 20);
    let digest = Digest::sha256(&data);
    let half = data.len() / 2;
    {
        let store = place.open().0.namespace("moby", None);
        let mut writer = store
            .writer(options("layer", data.len() as u64, Some(&digest)))
            .await
            .unwrap();
        writer.write(data.slice(..half)).await.unwrap();
        let locked = store.writer(options("layer", 0, None)).await.unwrap_err();
        assert!(matches!(locked, Error::IngestLocked(_)), "{locked}");
        assert!(matches!(store.abort("layer").await, Err(Error::IngestLocked(_))));
    }
    // The batch under way is written to its end, then the last handle of the database goes: opening waits for that.
    let store = place.open().0.namespace("moby", None);
    let statuses = store.list_statuses(&[]).await.unwrap();
    assert_eq!(statuses.len(), 1);
    assert_eq!(
        (statuses[0].name.as_str(), statuses[0].offset),
        ("layer", half as u64)
    );
    let other = store
        .writer(options("layer", 0, Some(&Digest::sha256(b"other"))))
        .await
        .unwrap_err();
    assert!(matches!(other, Error::Precondition { .. }), "{other}");
    let mut writer = store.writer(options("layer", 0, None)).await.unwrap();
    assert_eq!(writer.status().offset, half as u64);
    writer.write(data.slice(half..)).await.unwrap();
    assert_eq!(writer.commit(0, None, Labels::new()).await.unwrap(), digest);
    assert_eq!(read_blob(&store, &digest, 4 << 20).await.unwrap(), data);
    assert!(matches!(store.status("layer").await, Err(Error::NoIngest(_))));
}

#[tokio::test]
async fn what_is_not_as_expected_is_refused_and_kept() {
    let place = Place::new();
    let store = place.open().0.namespace("moby", None);
    let expected = Digest::sha256(b"good");
    let mut writer = store.writer(options("blob", 4, Some(&expected))).await.unwrap();
    writer.write(Bytes::from_static(b"bad")).await.unwrap();
    assert!(matches!(
        writer.commit(4, None, Labels::new()).await,
        Err(Error::Size {
            written: 3,
            expected: 4,
            ..
        })
    ));
    writer.write(Bytes::from_static(b"!")).await.unwrap();
    assert!(matches!(
        writer.commit(4, None, Labels::new()).await,
        Err(Error::Digest { .. })
    ));
    writer.truncate(0).await.unwrap();
    writer.write(Bytes::from_static(b"good")).await.unwrap();
    assert_eq!(
        writer.commit(4, Some(&expected), Labels::new()).await.unwrap(),
        expected
    );
    let exists = store
        .writer(options("again", 4, Some(&expected)))
        .await
        .unwrap_err();
    assert!(matches!(exists, Error::ContentExists(_)), "{exists}");

    let mut writer = store.writer(options("unknown", 0, None)).await.unwrap();
    writer.write(Bytes::from_static(b"good")).await.unwrap();
    assert!(matches!(
        writer.commit(0, None, Labels::new()).await,
        Err(Error::ContentExists(_))
    ));
    assert_eq!(place.ingests(), 0);

    let writer = store.writer(options("left", 0, None)).await.unwrap();
    drop(writer);
    store.abort("left").await.unwrap();
    assert!(matches!(store.abort("left").await, Err(Error::NoIngest(_))));
    assert!(matches!(
        store.writer(options("", 0, None)).await,
        Err(Error::Invalid { .. })
    ));
}

#[tokio::test]
async fn namespaces_share_bytes_but_not_names() {
    let place = Place::new();
    let (content, _) = place.open();
    let (one, two) = (content.namespace("one", None), content.namespace("two", None));
    let digest = write_blob(&one, Bytes::from_static(b"data"), labels(&[("of", "one")]))
        .await
        .unwrap();
    assert!(matches!(two.info(&digest).await, Err(Error::NoContent(_))));
    // Known elsewhere: taken from there, without its labels.
    let exists = two.writer(options("blob", 4, Some(&digest))).await.unwrap_err();
    assert!(matches!(exists, Error::ContentExists(_)), "{exists}");
    assert_eq!(two.info(&digest).await.unwrap().labels, Labels::new());
    one.delete(&digest).await.unwrap();
    assert_eq!(read_blob(&two, &digest, 10).await.unwrap(), "data");
    two.delete(&digest).await.unwrap();
    assert!(!place.blob(&digest).exists());
}

#[tokio::test]
async fn the_same_blob_written_by_many_at_once_is_there_once() {
    let place = Place::new();
    let store = place.open().0.namespace("moby", None);
    let data = noise(700_000);
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (store, data) = (store.clone(), data.clone());
            tokio::spawn(async move {
                let mut writer = store.writer(options(&format!("w{number}"), 0, None)).await?;
                writer.write(data).await?;
                writer.commit(0, None, Labels::new()).await
            })
        })
        .collect();
    let mut committed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => committed += 1,
            Err(Error::ContentExists(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(committed, 1);
    assert_eq!(
        read_blob(&store, &Digest::sha256(&data), 1 << 20).await.unwrap(),
        data
    );
    assert_eq!(place.ingests(), 0);
}

#[tokio::test]
async fn what_a_death_left_is_mended_at_the_start() {
    let place = Place::new();
    let lost;
    let kept;
    {
        let store = place.open().0.namespace("moby", None);
        lost = write_blob(&store, Bytes::from_static(b"lost"), Labels::new())
            .await
            .unwrap();
        kept = write_blob(&store, Bytes::from_static(b"kept"), Labels::new())
            .await
            .unwrap();
    }
    let orphan = Digest::sha256(b"orphan");
    std::fs::write(place.blob(&orphan), b"orphan").unwrap();
    std::fs::remove_file(place.blob(&lost)).unwrap();
    let (content, repairs) = place.open();
    assert_eq!(repairs.files, [place.blob(&orphan)]);
    assert_eq!(repairs.records, [("moby".to_owned(), lost.clone())]);
    assert!(!place.blob(&orphan).exists());
    let store = content.namespace("moby", None);
    assert!(matches!(store.info(&lost).await, Err(Error::NoContent(_))));
    assert_eq!(read_blob(&store, &kept, 10).await.unwrap(), "kept");
}
