//! Pulling: a transfer in the layer, told to the user line by line.

use futures_util::{Stream, StreamExt as _, stream};
use lighter_containerd_api::{Any, any, streaming, transfer, transfer_types, types};
use lighter_engine_api::{AuthConfig, JsonMessage};
use lighter_oci::{Platform, Reference};
use tokio::sync::mpsc;

use super::lease::Lease;
use super::progress::Layers;
use super::{Record, SNAPSHOTTER, hosts, names};
use crate::layer::Layer;
use crate::{Engine, Error, Kind, Result};

/// What is to be pulled.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// A name, with or without tag or digest.
    pub from_image: String,
    /// A tag or a digest to go with it, or empty.
    pub tag: String,
    /// `os/arch/variant`, or empty for this machine's.
    pub platform: String,
    /// Credentials for the name's registry.
    pub auth: Option<AuthConfig>,
}

impl PullRequest {
    fn reference(&self) -> Result<Reference> {
        let invalid = |error: lighter_oci::ReferenceError| Error::invalid(error.to_string());
        let reference = Reference::parse(&self.from_image).map_err(invalid)?;
        match self.tag.as_str() {
            "" => Ok(reference.or_latest()),
            digest if digest.contains(':') => {
                let digest = digest
                    .parse()
                    .map_err(|_| Error::invalid("invalid reference format"))?;
                Ok(reference.without_version().with_digest(digest))
            }
            tag => reference.without_version().with_tag(tag).map_err(invalid),
        }
    }
}

impl Engine {
    /// Fetches an image from its registry. What fails before anything was found is an error of the call, what fails later
    /// one of the stream.
    ///
    /// The transfer goes on only while the stream is read: who drops it cancels the pull.
    pub async fn image_pull(
        &self,
        request: PullRequest,
    ) -> Result<impl Stream<Item = Result<JsonMessage>> + Send + use<>> {
        let reference = request.reference()?;
        let platform = match request.platform.as_str() {
            "" => Platform::host(),
            text => text
                .parse()
                .map_err(|error: lighter_oci::PlatformError| Error::invalid(error.to_string()))?,
        };
        let host_dir = hosts::prepare(self.config(), reference.domain())?;
        let before = self.inner.images.record(&reference.to_string()).await?;
        if let Some(before) = &before {
            // The pull may move the name; the image that had it stays, without one.
            self.keep_before_pull(before).await?;
        }
        let transfer = Transfer {
            layer: self.inner.images.layer().clone(),
            reference: reference.clone(),
            platform,
            host_dir: host_dir.display().to_string(),
            auth: request.auth,
            now: self.config().clock.now(),
        };
        let (sender, mut heard) = mpsc::channel(64);
        let task = AbortOnDrop(tokio::spawn(transfer.run(sender)));

        // Until the first word about a blob nothing has been found, and an error can still be a status.
        let mut first = heard.recv().await;
        while first
            .as_ref()
            .is_some_and(|progress| !progress.name.contains("sha256:"))
        {
            first = heard.recv().await;
        }
        if first.is_none() {
            let mut task = task;
            let outcome = task.outcome().await;
            if let Err(error) = outcome {
                self.forget_keeper(before.as_ref()).await;
                return Err(named(error, &reference));
            }
            return Ok(self
                .told(reference, request.tag.is_empty(), before, first, heard, None)
                .right_stream());
        }
        Ok(self
            .told(
                reference,
                request.tag.is_empty(),
                before,
                first,
                heard,
                Some(task),
            )
            .left_stream())
    }

