//! The measuring process: the first of a private host whose root is the peers' root.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::client::Client;
use super::daemons::{Daemon, REGISTRY, Registry};

/// The columns. Ours first.
pub const NAMES: [&str; 2] = ["lighter", "containerd"];
/// Containers that are started, or run at the same time.
const MANY: usize = 100;
/// Between two samples: the kernel takes a dead container's namespaces apart after the client has left.
const REST: Duration = Duration::from_millis(30);
/// Questions that are under way at a time.
const WIDTH: usize = 32;

/// One measure.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub unit: String,
    /// In the order of [`NAMES`].
    pub samples: [Vec<f64>; 2],
}

/// All of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub rows: Vec<Row>,
    /// One minute's average of runnable tasks at the end.
    pub load: f64,
}

impl Results {
    fn put(&mut self, name: &str, unit: &str, column: usize, value: f64) {
        let place = self.rows.iter().position(|row| row.name == name);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                unit: unit.to_owned(),
                ..Row::default()
            });
            self.rows.len() - 1
        });
        self.rows[place].samples[column].push(value);
    }
}

pub fn main(share: &Path, quick: bool, cgroup: &str, only: &[&str]) -> Result<()> {
    let wants = |name: &str| only.is_empty() || only.iter().any(|only| name.contains(only));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut results = Results::default();
    let _registry = Registry::start(share)?;
    let daemons = [Daemon::ours(share)?, Daemon::peer(share)?];
    for (column, daemon) in daemons.iter().enumerate() {
        results.put("daemon, idle", "MiB", column, daemon.rss()?);
    }
    let small = image("busybox");
    for daemon in &daemons {
        let pulled = daemon
            .ctr(&["images", "pull", "--plain-http", "--local", &small])
            .status()?;
        ensure!(pulled.success(), "{}: pull of {small}: {pulled}", daemon.name);
    }
    let rounds = |full: usize| if quick { full.div_ceil(8).max(2) } else { full };
    if wants("run") {
        run(&mut results, &daemons, &small, rounds(60), cgroup)?;
    }
    if wants("many") {
        many(&mut results, &runtime, &daemons, &small, rounds(5), cgroup)?;
    }
    if wants("info") {
        for round in 0..rounds(5) {
            for (column, daemon) in turns(&daemons, round) {
                let time = Duration::from_secs(if quick { 1 } else { 2 });
                let rate = runtime
                    .block_on(async { Client::connect(daemon).await?.infos(&small, WIDTH, time).await })?;
                results.put("content info", "a second", column, rate);
            }
        }
    }
    if wants("unpack") {
        unpack(&mut results, &runtime, &daemons, rounds(5))?;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    results.load = load
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    fs::write(share.join("results.json"), serde_json::to_vec(&results)?).context("writing the results")
}

fn image(name: &str) -> String {
    format!("{REGISTRY}/library/{name}:latest")
}

/// Both daemons, the other one first each time.
fn turns(daemons: &[Daemon; 2], round: usize) -> [(usize, &Daemon); 2] {
    let first = round % 2;
    [(first, &daemons[first]), (1 - first, &daemons[1 - first])]
}

/// `ctr run --rm`, less what `ctr` takes to do nothing.
fn run(results: &mut Results, daemons: &[Daemon; 2], image: &str, rounds: usize, cgroup: &str) -> Result<()> {
    let time = |command: &mut Command| -> Result<f64> {
        std::thread::sleep(REST);
        let begin = Instant::now();
        let status = command.status()?;
        let took = begin.elapsed().as_secs_f64() * 1e3;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(took)
    };
    // The first samples of each do not count.
    for round in 0..rounds + 2 {
        for (column, daemon) in turns(daemons, round) {
            let group = format!("{cgroup}/run-{}", daemon.name);
            let words = [
                "run",
                "--rm",
                "--runtime",
                daemon.runtime,
                "--cgroup",
                &group,
                image,
                "run",
                "true",
            ];
            let ran = time(&mut daemon.ctr(&words))?;
            let alone = time(
                Command::new("/usr/bin/ctr")
                    .arg("--version")
                    .stdout(std::process::Stdio::null()),
            )?;
            if round >= 2 {
                results.put("ctr run --rm, whole", "ms", column, ran);
                results.put("ctr --version", "ms", column, alone);
            }
        }
    }
    let client: Vec<f64> = (0..2)
        .map(|column| median(results, "ctr --version", column))
        .collect::<Option<_>>()
        .context("no samples of the client")?;
    for (column, client) in client.into_iter().enumerate() {
        let whole = results.rows.iter().find(|row| row.name == "ctr run --rm, whole");
        for sample in whole.map(|row| row.samples[column].clone()).unwrap_or_default() {
            results.put("ctr run --rm, net", "ms", column, sample - client);
        }
    }
    Ok(())
}

pub fn median(results: &Results, name: &str, column: usize) -> Option<f64> {
    let row = results.rows.iter().find(|row| row.name == name)?;
    crate::bench::stats::Cell::Samples(row.samples[column].clone()).median()
}

/// A hundred containers at a time, and what all that runs then holds.
fn many(
    results: &mut Results,
    runtime: &Runtime,
    daemons: &[Daemon; 2],
    image: &str,
    rounds: usize,
    cgroup: &str,
) -> Result<()> {
    for round in 0..rounds {
        for (column, daemon) in turns(daemons, round) {
            let group = format!("{cgroup}/{}", daemon.name);
            let client = runtime.block_on(Client::connect(daemon))?;
            let took = runtime.block_on(client.start_many(image, MANY, &group))?;
            results.put("100 started, 8 at a time", "ms", column, took.as_secs_f64() * 1e3);
            let shims = daemon.shims()?;
            ensure!(shims.len() == MANY, "{}: {} shims", daemon.name, shims.len());
            let sum: f64 = shims.iter().sum();
            results.put("a shim of 100, PSS", "KiB", column, sum / MANY as f64);
            results.put("daemon, 100 containers", "MiB", column, daemon.rss()?);
            runtime.block_on(client.end_many(MANY))?;
            std::thread::sleep(REST * 10);
        }
    }
    Ok(())
}

/// The six layers of the large image.
fn unpack(results: &mut Results, runtime: &Runtime, daemons: &[Daemon; 2], rounds: usize) -> Result<()> {
    let large = image("big");
    for daemon in daemons {
        let fetched = daemon
            .ctr(&["content", "fetch", "--plain-http", &large])
            .status()?;
        ensure!(fetched.success(), "{}: fetch of {large}: {fetched}", daemon.name);
    }
    for round in 0..rounds {
        for (column, daemon) in turns(daemons, round) {
            let took = runtime.block_on(async { Client::connect(daemon).await?.unpack(&large).await })?;
            results.put(
                "unpack of 300 MB, 6 layers",
                "ms",
                column,
                took.as_secs_f64() * 1e3,
            );
            // What was unpacked is written out before the other has its turn.
            ensure!(Command::new("sync").status()?.success(), "sync");
        }
    }
    Ok(())
}
