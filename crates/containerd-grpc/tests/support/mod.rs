//! A layer of a test's own behind a real socket.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::path::{Path, PathBuf};

use lighter_containerd::Layer;
use lighter_containerd::config::{Config, DEFAULT_SHIM};
use lighter_stdx::clock::Clock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// A server and a connection to it.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) channel: Channel,
    pub(crate) layer: Layer,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), lighter_containerd_grpc::serve::Error>>,
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        root: dir.join("root"),
        state: dir.join("state"),
        address: socket(dir),
        programs: Vec::new(),
        runc_shim: DEFAULT_SHIM.to_owned(),
        authorities: PathBuf::new(),
        clock: Clock::system(),
        version: "v1.2.3".to_owned(),
        revision: "abc".to_owned(),
        debug: false,
    }
}

pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("state/containerd.sock")
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_in(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn start_in(dir: tempfile::TempDir) -> Server {
        let layer = Layer::open(config(dir.path())).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let (serving, path) = (layer.clone(), socket(dir.path()));
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            lighter_containerd_grpc::serve(serving, &path, stopped).await
        });
        let endpoint = Endpoint::try_from(format!("unix://{}", socket(dir.path()).display())).unwrap();
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                // The server has not bound yet; if it never will, it says why.
                Err(error) => assert!(!served.is_finished(), "{error}"),
            }
            tokio::task::yield_now().await;
        };
        Server {
            dir,
            channel,
            layer,
            stop,
            served,
        }
    }

    /// Stops it, and waits for its end.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.dir
    }
}

/// A request in the namespace `test`.
pub(crate) fn request<T>(message: T) -> Request<T> {
    request_in("test", message)
}

pub(crate) fn request_in<T>(namespace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace.parse().unwrap());
    request
}