    /// The lines of a pull from its first to its last.
    fn told(
        &self,
        reference: Reference,
        all_tags: bool,
        before: Option<Record>,
        first: Option<transfer_types::Progress>,
        heard: mpsc::Receiver<transfer_types::Progress>,
        task: Option<AbortOnDrop>,
    ) -> impl Stream<Item = Result<JsonMessage>> + Send + use<> {
        let head = reference
            .tag()
            .map(str::to_owned)
            .unwrap_or_else(|| reference.digest().map(ToString::to_string).unwrap_or_default());
        let start = JsonMessage::about(head, format!("Pulling from {}", reference.path()));
        let engine = self.clone();
        let told = async_lines(move |out| async move {
            let mut layers = Layers::default();
            let (mut first, mut heard) = (first, heard);
            while let Some(progress) = match first.take() {
                Some(progress) => Some(progress),
                None => heard.recv().await,
            } {
                for line in layers.hear(&progress) {
                    if out.send(Ok(line)).await.is_err() {
                        return;
                    }
                }
            }
            let outcome = match task {
                Some(mut task) => task.outcome().await,
                None => Ok(()),
            };
            let lines = match outcome {
                Ok(()) => engine.finish_pull(&reference, all_tags, before, layers).await,
                Err(error) => {
                    engine.forget_keeper(before.as_ref()).await;
                    Err(named(error, &reference))
                }
            };
            match lines {
                Ok(lines) => {
                    for line in lines {
                        if out.send(Ok(line)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => drop(out.send(Err(error)).await),
            }
        });
        stream::once(std::future::ready(Ok(start))).chain(told)
    }

    async fn finish_pull(
        &self,
        reference: &Reference,
        all_tags: bool,
        before: Option<Record>,
        mut layers: Layers,
    ) -> Result<Vec<JsonMessage>> {
        let gone = || {
            Error::system(format!(
                "the image {} was pulled and is gone again",
                reference.familiar()
            ))
        };
        let record = self
            .inner
            .images
            .record(&reference.to_string())
            .await?
            .ok_or_else(gone)?;
        let news = before
            .as_ref()
            .is_none_or(|before| before.target != record.target);
        if !news {
            self.forget_keeper(before.as_ref()).await;
        }
        let image = self.inner.images.image(&record.target).await?;
        let name = match all_tags && reference.digest().is_none() {
            true => reference.familiar_name(),
            false => reference.familiar(),
        };
        self.publish_image(&image, "pull", &reference.familiar(), &reference.familiar_name());
        let digests = image.manifest.layers.iter();
        let digests: Vec<_> = digests.map(|layer| layer.digest.to_string()).collect();
        layers.has(&digests.iter().map(String::as_str).collect::<Vec<_>>());
        let mut lines = layers.finish(news);
        lines.push(JsonMessage::status(format!("Digest: {}", record.target)));
        lines.push(JsonMessage::status(match news {
            true => format!("Status: Downloaded newer image for {name}"),
            false => format!("Status: Image is up to date for {name}"),
        }));
        Ok(lines)
    }

    /// Keeps an image whose name a pull may move.
    async fn keep_before_pull(&self, before: &Record) -> Result<()> {
        self.keep_nameless(&before.name).await
    }

    /// Lets go of what [`Engine::keep_before_pull`] kept, as the name has not moved.
    async fn forget_keeper(&self, before: Option<&Record>) {
        let Some(before) = before else { return };
        // One that stays is hidden behind the name and goes with the image.
        if let Err(error) = self
            .inner
            .images
            .delete(&names::dangling(&before.target), false)
            .await
        {
            tracing::debug!(error = error.text(), "a record of an image without a name stays");
        }
    }
}

/// Runs `lines` beside its reader and gives what it sends.
fn async_lines<F>(
    lines: impl FnOnce(mpsc::Sender<Result<JsonMessage>>) -> F,
) -> impl Stream<Item = Result<JsonMessage>> + Send
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(64);
    let task = AbortOnDrop(tokio::spawn({
        let lines = lines(sender);
        async move {
            lines.await;
            Ok(())
        }
    }));
    stream::unfold((receiver, task), |(mut receiver, task)| async move {
        receiver.recv().await.map(|line| (line, (receiver, task)))
    })
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<Result<()>>);

impl AbortOnDrop {
    async fn outcome(&mut self) -> Result<()> {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::system("the pull was given up").with_source(error)),
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One call of the layer's transfer service with its streams.
struct Transfer {
    layer: Layer,
    reference: Reference,
    platform: Platform,
    host_dir: String,
    auth: Option<AuthConfig>,
    now: jiff::Timestamp,
}

impl Transfer {
    /// Runs to the end; progress goes to `heard`, which closes when the last was told.
    async fn run(self, heard: mpsc::Sender<transfer_types::Progress>) -> Result<()> {
        let layer = |status: tonic::Status| Error::from_layer(&status);
        let number: u64 = rand::random();
        let progress_id = format!("lighter-progress-{number:016x}");
        let lease = Lease::take(&self.layer, number, self.now).await?;
        let progress = self.open(&lease, &progress_id, None).await?;
        let forward = tokio::spawn(forward(progress, heard));

        let mut auth_stream = String::new();
        let mut answering = None;
        if let Some(auth) = self.auth.clone() {
            auth_stream = format!("lighter-auth-{number:016x}");
            let (answers, outgoing) = mpsc::channel(4);
            let questions = self.open(&lease, &auth_stream, Some(outgoing)).await?;
            let domain = self.reference.domain().to_owned();
            answering = Some(tokio::spawn(answer(questions, answers, auth, domain)));
        }

        let platform = types::Platform {
            os: self.platform.os.clone(),
            architecture: self.platform.architecture.clone(),
            variant: self.platform.variant.clone(),
            os_version: self.platform.os_version.clone(),
        };
        let source = transfer_types::OciRegistry {
            reference: self.reference.to_string(),
            resolver: Some(transfer_types::RegistryResolver {
                auth_stream,
                host_dir: self.host_dir.clone(),
                ..Default::default()
            }),
        };
        let destination = transfer_types::ImageStore {
            name: self.reference.to_string(),
            platforms: vec![platform.clone()],
            unpacks: vec![transfer_types::UnpackConfiguration {
                platform: Some(platform),
                snapshotter: SNAPSHOTTER.into(),
            }],
            ..Default::default()
        };
        let asked = transfer::TransferRequest {
            source: Some(any::pack(&source)),
            destination: Some(any::pack(&destination)),
            options: Some(transfer::TransferOptions {
                progress_stream: progress_id,
            }),
        };
        let outcome = self
            .layer
            .transfer()
            .transfer(asked)
            .await
            .map(drop)
            .map_err(layer);
        if let Some(answering) = answering {
            answering.abort();
        }
        // The server ends the stream after the last word. One that does not must not hold the pull up.
        let told = tokio::time::timeout(std::time::Duration::from_secs(1), forward).await;
        if told.is_err() {
            tracing::debug!("the layer did not end the stream of progress");
        }
        outcome
    }

    /// Opens the stream `id`: what we send comes from `outgoing`; returns when the server knows it.
    async fn open(
        &self,
        lease: &Lease,
        id: &str,
        outgoing: Option<mpsc::Receiver<Any>>,
    ) -> Result<tonic::Streaming<Any>> {
        let layer = |status: tonic::Status| Error::from_layer(&status);
        let hello = any::pack(&streaming::StreamInit { id: id.to_owned() });
        let rest = stream::unfold(outgoing, |outgoing| async move {
            match outgoing {
                Some(mut outgoing) => outgoing.recv().await.map(|message| (message, Some(outgoing))),
                // We have nothing to say, and ending our side would end the stream.
                None => std::future::pending().await,
            }
        });
        let messages = stream::once(std::future::ready(hello)).chain(rest);
        let mut incoming = self
            .layer
            .streaming()
            .stream(lease.keep(messages))
            .await
            .map_err(layer)?
            .into_inner();
        // The first message back says that the stream is known by its name.
        incoming.message().await.map_err(layer)?;
        Ok(incoming)
    }
}

/// Passes progress on until the stream ends or nobody wants it.
async fn forward(mut incoming: tonic::Streaming<Any>, heard: mpsc::Sender<transfer_types::Progress>) {
    while let Ok(Some(message)) = incoming.message().await {
        let Some(Ok(progress)) = any::unpack::<transfer_types::Progress>(&message) else {
            continue;
        };
        tracing::trace!(
            event = progress.event,
            name = progress.name,
            progress = progress.progress,
            "told"
        );
        if heard.send(progress).await.is_err() {
            return;
        }
    }
}

/// Answers the layer's questions for credentials: only those about the reference's own registry.
async fn answer(
    mut questions: tonic::Streaming<Any>,
    answers: mpsc::Sender<Any>,
    auth: AuthConfig,
    domain: String,
) {
    use transfer_types::{AuthRequest, AuthResponse, AuthType};
    while let Ok(Some(message)) = questions.message().await {
        let Some(Ok(question)) = any::unpack::<AuthRequest>(&message) else {
            continue;
        };
        let own = question.host == domain
            || domain == lighter_oci::DEFAULT_DOMAIN && question.host.ends_with("docker.io");
        let (kind, username, secret) = if !own {
            (AuthType::None, String::new(), String::new())
        } else if !auth.registrytoken.is_empty() {
            (
                AuthType::Header,
                String::new(),
                format!("Bearer {}", auth.registrytoken),
            )
        } else if !auth.identitytoken.is_empty() {
            (AuthType::Refresh, String::new(), auth.identitytoken.clone())
        } else if auth.username.is_empty() {
            (AuthType::None, String::new(), String::new())
        } else {
            (
                AuthType::Credentials,
                auth.username.clone(),
                auth.password.clone(),
            )
        };
        let reply = AuthResponse {
            auth_type: kind.into(),
            secret,
            username,
            expire_at: None,
        };
        if answers.send(any::pack(&reply)).await.is_err() {
            return;
        }
    }
}

/// A failure of the layer in Docker's words.
fn named(error: Error, reference: &Reference) -> Error {
    let name = reference.familiar_name();
    let text = error.text();
    let says = |words: &str| text.find(words);
    if says(": unknown blob: ").is_some() {
        return Error::system("unknown blob").with_source_hidden(error);
    }
    // What stands before it is the address.
    if let Some(at) =
        says("unsupported manifest media type").or_else(|| says("mediaType in manifest should be"))
    {
        return Error::system(&text[at..]).with_source_hidden(error);
    }
    match error.kind {
        // That the image is not for this platform is its own sentence.
        Kind::NotFound if says("no matching manifest for ").is_some() => error,
        Kind::NotFound => Error::not_found(format!(
            "manifest for {} not found: manifest unknown: manifest unknown",
            reference.familiar()
        ))
        .with_source_hidden(error),
        Kind::Unauthorized | Kind::Forbidden => Error::not_found(format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        ))
        .with_source_hidden(error),
        _ => Error { kind: Kind::System, ..error },
    }
}

/// Docker's words say all; what the layer said goes to the log.
trait Hidden {
    fn with_source_hidden(self, cause: Error) -> Self;
}

impl Hidden for Error {
    fn with_source_hidden(self, cause: Error) -> Self {
        tracing::debug!(cause = cause.text(), "a pull failed");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_dockers_words() {
        let reference: Reference = "registry.example/a:t".parse().unwrap();
        let check = |code, said: &str, expected: &str| {
            let error = named(Error::from_layer(&tonic::Status::new(code, said)), &reference);
            assert_eq!(error.text(), expected);
        };
        use tonic::Code;
        check(
            Code::NotFound,
            "https://registry.example/v2/a/manifests/t: not found: manifest unknown",
            "manifest for registry.example/a:t not found: manifest unknown: manifest unknown",
        );
        check(
            Code::NotFound,
            "https://registry.example/v2/a/blobs/sha256:00: unknown blob: blob unknown: blob unknown to registry",
            "unknown blob",
        );
        check(
            Code::InvalidArgument,
            "https://registry.example/v2/a/manifests/t: unsupported manifest media type and no default available: application/x-bad",
            "unsupported manifest media type and no default available: application/x-bad",
        );
        check(
            Code::NotFound,
            "no matching manifest for linux/arm64 in the manifest list entries",
            "no matching manifest for linux/arm64 in the manifest list entries",
        );
    }
}
