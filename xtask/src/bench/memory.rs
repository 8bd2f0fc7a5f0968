//! What processes hold, as the kernel counts it (`/proc/PID/smaps_rollup`).

use anyhow::{Context as _, Result, ensure};
use lighter_harness::{Host, Kind};

/// MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident set: pages that others map too are counted in full.
    pub rss: f64,
    /// Proportional set: a page that n processes map counts as 1/n.
    pub pss: f64,
}

/// The daemons of an engine, all together.
pub fn daemons(host: &Host, kind: Kind) -> Result<Memory> {
    let names: &[&str] = match kind {
        Kind::Docker => &["dockerd", "containerd", "docker-proxy"],
        Kind::Lighter => &["lighterd", "lighter-containerd", "lighter-netd"],
        Kind::OverContainerd => &["lighterd", "containerd", "lighter-netd"],
    };
    let mut sum = Memory::default();
    let mut count = 0;
    for pid in names.iter().flat_map(|name| host.running(name)) {
        let memory = of(pid)?;
        sum.rss += memory.rss;
        sum.pss += memory.pss;
        count += 1;
    }
    ensure!(count > 0, "none of {names:?} runs");
    Ok(sum)
}

/// Each shim of an engine.
pub fn shims(host: &Host, kind: Kind) -> Result<Vec<Memory>> {
    shim_pids(host, kind).into_iter().map(of).collect()
}

/// The program file of an engine's shims, in MB.
pub fn shim_file(host: &Host, kind: Kind) -> Result<f64> {
    let pid = *shim_pids(host, kind).first().context("no shim runs")?;
    let path = format!("/proc/{pid}/exe");
    let file = std::fs::metadata(&path).with_context(|| format!("looking at {path}"))?;
    Ok(file.len() as f64 / 1e6)
}

fn shim_pids(host: &Host, kind: Kind) -> Vec<u32> {
    host.running(match kind {
        Kind::Docker => "containerd-shim-runc-v2",
        Kind::Lighter | Kind::OverContainerd => "containerd-shim-lighter-v1",
    })
}

fn of(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        Ok::<_, anyhow::Error>(kib.with_context(|| format!("{path} has no {name}"))? / 1024.0)
    };
    Ok(Memory {
        rss: field("Rss:")?,
        pss: field("Pss:")?,
    })
}
