//! The gRPC server on its unix socket, and the ttrpc endpoint for shims beside it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lighter_containerd::Layer;
use lighter_containerd_api::containers::containers_server::ContainersServer;
use lighter_containerd_api::content::content_server::ContentServer;
use lighter_containerd_api::diff::diff_server::DiffServer;
use lighter_containerd_api::event_service::events_server::EventsServer;
use lighter_containerd_api::health::health_server::HealthServer;
use lighter_containerd_api::images::images_server::ImagesServer;
use lighter_containerd_api::introspection::introspection_server::IntrospectionServer;
use lighter_containerd_api::leases::leases_server::LeasesServer;
use lighter_containerd_api::namespaces::namespaces_server::NamespacesServer;
use lighter_containerd_api::reflection::server_reflection_server::ServerReflectionServer;
use lighter_containerd_api::reflection_alpha::server_reflection_server::ServerReflectionServer as ServerReflectionAlphaServer;
use lighter_containerd_api::sandbox::controller_server::ControllerServer;
use lighter_containerd_api::sandbox::store_server::StoreServer;
use lighter_containerd_api::snapshots::snapshots_server::SnapshotsServer;
use lighter_containerd_api::streaming::streaming_server::StreamingServer;
use lighter_containerd_api::tasks::tasks_server::TasksServer;
use lighter_containerd_api::transfer::transfer_server::TransferServer;
use lighter_containerd_api::version::version_server::VersionServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::{
    containers, content, diff, events, health, images, introspection, leases, namespaces, reflection,
    sandboxes, snapshots, streaming, tasks, transfer, version,
};

/// Most bytes of one message, both ways. Source: containerd's default of its `grpc` section.
pub(crate) const MESSAGE: usize = 16 << 20;
/// Bytes of blobs on their way to us, before the client waits for us to take them.
const WINDOW: u32 = 1 << 20;
/// How long a call that is under way may take once we were told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Read and write for the owner and the group, as containerd's.
const MODE: u32 = 0o660;

/// Why a server did not come up, or went down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket, or a stale one in its place.
    #[error("{operation} {}", path.display())]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The endpoint for shims.
    #[error("serve shims")]
    Events(#[source] Box<lighter_containerd::Error>),
    /// The server ended.
    #[error("serve gRPC")]
    Serve(#[source] tonic::transport::Error),
}

/// Serves `layer` on `socket` (and shims on `<socket>.ttrpc`) until `stop`. A socket that another left there is replaced.
/// Calls that wait for something end at once then; others have five seconds. Tasks run on.
pub async fn serve(layer: Layer, socket: &Path, stop: impl Future<Output = ()>) -> Result<(), Error> {
    serve_with(layer, Options::at(socket), stop, || {}).await
}

/// Where and how the API is served.
#[derive(Debug)]
pub struct Options {
    /// The socket; shims have theirs at `<socket>.ttrpc`.
    pub socket: PathBuf,
    /// Who owns both: user and group.
    pub owner: (u32, u32),
    /// Most bytes of a message from a client.
    pub receive: usize,
    /// Most bytes of a message to a client.
    pub send: usize,
    /// The socket, if somebody else listens on it for us already: it is left in its place at the end.
    pub inherited: Option<StdListener>,
}

impl Options {
    /// Containerd's defaults: root's sockets, 16 MiB a message.
    pub fn at(socket: &Path) -> Options {
        Options {
            socket: socket.to_owned(),
            owner: (0, 0),
            receive: MESSAGE,
            send: MESSAGE,
            inherited: None,
        }
    }
}

/// The same, told how; `ready` is called when both sockets are listened on.
pub async fn serve_with(
    layer: Layer,
    options: Options,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let Options { socket, owner, .. } = &options;
    let mut beside = socket.as_os_str().to_owned();
    beside.push(".ttrpc");
    let beside = PathBuf::from(beside);
    let shims = layer
        .tasks()
        .serve_events(bind(&beside, *owner)?)
        .map_err(|error| Error::Events(Box::new(error)))?;
    let own = options.inherited.is_none();
    let listener = match &options.inherited {
        Some(listener) => listener.try_clone().map_err(failed("take over", socket))?,
        None => bind(socket, *owner)?,
    };
    let nonblocking = listener.set_nonblocking(true);
    let listener = nonblocking
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(failed("listen on", socket))?;
    ready();
    let stopping = CancellationToken::new();
    let server = Server::builder()
        // A client that waits for a thousand tasks does so on one connection.
        .max_concurrent_streams(None)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_routes(routes(&layer, &stopping, options.receive, options.send))
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            stopping.clone().cancelled_owned(),
        );
    let shims = tokio::spawn(shims);
    tracing::info!(address = %socket.display(), "serving");
    tokio::pin!(server);
    let ended = tokio::select! {
        ended = &mut server => ended.map_err(Error::Serve),
        () = stop => {
            stopping.cancel();
            match tokio::time::timeout(GRACE, server).await {
                Ok(ended) => ended.map_err(Error::Serve),
                Err(_) => {
                    tracing::warn!("calls were under way too long; they are cut off");
                    Ok(())
                }
            }
        }
    };
    shims.abort();
    for path in own.then_some(socket).into_iter().chain([&beside]) {
        // Whoever finds it refused is no better off than whoever does not find it.
        let _ = fs::remove_file(path);
    }
    ended
}

