//! Transfer: pull, push, import, export and tag.

use std::path::PathBuf;
use std::sync::Arc;

use lighter_containerd::Layer;
use lighter_containerd::transfer::{Export, Import, Names, Prefix, Pull, Push};
use lighter_containerd_api::transfer::TransferRequest;
use lighter_containerd_api::transfer::transfer_server::Transfer;
use lighter_containerd_api::transfer_types::{
    ImageExportStream, ImageImportStream, ImageStore, OciRegistry, RegistryResolver,
};
use lighter_containerd_api::{Any, any};
use lighter_images::Event;
use lighter_oci::Platform;
use lighter_registry::{Credentials, NoCredentials};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::convert::labels;
use crate::descriptor;
use crate::error::{Result, status};
use crate::request::{lease, namespace};
use crate::streaming::Streams;

mod auth;
mod bytes;
mod progress;

use auth::Asked;
use progress::Told;

pub(crate) struct Service {
    pub(crate) layer: Layer,
    pub(crate) streams: Streams,
    /// Transfers end with it.
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl Transfer for Service {
    /// A client that goes away gives the transfer up.
    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<()>> {
        let (namespace, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let source = request.source.ok_or_else(|| missing("source"))?;
        let destination = request.destination.ok_or_else(|| missing("destination"))?;
        let progress = request.options.unwrap_or_default().progress_stream;
        let told = match progress.as_str() {
            "" => Told::default(),
            name => Told::to(self.streams.take(&namespace, name)?),
        };
        let job = Job {
            service: self,
            namespace,
            lease,
            told,
        };
        let transfer = async {
            let (from, to) = (End::read(&source)?, End::read(&destination)?);
            match (from, to) {
                (Some(End::Registry(from)), Some(End::Store(to))) => job.pull(from, to).await,
                (Some(End::Store(from)), Some(End::Registry(to))) => job.push(from, to).await,
                (Some(End::Store(from)), Some(End::Store(to))) => job.tag(from, to).await,
                (Some(End::Import(from)), Some(End::Store(to))) => job.import(from, to).await,
                (Some(End::Store(from)), Some(End::Export(to))) => job.export(from, to).await,
                (Some(End::Import(from)), Some(End::Export(to))) => job.echo(from, to).await,
                _ => Err(Status::unimplemented(format!(
                    "method Transfer not implemented for {} to {}",
                    source.type_url, destination.type_url
                ))),
            }
        };
        tokio::select! {
            ended = transfer => ended.map(Response::new),
            () = self.stopping.cancelled() => Err(Status::unavailable("the server is stopping")),
        }
    }
}

/// Where something comes from or goes to.
enum End {
    Registry(OciRegistry),
    Store(ImageStore),
    Import(ImageImportStream),
    Export(ImageExportStream),
}

impl End {
    fn read(any: &Any) -> Result<Option<End>> {
        Ok(if let Some(registry) = read(any)? {
            Some(End::Registry(registry))
        } else if let Some(store) = read(any)? {
            Some(End::Store(store))
        } else if let Some(import) = read(any)? {
            Some(End::Import(import))
        } else {
            read(any)?.map(End::Export)
        })
    }
}

/// How a registry is reached.
struct Way {
    hosts: Option<PathBuf>,
    plain_http: bool,
    credentials: Arc<dyn Credentials>,
}

/// A request.
struct Job<'a> {
    service: &'a Service,
    namespace: String,
    lease: Option<String>,
    told: Told,
}

impl Job<'_> {
    async fn pull(&self, from: OciRegistry, to: ImageStore) -> Result<()> {
        let what = format!("OCI Registry ({})", from.reference);
        let way = self.way(&from)?;
        let mut names = names(&to);
        if to.name.is_empty() && names.digests.is_empty() {
            names.whole.insert(0, from.reference.clone());
        }
        let pull = Pull {
            names,
            reference: from.reference,
            hosts: way.hosts,
            plain_http: way.plain_http,
            credentials: way.credentials,
            unpacks: unpacks(&to),
            platforms: platforms(to.platforms),
            all_metadata: to.all_metadata,
            lease: self.lease.clone(),
        };
        self.told.say(format!("Resolving from {what}")).await;
        let layer = &self.service.layer;
        let pulled = self
            .heard(|events| layer.pull(&self.namespace, pull, events))
            .await;
        let images = pulled?;
        self.told
            .last(async {
                self.told.saved(&images).await;
                self.told.say(format!("Completed pull from {what}")).await;
            })
            .await;
        Ok(())
    }

    async fn push(&self, from: ImageStore, to: OciRegistry) -> Result<()> {
        let what = format!("OCI Registry ({})", to.reference);
        let way = self.way(&to)?;
        let layer = &self.service.layer;
        let image = layer.images().get(&self.namespace, &from.name).map_err(status)?;
        let push = Push {
            image: image.clone(),
            reference: to.reference,
            hosts: way.hosts,
            plain_http: way.plain_http,
            credentials: way.credentials,
        };
        self.told.say(format!("Pushing to {what}")).await;
        self.told.about("pushing content", &image).await;
        self.heard(|events| layer.push(&self.namespace, push, events))
            .await?;
        self.told
            .last(async {
                self.told.about("pushed content", &image).await;
                self.told.say(format!("Completed push to {what}")).await;
            })
            .await;
        Ok(())
    }

    async fn tag(&self, from: ImageStore, to: ImageStore) -> Result<()> {
        let layer = &self.service.layer;
        let tagged = layer.tag(&self.namespace, &from.name, &names(&to)).await;
        tagged.map(drop).map_err(status)
    }

