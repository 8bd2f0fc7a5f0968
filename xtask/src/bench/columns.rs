//! The columns: an engine in a host, and a client in front of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lighter_harness::{Engine, Host, Kind, Options, Registry};

use super::stats::{Scope, engine_name, guarded};
use crate::build;

/// The columns' names, in order.
pub const LABELS: [&str; 3] = [
    "docker 28.5, stock client",
    "lighter, stock client",
    "lighter, own client",
];

/// The stock client of the machine.
const STOCK: &str = "docker";

/// An engine in a host of its own, with a registry.
#[derive(Debug)]
pub struct Rig {
    /// Which engine.
    pub kind: Kind,
    /// Fields are dropped in order: the host last.
    _engine: Engine,
    _registry: Registry,
    /// The host.
    pub host: Host,
}

impl Rig {
    /// Starts one.
    fn start(kind: Kind) -> Result<Rig> {
        guarded(|| {
            let host = Host::new();
            let registry = Registry::start(&host);
            let engine = Engine::start(&host, kind, &options(kind, &host)?);
            Ok(Rig {
                kind,
                _engine: engine,
                _registry: registry,
                host,
            })
        })
    }

    /// The API socket, as this process can open it.
    pub fn socket(&self) -> PathBuf {
        self.host.path(Engine::SOCKET)
    }

    /// What the engine needs besides the samples, done by the stock client; its output.
    pub fn housekeeping(&self, words: &[&str]) -> Result<String> {
        let output = client(Path::new(STOCK), self, words).output()?;
        ensure!(
            output.status.success(),
            "docker {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Ours are copied into the host: nobody else runs those files, so that no page of theirs is shared and no build replaces them.
pub fn options(kind: Kind, host: &Host) -> Result<Options> {
    let mut options = Options::default();
    if kind == Kind::Lighter {
        let dir = host.dir().join("programs");
        std::fs::create_dir_all(&dir)?;
        for entry in std::fs::read_dir(build::root().join("target/dist")).context("not built")? {
            let entry = entry?;
            std::fs::copy(entry.path(), dir.join(entry.file_name()))?;
        }
        options.programs = Some(dir);
    }
    Ok(options)
}

/// Why this engine cannot be started, when that is known beforehand.
pub fn built(kind: Kind) -> Result<(), String> {
    let needed: &[&str] = match kind {
        Kind::Docker => &[],
        Kind::Lighter | Kind::OverContainerd => &[
            "lighterd",
            "lighter-containerd",
            "containerd-shim-lighter-v1",
            "lighter-runc",
        ],
    };
    let dist = build::root().join("target/dist");
    match needed.iter().find(|name| !dist.join(name).exists()) {
        Some(name) => Err(format!("not built: {name}")),
        None => Ok(()),
    }
}

/// One engine with one client.
#[derive(Debug)]
pub struct Column {
    /// The engine, or why it is not there.
    pub rig: Result<Rc<Rig>, String>,
    /// The client's program, or why it is not there.
    client: Result<PathBuf, String>,
}

impl Column {
    /// Whether there is something to measure.
    pub fn ready(&self, scope: Scope, place: usize) -> Result<(), String> {
        self.rig.as_ref().map_err(Clone::clone)?;
        match scope {
            Scope::Engines if place == 2 => Err("–".to_owned()),
            Scope::Engines => Ok(()),
            Scope::Clients => self.client.as_ref().map(drop).map_err(Clone::clone),
        }
    }

    /// The engine of a column that is [`Column::ready`].
    pub fn rig(&self) -> Result<&Rig> {
        self.rig.as_deref().map_err(|reason| anyhow::anyhow!("{reason}"))
    }

    /// Runs the client to its end: milliseconds from before its fork to its exit.
    pub fn time(&self, words: &[&str]) -> Result<f64> {
        let program = self
            .client
            .as_ref()
            .map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let mut command = client(program, self.rig()?, words);
        let begin = Instant::now();
        let output = command.output()?;
        let took = begin.elapsed();
        ensure!(
            output.status.success(),
            "{}: {}: {}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(milliseconds(took))
    }
}

/// In milliseconds, with fractions.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A client outside the host: no `nsenter` between the clock and it.
fn client(program: &Path, rig: &Rig, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("-H")
        .arg(format!("unix://{}", rig.socket().display()))
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", rig.host.dir())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// All columns, in the order of [`LABELS`].
#[derive(Debug)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// Starts both engines. One that does not start leaves its columns empty.
    pub fn start() -> Result<Columns> {
        let docker = start(Kind::Docker)?;
        let lighter = start(Kind::Lighter);
        let lighter = lighter.map_err(|error| format!("{error:#}"));
        Ok(Columns(vec![
            Column {
                rig: Ok(docker),
                client: Ok(STOCK.into()),
            },
            Column {
                rig: lighter.clone(),
                client: Ok(STOCK.into()),
            },
            Column {
                client: own_client(lighter.as_deref().ok()),
                rig: lighter,
            },
        ]))
    }

    /// Columns that cannot be measured, with the reason.
    pub fn absent(&self) -> Vec<(&'static str, String)> {
        let reason = |(place, column): (usize, &Column)| {
            let reason = column.ready(Scope::Clients, place).err()?;
            Some((LABELS[place], reason))
        };
        self.0.iter().enumerate().filter_map(reason).collect()
    }

    /// The columns.
    pub fn all(&self) -> &[Column] {
        &self.0
    }

    /// The engines that run.
    pub fn rigs(&self) -> impl Iterator<Item = &Rig> {
        self.0
            .iter()
            .take(2)
            .filter_map(|column| column.rig.as_deref().ok())
    }
}

fn start(kind: Kind) -> Result<Rc<Rig>> {
    built(kind).map_err(|reason| anyhow::anyhow!("{reason}"))?;
    let rig = Rig::start(kind).with_context(|| format!("{} did not start", engine_name(kind)))?;
    // What needs no image can be measured without.
    if let Err(error) = rig.housekeeping(&["pull", "-q", "busybox"]) {
        println!("{}: {error:#}", engine_name(kind));
    }
    Ok(Rc::new(rig))
}

/// Ours counts as built when it says its version.
fn own_client(rig: Option<&Rig>) -> Result<PathBuf, String> {
    let rig = rig.ok_or("its engine is not there")?;
    let program = rig.host.dir().join("programs/lighter");
    let says = Command::new(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    match says {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => Ok(program),
        _ => Err("not built: lighter".to_owned()),
    }
}