/// A service with our limits.
macro_rules! limited {
    ($receive:ident, $send:ident, $server:path, $service:expr) => {
        <$server>::new($service)
            .max_decoding_message_size($receive)
            .max_encoding_message_size($send)
    };
}

/// All services. One that only waits ends with `stopping`.
fn routes(layer: &Layer, stopping: &CancellationToken, receive: usize, send: usize) -> Routes {
    let events = events::Service {
        layer: layer.clone(),
        stopping: stopping.clone(),
    };
    let controller = sandboxes::Service {
        layer: layer.clone(),
        stopping: stopping.clone(),
    };
    let reflection = reflection::v1::Service {
        stopping: stopping.clone(),
    };
    let reflection_alpha = reflection::v1alpha::Service {
        stopping: stopping.clone(),
    };
    let health = health::Service {
        stopping: stopping.clone(),
    };
    let tasks = tasks::Service {
        layer: layer.clone(),
        stopping: stopping.clone(),
    };
    let streams = streaming::Streams::default();
    let transfer = transfer::Service {
        layer: layer.clone(),
        streams: streams.clone(),
        stopping: stopping.clone(),
    };
    let streaming = streaming::Service {
        streams,
        stopping: stopping.clone(),
    };
    Routes::default()
        .add_service(limited!(receive, send, HealthServer<_>, health))
        .add_service(limited!(
            receive,
            send,
            VersionServer<_>,
            version::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            IntrospectionServer<_>,
            introspection::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            NamespacesServer<_>,
            namespaces::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            ContainersServer<_>,
            containers::Service(layer.clone())
        ))
        .add_service(limited!(receive, send, EventsServer<_>, events))
        .add_service(limited!(receive, send, TasksServer<_>, tasks))
        .add_service(limited!(
            receive,
            send,
            ContentServer<_>,
            content::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            SnapshotsServer<_>,
            snapshots::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            ImagesServer<_>,
            images::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            LeasesServer<_>,
            leases::Service(layer.clone())
        ))
        .add_service(limited!(
            receive,
            send,
            DiffServer<_>,
            diff::Service(layer.clone())
        ))
        .add_service(limited!(receive, send, StreamingServer<_>, streaming))
        .add_service(limited!(receive, send, TransferServer<_>, transfer))
        .add_service(limited!(
            receive,
            send,
            StoreServer<_>,
            sandboxes::Records(layer.clone())
        ))
        .add_service(limited!(receive, send, ControllerServer<_>, controller))
        .add_service(limited!(receive, send, ServerReflectionServer<_>, reflection))
        .add_service(limited!(
            receive,
            send,
            ServerReflectionAlphaServer<_>,
            reflection_alpha
        ))
}

/// A listening socket at `path`, whatever its length, in place of a stale one.
fn bind(path: &Path, (uid, gid): (u32, u32)) -> Result<StdListener, Error> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(failed("listen on", path)(source));
        }
        fs::remove_file(path).map_err(failed("remove the stale socket", path))?;
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("create directory", parent))?;
    }
    let listener = lighter_stdx::unix_socket::bind(path).map_err(failed("listen on", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed("set the mode of", path))?;
    if (uid, gid) != (0, 0) {
        chown(path, Some(uid), Some(gid)).map_err(failed("set the owner of", path))?;
    }
    Ok(listener)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Socket {
        operation,
        path: path.to_owned(),
        source,
    }
}
