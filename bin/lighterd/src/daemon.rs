//! From a configuration to an engine that serves, until it is told to end.

use lighter_engine::{Config, Engine};
use lighter_engine_http::{Listener, docker_group, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::pidfile::Pidfile;

/// Serves until SIGTERM or SIGINT; containers run on.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    log(match config.log_level.as_str() {
        _ if config.debug => "debug",
        "fatal" => "error",
        level => level,
    });
    let _pidfile = config.pidfile.as_deref().map(Pidfile::write).transpose()?;
    // Before anything is begun: a signal that comes early is not lost, and SIGHUP never kills.
    let ended = ended()?;
    tokio::pin!(ended);
    let group = docker_group(&std::fs::read_to_string("/etc/group").unwrap_or_default());
    let mut listeners = Vec::new();
    for host in &config.hosts {
        // Before the engine is up: who comes early waits, and is not turned away.
        listeners.push(Listener::bind(host, group).await?);
    }
    let engine = tokio::select! {
        started = Engine::start(config) => started?,
        () = &mut ended => return Ok(()),
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let until = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        servers.spawn(serve(listener, engine.clone(), until));
    }
    tracing::info!("API listens");
    ended.await;
    stop.send_replace(true);
    servers.join_all().await;
    engine.shutdown().await;
    Ok(())
}

/// Resolves when a user wants the end.
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = term.recv() => return,
                _ = int.recv() => return,
                _ = hangup.recv() => {
                    tracing::warn!("SIGHUP: the configuration is read at a start only; restart to have it read, containers run on");
                }
            }
        }
    })
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