    async fn import(&self, from: ImageImportStream, to: ImageStore) -> Result<()> {
        let stream = self.service.streams.take(&self.namespace, &from.stream)?;
        let import = Import {
            names: names(&to),
            unpacks: unpacks(&to),
            platforms: platforms(to.platforms),
            compress: from.force_compress,
            lease: self.lease.clone(),
        };
        self.told.say("Importing".to_owned()).await;
        let (source, receive) = bytes::receive(stream);
        let layer = &self.service.layer;
        let imported = self.heard(|events| layer.import(&self.namespace, import, source, events));
        tokio::pin!(imported, receive);
        let mut all_received = false;
        let images = loop {
            tokio::select! {
                imported = &mut imported => break imported?,
                () = &mut receive, if !all_received => all_received = true,
            }
        };
        self.told
            .last(async {
                self.told.saved(&images).await;
                self.told.say("Completed import".to_owned()).await;
            })
            .await;
        Ok(())
    }

    async fn export(&self, from: ImageStore, to: ImageExportStream) -> Result<()> {
        let stream = self.service.streams.take(&self.namespace, &to.stream)?;
        let mut images: Vec<String> = Some(from.name)
            .filter(|name| !name.is_empty())
            .into_iter()
            .collect();
        for reference in from.extra_references {
            if reference.is_prefix {
                return Err(Status::unimplemented("prefix lookup on export not implemented"));
            }
            images.push(reference.name);
        }
        let export = Export {
            images,
            platforms: platforms(to.platforms),
            all_platforms: to.all_platforms,
            skip_docker: to.skip_compatibility_manifest,
            skip_nondistributable: to.skip_non_distributable,
        };
        self.told.say("Exporting".to_owned()).await;
        let (sink, parts) = bytes::channel();
        let layer = &self.service.layer;
        let exporting = async {
            let exported = layer.export(&self.namespace, export, &sink).await;
            drop(sink);
            exported.map_err(status)
        };
        let (exported, sent) = tokio::join!(exporting, bytes::send(parts, stream));
        // That the client went away is less than why there is nothing to send.
        match exported {
            Ok(()) => sent?,
            Err(error) => return Err(error),
        }
        let told = self.told.say("Completed export".to_owned());
        self.told.last(told).await;
        Ok(())
    }

    /// What comes goes back: clients test their streams so.
    async fn echo(&self, from: ImageImportStream, to: ImageExportStream) -> Result<()> {
        let streams = &self.service.streams;
        let from = streams.take(&self.namespace, &from.stream)?;
        let to = streams.take(&self.namespace, &to.stream)?;
        let (sink, parts) = bytes::channel();
        let (received, sent) = tokio::join!(bytes::pass(from, sink), bytes::send(parts, to));
        received.and(sent)
    }

    fn way(&self, registry: &OciRegistry) -> Result<Way> {
        let RegistryResolver {
            auth_stream,
            host_dir,
            default_scheme,
            ..
        } = registry.resolver.clone().unwrap_or_default();
        let credentials: Arc<dyn Credentials> = match auth_stream.as_str() {
            "" => Arc::new(NoCredentials),
            name => {
                let stream = self.service.streams.take(&self.namespace, name)?;
                Arc::new(Asked::on(stream, &registry.reference))
            }
        };
        Ok(Way {
            hosts: (!host_dir.is_empty()).then(|| host_dir.into()),
            plain_http: default_scheme == "http",
            credentials,
        })
    }

    /// Does what tells events, and tells them on.
    async fn heard<T, F>(&self, work: impl FnOnce(UnboundedSender<Event>) -> F) -> Result<T>
    where
        F: Future<Output = lighter_containerd::Result<T>>,
    {
        let (events, heard) = mpsc::unbounded_channel();
        let (working, telling) = (work(events), self.told.events(heard));
        tokio::pin!(working, telling);
        let mut all_told = false;
        let worked = loop {
            tokio::select! {
                worked = &mut working => break worked,
                () = &mut telling, if !all_told => all_told = true,
            }
        };
        if !all_told {
            self.told.last(telling).await;
        }
        worked.map_err(status)
    }
}

fn platforms(wire: Vec<lighter_containerd_api::types::Platform>) -> Vec<Platform> {
    wire.into_iter().map(descriptor::platform).collect()
}

fn unpacks(store: &ImageStore) -> Vec<(Platform, String)> {
    let unpacks = store.unpacks.iter().map(|unpack| {
        let platform = unpack.platform.clone().map(descriptor::platform);
        let platform = platform.unwrap_or_else(Platform::host);
        (platform, unpack.snapshotter.clone())
    });
    unpacks.collect()
}

/// How what goes to the store is named.
fn names(store: &ImageStore) -> Names {
    let mut names = Names {
        whole: Some(store.name.clone())
            .filter(|name| !name.is_empty())
            .into_iter()
            .collect(),
        labels: labels(store.labels.clone()),
        ..Names::default()
    };
    for reference in store.extra_references.iter().cloned() {
        match (reference.is_prefix, reference.add_digest) {
            (true, add_digest) => names.prefixes.push(Prefix {
                name: reference.name,
                allow_overwrite: reference.allow_overwrite,
                add_digest,
                skip_named_digest: reference.skip_named_digest,
            }),
            (false, true) => names.digests.push(reference.name),
            (false, false) => names.whole.push(reference.name),
        }
    }
    names
}

fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("the {what} is missing"))
}

/// The `M` in `any`, if it holds one.
fn read<M: prost::Message + prost::Name + Default>(any: &Any) -> Result<Option<M>> {
    let message = any::unpack(any).transpose();
    message.map_err(|error| Status::invalid_argument(format!("{}: {error}", any.type_url)))
}
