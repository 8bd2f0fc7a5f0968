//! The layer: `lighter-containerd` serves containerd's API.

mod args;
mod log;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use lighter_containerd::Layer;
use lighter_containerd::config::Config;
use tokio::signal::unix::{SignalKind, signal};

#[expect(clippy::print_stderr, reason = "a main may")]
fn main() -> ExitCode {
    let mut args = args::Args::parse();
    if let Some(name) = args.abort_at.take() {
        lighter_stdx::failpoint::arm(name);
    }
    log::init(args.level());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let served = args
        .config()
        .context("finding the working directory")
        .and_then(|config| runtime.context("starting the runtime")?.block_on(run(config)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lighter-containerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    // Before anything is begun: a signal that comes early is not lost.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    };
    let address = config.address.clone();
    let layer = Layer::open(config).await?;
    Ok(lighter_containerd_grpc::serve(layer, &address, stop).await?)
}
