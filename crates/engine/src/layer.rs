//! The layer below: one gRPC connection to containerd, kept up for as long as the engine runs.
//!
//! A request made while the layer is away waits for up to ten seconds and then fails as unavailable. A request that was
//! under way when the connection broke fails at once: only its caller knows whether it may be repeated.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper_util::rt::TokioIo;
use lighter_containerd_api::containerd::services;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt as _};

use crate::{Error, socket};

/// The engine's namespace in the layer.
pub const NAMESPACE: &str = "moby";

/// How long a request waits for a layer that is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest message taken from the layer, in bytes: lists of everything.
const MAX_MESSAGE: usize = 64 << 20;

/// The layer's services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Layer {
    connection: Connection,
    socket: Arc<PathBuf>,
}

/// A gRPC transport that waits for the layer and names the namespace.
#[derive(Debug, Clone)]
pub struct Connection {
    channel: watch::Receiver<Option<Channel>>,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $module:ident :: $client_module:ident :: $client:ident,)*) => {
        impl Layer {
            $($(#[$doc])* pub fn $name(&self) -> services::$module::v1::$client_module::$client<Connection> {
                services::$module::v1::$client_module::$client::new(self.connection.clone())
                    .max_decoding_message_size(MAX_MESSAGE)
            })*
        }
    };
}

clients! {
    /// Container records.
    containers: containers::containers_client::ContainersClient,
    /// Blobs.
    content: content::content_client::ContentClient,
    /// Events.
    events: events::events_client::EventsClient,
    /// Image records.
    images: images::images_client::ImagesClient,
    /// What the server is.
    introspection: introspection::introspection_client::IntrospectionClient,
    /// Leases.
    leases: leases::leases_client::LeasesClient,
    /// Namespaces.
    namespaces: namespaces::namespaces_client::NamespacesClient,
    /// Snapshots.
    snapshots: snapshots::snapshots_client::SnapshotsClient,
    /// Streams that belong to a transfer.
    streaming: streaming::streaming_client::StreamingClient,
    /// Tasks.
    tasks: tasks::tasks_client::TasksClient,
    /// Pull and push.
    transfer: transfer::transfer_client::TransferClient,
    /// The server's version.
    version: version::version_client::VersionClient,
}

impl Layer {
    /// A layer at `socket`. Connecting goes on in the background, now and whenever the connection breaks.
    pub fn connect(socket: PathBuf) -> Self {
        let (sender, channel) = watch::channel(None);
        let socket = Arc::new(socket);
        tokio::spawn(keep_up(socket.clone(), sender));
        Self {
            connection: Connection { channel },
            socket,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until the layer can be asked, for as long as a request would.
    pub async fn ready(&self) -> Result<(), Error> {
        self.connection
            .clone()
            .ready_channel()
            .await
            .map(drop)
            .map_err(Error::from)
    }
}

impl Connection {
    async fn ready_channel(&mut self) -> Result<Channel, tonic::Status> {
        let up = tokio::time::timeout(PATIENCE, self.channel.wait_for(Option::is_some)).await;
        if let Ok(Ok(channel)) = up
            && let Some(channel) = channel.as_ref()
        {
            return Ok(channel.clone());
        }
        Err(tonic::Status::unavailable(
            "containerd is not available: no connection within 10 seconds",
        ))
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The wait is part of the call, so that a clone in a hundred requests is not a hundred waits.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut connection = self.clone();
        request
            .headers_mut()
            .insert("containerd-namespace", HeaderValue::from_static(NAMESPACE));
        Box::pin(async move {
            let mut channel = connection.ready_channel().await?;
            Ok(channel.ready().await?.call(request).await?)
        })
    }
}

/// Connects, waits for the connection to break, connects again; ends when the last [`Layer`] is gone.
async fn keep_up(socket: Arc<PathBuf>, sender: watch::Sender<Option<Channel>>) {
    let mut pause = Duration::from_millis(1);
    while !sender.is_closed() {
        match connect_once(&socket).await {
            Ok((channel, gone)) => {
                pause = Duration::from_millis(1);
                sender.send_replace(Some(channel));
                tokio::select! {
                    // An error means that the stream was dropped: that is the event.
                    _ = gone => {}
                    () = sender.closed() => return,
                }
                sender.send_replace(None);
                tracing::debug!(socket = %socket.display(), "the connection to containerd broke");
            }
            Err(error) => {
                tracing::trace!(%error, "containerd is not there yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }
}

/// One connection, and a receiver that resolves when its stream is dropped.
async fn connect_once(
    socket: &Path,
) -> Result<(Channel, oneshot::Receiver<()>), Box<dyn std::error::Error + Send + Sync>> {
    let stream = socket::connect(socket).await?;
    let (alive, gone) = oneshot::channel();
    let mut stream = Some(TokioIo::new(Watched {
        stream,
        _alive: alive,
    }));
    let connector = tower::service_fn(move |_: http::Uri| {
        // A second call is the channel's own attempt to reconnect, which is `keep_up`'s work.
        let stream = stream
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset));
        async move { stream }
    });
    // The address is not used: the connector has its own.
    let channel = Endpoint::from_static("http://containerd")
        .connect_with_connector(connector)
        .await?;
    Ok((channel, gone))
}

/// A stream that tells of its end by dropping a sender.
struct Watched {
    stream: UnixStream,
    _alive: oneshot::Sender<()>,
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
