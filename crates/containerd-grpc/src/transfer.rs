//! Transfer: pull and tag. Push, import and export are done by clients, through Content, Images and Diff.

use std::sync::Arc;
use std::time::Duration;

use lighter_containerd::Layer;
use lighter_containerd::transfer::Pull;
use lighter_containerd_api::transfer::TransferRequest;
use lighter_containerd_api::transfer::transfer_server::Transfer;
use lighter_containerd_api::transfer_types::{ImageStore, OciRegistry, RegistryResolver};
use lighter_containerd_api::{Any, any};
use lighter_oci::Platform;
use lighter_registry::{Credentials, NoCredentials};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::convert::labels;
use crate::descriptor;
use crate::error::{Result, status};
use crate::request::{lease, namespace};
use crate::streaming::Streams;

mod auth;
mod progress;

use auth::Asked;
use progress::Told;

/// How long a client may take to hear the last words once all is done.
const LAST_WORDS: Duration = Duration::from_secs(5);

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
        let to = read::<ImageStore>(&destination)?;
        let transfer = async {
            if let (Some(from), Some(to)) = (read::<OciRegistry>(&source)?, &to) {
                let pull = self.given(&namespace, from, to, lease)?;
                self.pull(&namespace, pull, told).await
            } else if let (Some(from), Some(to)) = (read::<ImageStore>(&source)?, &to) {
                let labels = labels(to.labels.clone());
                let tagged = self.layer.tag(&namespace, &from.name, &to.name, labels);
                tagged.await.map(drop).map_err(status)
            } else {
                Err(Status::unimplemented(format!(
                    "a transfer from {} to {} is not supported",
                    source.type_url, destination.type_url
                )))
            }
        };
        tokio::select! {
            ended = transfer => ended.map(Response::new),
            () = self.stopping.cancelled() => Err(Status::unavailable("the server is stopping")),
        }
    }
}

impl Service {
    /// What a client wants pulled.
    fn given(
        &self,
        namespace: &str,
        from: OciRegistry,
        to: &ImageStore,
        lease: Option<String>,
    ) -> Result<Pull> {
        let RegistryResolver {
            auth_stream,
            host_dir,
            default_scheme,
            ..
        } = from.resolver.unwrap_or_default();
        let credentials: Arc<dyn Credentials> = match auth_stream.as_str() {
            "" => Arc::new(NoCredentials),
            name => Arc::new(Asked::on(self.streams.take(namespace, name)?, &from.reference)),
        };
        let unpacks = to.unpacks.iter().map(|unpack| {
            let platform = unpack.platform.clone().map(descriptor::platform);
            let platform = platform.unwrap_or_else(Platform::host);
            (platform, unpack.snapshotter.clone())
        });
        Ok(Pull {
            name: match to.name.as_str() {
                "" => from.reference.clone(),
                name => name.to_owned(),
            },
            reference: from.reference,
            hosts: (!host_dir.is_empty()).then(|| host_dir.into()),
            plain_http: default_scheme == "http",
            credentials,
            labels: labels(to.labels.clone()),
            platforms: to.platforms.iter().cloned().map(descriptor::platform).collect(),
            unpacks: unpacks.collect(),
            lease,
        })
    }

    async fn pull(&self, namespace: &str, pull: Pull, told: Told) -> Result<()> {
        let what = format!("OCI Registry ({})", pull.reference);
        told.say(format!("Resolving from {what}")).await;
        let (events, heard) = mpsc::unbounded_channel();
        let pulling = self.layer.pull(namespace, pull, events);
        let telling = told.events(heard);
        tokio::pin!(pulling, telling);
        let mut all_told = false;
        let pulled = loop {
            tokio::select! {
                pulled = &mut pulling => break pulled,
                () = &mut telling, if !all_told => all_told = true,
            }
        };
        let last = async {
            if !all_told {
                telling.await;
            }
            if let Ok(image) = &pulled {
                told.saved(image).await;
                told.say(format!("Completed pull from {what}")).await;
            }
        };
        if tokio::time::timeout(LAST_WORDS, last).await.is_err() {
            tracing::debug!(namespace, "a client did not listen to its pull");
        }
        pulled.map(drop).map_err(status)
    }
}

fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("the {what} is missing"))
}

/// The `M` in `any`, if it holds one.
fn read<M: prost::Message + prost::Name + Default>(any: &Any) -> Result<Option<M>> {
    let message = any::unpack(any).transpose();
    message.map_err(|error| Status::invalid_argument(format!("{}: {error}", any.type_url)))
}
