//! One blob from the registry into the content store.

use std::time::Duration;

use bytes::Bytes;
use lighter_content::{ContentStore, Error as ContentError, Labels, Status, Writer, WriterOptions};
use lighter_oci::{Descriptor, Digest};
use lighter_registry::{Error as RegistryError, Repository};
use lighter_stdx::kind::Kind;

use crate::{Error, Result, labels};

/// How often to look whether somebody else's ingest of the same blob has ended.
const LOCKED_PAUSE: Duration = Duration::from_millis(100);
/// How long, and how often, to wait for a thread that still writes the last bytes of an ingest that is given up.
const LAST_WRITE: Duration = Duration::from_secs(2);
const LAST_WRITE_PAUSE: Duration = Duration::from_millis(5);

/// The name of the ingest of a blob: containerd's, so that an ingest that it left is resumed.
fn ingest(descriptor: &Descriptor, kind: &str) -> String {
    format!("{kind}-{}", descriptor.digest)
}

/// Opens an ingest for `descriptor`. `None`: the blob is there (and now under the lease). While another ingests the same blob, waits.
pub(crate) async fn open(
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    kind: &str,
) -> Result<Option<Box<dyn Writer>>> {
    let options = WriterOptions {
        name: ingest(descriptor, kind),
        total: descriptor.size,
        expected: Some(descriptor.digest.clone()),
    };
    loop {
        match content.writer(options.clone()).await {
            Ok(writer) => return Ok(Some(writer)),
            Err(ContentError::ContentExists(_)) => return Ok(None),
            Err(ContentError::IngestLocked(_)) => tokio::time::sleep(LOCKED_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// As [`open`], for a blob that is about to be read: one that is there is hashed first. A file that was changed on the disk is thrown away, and
/// fetched like one that never came.
pub(crate) async fn open_unless_sound(
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    kind: &str,
) -> Result<Option<Box<dyn Writer>>> {
    if let Some(writer) = open(content, descriptor, kind).await? {
        return Ok(Some(writer));
    }
    if is_sound(content, &descriptor.digest).await? {
        return Ok(None);
    }
    tracing::warn!(digest = %descriptor.digest, "a blob is not what its name says; it is fetched again");
    match content.delete(&descriptor.digest).await {
        Err(error) if error.kind() != Kind::NotFound => Err(error.into()),
        _ => open(content, descriptor, kind).await,
    }
}

/// Whether the bytes of a blob that is there are those of its name.
async fn is_sound(content: &dyn ContentStore, digest: &Digest) -> Result<bool> {
    let reader = match content.reader_at(digest).await {
        Err(error) if error.kind() == Kind::NotFound => return Ok(false),
        other => other?,
    };
    let (source, algorithm) = (reader.into_read(), digest.algorithm());
    let actual = tokio::task::spawn_blocking(move || algorithm.digest(source))
        .await
        .map_err(|_| Error::Panicked)?;
    // What cannot be read is no better than what is wrong.
    Ok(actual.is_ok_and(|actual| actual == *digest))
}

/// Whether what came before `error` may be of use to the next try: only the way to the registry failed.
pub(crate) fn is_resumable(error: &Error) -> bool {
    error.kind() == Kind::Unavailable
}

/// Throws the ingest of `descriptor` away, if there is one that nobody writes.
pub(crate) async fn abort(content: &dyn ContentStore, descriptor: &Descriptor, kind: &str) {
    let name = ingest(descriptor, kind);
    let abort = async {
        // A writer that was dropped lets go when its last batch is written.
        while let Err(ContentError::IngestLocked(_)) = content.abort(&name).await {
            tokio::time::sleep(LAST_WRITE_PAUSE).await;
        }
    };
    if tokio::time::timeout(LAST_WRITE, abort).await.is_err() {
        tracing::debug!(name, "an ingest is being written by another");
    }
}

/// Throws away what pulls left to be resumed and nobody resumes now: there is no room for it.
pub(crate) async fn abort_idle(content: &dyn ContentStore) {
    for ingest in left(content).await {
        // One that is being written stays.
        let _ = content.abort(&ingest.name).await;
    }
}

/// Throws away the ingests of pulls that have no bytes: for after a pull whose future was dropped, which could not do it itself. What
/// another pull writes stays.
pub async fn discard_empty(content: &dyn ContentStore) {
    let discard = async {
        let mut is_written = true;
        while std::mem::take(&mut is_written) {
            for ingest in left(content).await.iter().filter(|ingest| ingest.offset == 0) {
                let locked = content.abort(&ingest.name).await;
                is_written |= matches!(locked, Err(ContentError::IngestLocked(_)));
            }
            if is_written {
                // By a task of the dropped pull that has not ended yet, or by another pull that has just begun.
                tokio::time::sleep(LAST_WRITE_PAUSE).await;
            }
        }
    };
    // What is empty for longer is somebody's who waits for a slow server.
    let _ = tokio::time::timeout(LAST_WRITE, discard).await;
}

/// The ingests that pulls made.
async fn left(content: &dyn ContentStore) -> Vec<Status> {
    let kinds = ["layer-", "config-", "manifest-", "index-"];
    let mut left = content.list_statuses(&[]).await.unwrap_or_default();
    left.retain(|ingest| kinds.iter().any(|kind| ingest.name.starts_with(kind)));
    left
}

/// Downloads what `writer` still lacks of `descriptor`, and commits it with `labels`. `wrote` is told how far it is. What was resumed
/// and turns out wrong is fetched once more from the start. After a failure the ingest is there only if the next try can go on with it.
pub(crate) async fn download(
    repository: &Repository,
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    mut writer: Box<dyn Writer>,
    labels: Labels,
    wrote: &mut (dyn FnMut(u64) + Send),
) -> Result<()> {
    let result = fill(repository, content, descriptor, writer.as_mut(), labels, wrote).await;
    if let Err(error) = &result {
        let Status { name, offset, .. } = writer.status();
        if is_resumable(error) && offset > 0 {
            // What came and is not written yet need not come again; if it cannot be written, it must.
            let _ = writer.truncate(offset).await;
        } else {
            // Nobody writes it any more then; the error to tell is the first.
            let _ = writer.truncate(0).await;
            drop(writer);
            let _ = content.abort(&name).await;
        }
    }
    result
}

async fn fill(
    repository: &Repository,
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    writer: &mut dyn Writer,
    labels: Labels,
    wrote: &mut (dyn FnMut(u64) + Send),
) -> Result<()> {
    let mut resumed = writer.status().offset > 0;
    loop {
        let mut offset = writer.status().offset;
        if offset > descriptor.size {
            writer.truncate(0).await?;
            offset = 0;
        }
        wrote(offset);
        let mut blob = repository.blob(descriptor, offset).await?;
        while let Some(part) = blob.next().await? {
            offset += part.len() as u64;
            writer.write(part).await?;
            wrote(offset);
        }
        match writer
            .commit(descriptor.size, Some(&descriptor.digest), labels.clone())
            .await
        {
            Ok(_) => return Ok(()),
            Err(ContentError::ContentExists(_)) => {
                return self::labels::add(content, &descriptor.digest, labels).await;
            }
            Err(ContentError::Digest { .. }) if resumed => {
                resumed = false;
                writer.truncate(0).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A small document: from the store, or from the registry into it. After a failure there is no ingest of it.
pub(crate) async fn document(
    repository: &Repository,
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    body: Option<Bytes>,
    kind: &str,
    limit: u64,
) -> Result<Bytes> {
    let result = ingest_document(repository, content, descriptor, body, kind, limit).await;
    if result.is_err() {
        abort(content, descriptor, kind).await;
    }
    result
}

async fn ingest_document(
    repository: &Repository,
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    body: Option<Bytes>,
    kind: &str,
    limit: u64,
) -> Result<Bytes> {
    let source = labels::source(repository);
    if let Some(mut writer) = open_unless_sound(content, descriptor, kind).await? {
        let body = match body {
            Some(body) => body,
            None if kind == "config" => {
                check_size(descriptor, limit)?;
                download(repository, content, descriptor, writer, source, &mut |_| {}).await?;
                return Ok(lighter_content::read_blob(content, &descriptor.digest, limit).await?);
            }
            None => repository.manifest(descriptor).await?,
        };
        writer.truncate(0).await?;
        writer.write(body.clone()).await?;
        match writer
            .commit(body.len() as u64, Some(&descriptor.digest), source.clone())
            .await
        {
            Ok(_) => return Ok(body),
            Err(ContentError::ContentExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    labels::add(content, &descriptor.digest, source).await?;
    Ok(lighter_content::read_blob(content, &descriptor.digest, limit).await?)
}

fn check_size(descriptor: &Descriptor, limit: u64) -> Result<()> {
    if descriptor.size <= limit {
        return Ok(());
    }
    let (url, why) = (
        descriptor.digest.to_string(),
        format!("it has {} bytes, more than {limit}", descriptor.size),
    );
    Err(RegistryError::Answer { url, why }.into())
}
