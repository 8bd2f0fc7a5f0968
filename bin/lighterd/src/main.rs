//! The engine: `lighterd` serves Docker's Engine API.

mod args;
mod pidfile;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use lighter_engine::{Config, Engine};
use lighter_engine_http::{Listener, docker_group, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

#[expect(clippy::print_stderr, reason = "a main may")]
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let served = args::Args::parse().config().and_then(|config| match config {
        // Only the configuration was to be looked at.
        None => Ok(()),
        Some(config) => runtime.context("starting the runtime")?.block_on(run(config)),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lighterd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let level = if config.debug {
        "debug"
    } else {
        config.log_level.as_str()
    };
    let level = if level == "fatal" { "error" } else { level };
    log(level);
    let _pidfile = config
        .pidfile
        .as_deref()
        .map(pidfile::Pidfile::write)
        .transpose()?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let group = docker_group(&std::fs::read_to_string("/etc/group").unwrap_or_default());
    let mut listeners = Vec::new();
    for host in &config.hosts {
        // Before the engine is up: who comes early waits, and is not turned away.
        listeners.push(Listener::bind(host, group).await?);
    }
    let engine = Engine::start(config).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let until = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        servers.spawn(serve(listener, engine.clone(), until));
    }
    tracing::info!("API listens");
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    stop.send_replace(true);
    servers.join_all().await;
    engine.shutdown().await;
    Ok(())
}

/// To standard error; of others' crates only what is wrong.
fn log(level: &str) {
    let own = level.parse().unwrap_or(LevelFilter::INFO);
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(own))
        .with_target("lighter", own);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .init();
}
