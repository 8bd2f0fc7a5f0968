//! One blob from the registry into the content store.

use std::time::Duration;

use bytes::Bytes;
use lighter_content::{ContentStore, Error as ContentError, Labels, Writer, WriterOptions};
use lighter_oci::Descriptor;
use lighter_registry::{Error as RegistryError, Repository};

use crate::{Result, labels};

/// How often to look whether somebody else's ingest of the same blob has ended.
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

/// Opens an ingest for `descriptor`. `None`: the blob is there (and now under the lease). While another ingests the same blob, waits.
pub(crate) async fn open(
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    kind: &str,
) -> Result<Option<Box<dyn Writer>>> {
    let options = WriterOptions {
        // containerd's names, so that an ingest that it left is resumed.
        name: format!("{kind}-{}", descriptor.digest),
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

/// Downloads what `writer` still lacks of `descriptor`, and commits it with `labels`. `wrote` is told how far it is. What was resumed
/// and turns out wrong is fetched once more from the start; what is wrong then is thrown away.
pub(crate) async fn download(
    repository: &Repository,
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    mut writer: Box<dyn Writer>,
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
            Err(error) => {
                if matches!(error, ContentError::Digest { .. } | ContentError::Size { .. }) {
                    let name = writer.status().name;
                    drop(writer);
                    // The wrong bytes are of no use; the error to tell is the first.
                    let _ = content.abort(&name).await;
                }
                return Err(error.into());
            }
        }
    }
}

/// A small document: from the store, or from the registry into it.
pub(crate) async fn document(
    repository: &Repository,
    content: &dyn ContentStore,
    descriptor: &Descriptor,
    body: Option<Bytes>,
    kind: &str,
    limit: u64,
) -> Result<Bytes> {
    let source = labels::source(repository);
    if let Some(mut writer) = open(content, descriptor, kind).await? {
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
