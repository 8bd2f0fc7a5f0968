//! The daemon: the layer behind its socket until a signal comes.

use std::sync::Arc;

use anyhow::Context as _;
use lighter_containerd::{Layer, Snapshotters};
use lighter_containerd_grpc::proxy::Proxy;
use lighter_containerd_grpc::serve::{Options, serve_with};
use tokio::signal::unix::{SignalKind, signal};

use crate::activation;
use crate::args::Told;

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(told: Told) -> anyhow::Result<()> {
    // Before anything is begun: a signal that comes early is not lost.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    };
    let settings = &told.settings;
    let options = Options {
        owner: (settings.uid, settings.gid),
        receive: settings.receive,
        send: settings.send,
        inherited: activation::listener().context("taking over the service manager's socket")?,
        ..Options::at(&told.address)
    };
    let mut further: Vec<Arc<dyn Snapshotters>> = Vec::new();
    for (name, proxy) in &settings.proxies {
        let known_as = proxy.known_as.as_deref().unwrap_or(name);
        let proxy = Proxy::new(name, known_as, proxy.address.clone());
        further.push(Arc::new(proxy.with_context(|| format!("proxy_plugins.{name}"))?));
    }
    let layer = Layer::open_with(told.config(), further).await?;
    Ok(serve_with(layer, options, stop, activation::ready).await?)
}
