//! An image of the content store to a registry.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lighter_content::{ContentStore, ReadAt, read_blob};
use lighter_oci::{Descriptor, Digest, Document, Reference, media_type};
use lighter_registry::{Client, Parts, Pushed, Repository};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::progress::{self, Part, Progress, State, ToldPart};
use crate::read::{MOST_NESTING, MOST_OF_MANIFEST, parse};
use crate::{Error, Result, labels};

/// Uploads at a time, as containerd's transfer service has them.
const UPLOADS: usize = 3;
/// Bytes that are read of a blob at a time.
const CHUNK: usize = 256 << 10;

/// What to push where.
#[derive(Debug, Clone)]
pub struct Push {
    /// Where to. With a digest that is not the target's, the target gets no tag.
    pub reference: Reference,
    /// An index or a manifest. All that it leads to must be in the store, but for layers that may not be distributed.
    pub target: Descriptor,
    /// The name that progress is told under: the image's.
    pub name: String,
}

/// Pushes an image: its blobs side by side, then the manifests, and last the one that gets the name, so that what the name leads to is always
/// whole. What the registry has is not sent; what another of its repositories is known to have is taken from there.
pub async fn push(
    client: &Client,
    content: &Arc<dyn ContentStore>,
    push: &Push,
    progress: &Progress,
) -> Result<()> {
    let repository = Arc::new(client.repository(&push.reference)?);
    let mut image = Image::default();
    let root = vec![push.name.clone()];
    collect(content.as_ref(), &push.target, root, &mut image, progress).await?;
    blobs(&repository, content, image.blobs).await?;
    let last = image.documents.len().saturating_sub(1);
    for (at, (told, body)) in image.documents.into_iter().enumerate() {
        let manifest = &told.part.descriptor;
        let tag = match push.reference.digest() {
            Some(digest) if *digest != manifest.digest => None,
            _ => push.reference.tag(),
        };
        let tag = tag.filter(|_| at == last);
        let pushed = repository.push_manifest(manifest, &body, tag).await?;
        told.done(pushed);
    }
    Ok(())
}

/// The parts of an image, each once.
#[derive(Default)]
struct Image {
    blobs: Vec<ToldPart>,
    /// What is pointed at comes first.
    documents: Vec<(ToldPart, Bytes)>,
    seen: HashMap<Digest, ()>,
}

/// All that `target` leads to.
async fn collect(
    content: &dyn ContentStore,
    target: &Descriptor,
    root: Vec<String>,
    image: &mut Image,
    progress: &Progress,
) -> Result<()> {
    enum Step {
        Enter(Box<(Descriptor, Vec<String>, u32)>),
        Leave(Box<(ToldPart, Bytes)>),
    }
    let mut steps = vec![Step::Enter(Box::new((target.clone(), root, 0)))];
    while let Some(step) = steps.pop() {
        let (descriptor, parents, depth) = match step {
            Step::Leave(document) => {
                image.documents.push(*document);
                continue;
            }
            Step::Enter(part) => *part,
        };
        if image.seen.insert(descriptor.digest.clone(), ()).is_some() || is_kept_back(&descriptor.media_type)
        {
            continue;
        }
        let kind = &descriptor.media_type;
        let is_document = depth == 0 || media_type::is_index(kind) || media_type::is_manifest(kind);
        let told = ToldPart {
            progress: progress.clone(),
            part: Part { descriptor, parents },
        };
        told.send(State::Waiting, 0);
        if !is_document {
            image.blobs.push(told);
            continue;
        }
        let descriptor = &told.part.descriptor;
        let body = read_blob(content, &descriptor.digest, MOST_OF_MANIFEST).await?;
        let document = parse(&descriptor.digest, &body)?;
        if depth > MOST_NESTING {
            return Err(Error::Document {
                digest: descriptor.digest.clone(),
                why: "indexes in indexes in indexes".into(),
            });
        }
        let parents = vec![progress::name(descriptor)];
        let children = children(&document);
        steps.push(Step::Leave(Box::new((told, body))));
        let below = children.into_iter().rev();
        steps.extend(below.map(|child| Step::Enter(Box::new((child, parents.clone(), depth + 1)))));
    }
    Ok(())
}

fn children(document: &Document) -> Vec<Descriptor> {
    document.children().into_iter().cloned().collect()
}

/// Layers that are fetched from elsewhere by whoever needs them.
pub(crate) fn is_kept_back(kind: &str) -> bool {
    kind.contains(".nondistributable.") || kind.contains(".foreign.")
}

async fn blobs(
    repository: &Arc<Repository>,
    content: &Arc<dyn ContentStore>,
    blobs: Vec<ToldPart>,
) -> Result<()> {
    let slots = Arc::new(Semaphore::new(UPLOADS));
    let mut tasks = JoinSet::new();
    for told in blobs {
        let (repository, content) = (Arc::clone(repository), Arc::clone(content));
        let slots = Arc::clone(&slots);
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire().await.map_err(|_| Error::Panicked)?;
            blob(&repository, &content, &told).await
        });
    }
    // The first failure ends the others: dropping the set stops them.
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or(Err(Error::Panicked))?;
    }
    Ok(())
}

async fn blob(repository: &Repository, content: &Arc<dyn ContentStore>, told: &ToldPart) -> Result<()> {
    let descriptor = &told.part.descriptor;
    let info = content.info(&descriptor.digest).await?;
    let sources = info.labels.get(&labels::source_of(repository.domain()));
    let from = sources.and_then(|sources| candidate(sources, repository.name()));
    let reader: Arc<dyn ReadAt> = content.reader_at(&descriptor.digest).await?.into();
    let open = || parts(Arc::clone(&reader), told.clone());
    let pushed = repository.push_blob(descriptor, from, &open).await?;
    told.done(pushed);
    Ok(())
}

/// Of the repositories that have a blob, the one that is most like the one it is pushed to: that is the one that a user may most
/// likely read.
fn candidate<'a>(sources: &'a str, own: &str) -> Option<&'a str> {
    let common = |one: &str| {
        let pairs = one.split('/').zip(own.split('/'));
        pairs.take_while(|(one, other)| one == other).count()
    };
    let others = sources
        .split(',')
        .filter(|one| !one.is_empty() && *one != own && is_path(one));
    // Of equals the last one: it is the newest.
    others.max_by_key(|one| common(one))
}

/// Only what may stand in an address as it is.
fn is_path(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-'))
}

/// The bytes of a blob, told as they are taken.
fn parts(reader: Arc<dyn ReadAt>, told: ToldPart) -> Parts {
    let mut next = 0;
    stream::try_unfold(0, move |offset| {
        let reader = Arc::clone(&reader);
        if offset >= next {
            next = offset + (reader.size() / 100).max(CHUNK as u64);
            told.send(State::Uploading, offset);
        }
        async move {
            let part = reader.read_at(offset, CHUNK).await.map_err(io::Error::other)?;
            let end = offset + part.len() as u64;
            Ok((!part.is_empty()).then_some((part, end)))
        }
    })
    .boxed()
}

impl ToldPart {
    fn done(&self, pushed: Pushed) {
        let state = match pushed {
            Pushed::Exists | Pushed::Mounted => State::Known,
            Pushed::Sent => State::Complete,
        };
        self.send(state, self.part.descriptor.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_mounted_from_the_likest_repository() {
        let check = |sources, own, expected| assert_eq!(candidate(sources, own), expected, "{sources}");
        check("a/b", "a/b", None);
        check("a/b,x/y,a/c", "a/d", Some("a/c"));
        check("x/y,a/b", "b/c", Some("a/b"));
        check("x/y&z,,", "b/c", None);
    }
}
