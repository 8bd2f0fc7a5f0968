//! `bench runtime`: lighter-runc beside crun and runc of the peers' root, and beside the floor (`crates/runtime/examples/floor.rs`), in one
//! run; a table, and JSON in target/bench.
//!
//! All are started in the same way: this program forks, the child executes the runtime, and `wait4` tells time and memory. No shell, no
//! client, no engine. It does so in a private host whose root is the peers' root ([`inside`]); this part makes the host and says what was seen.

mod bundle;
mod inside;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::remove_cgroups;
use super::report::Machine;
use crate::run::{output, step};
use crate::{build, lab};

const USAGE: &str = "\
usage: cargo xtask bench runtime [--quick] [--no-build] [--rounds N]

  --quick     few rounds: to see that it runs, not to quote
  --no-build  measure what lies in target/dist
  --rounds N  samples of each runtime on each bundle";

/// Where everything of ours lies inside the host.
const SHARE: &str = "/run/bench";
const FLOOR: &str = "floor";

/// A host's first process: makes the peers' root the root. `$1`: the peers' root, `$2`: our directory; the rest is what to run.
const HOST: &str = r#"
set -eu
peers=$1; share=$2; shift 2
mount --bind "$peers" "$peers"
cd "$peers"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
# crun refuses the hybrid layout.
umount sys/fs/cgroup/unified 2>/dev/null || true
mkdir run/bench run/old
mount --bind "$share" run/bench
pivot_root . run/old
cd /
umount -l /run/old
exec "$@"
"#;

pub fn main(words: &[&str]) -> Result<()> {
    if let ["--inside", rounds, cgroup] = words {
        return inside::main(Path::new(SHARE), rounds.parse()?, cgroup);
    }
    let (mut rounds, mut built) = (100, false);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--quick" => rounds = 8,
            "--no-build" => built = true,
            "--rounds" => rounds = rest.next().context("--rounds needs a number")?.parse()?,
            _ => bail!("unknown word `{word}`\n{USAGE}"),
        }
    }
    let lab = step("set up", lab::ensure)?;
    if !built {
        step("build", || build::all().map(drop))?;
    }
    let share = build::root().join("target/bench/runtime");
    let cgroup = format!("/lt-bench-{}", std::process::id());
    step("bundles", || furnish(&share, &lab, &cgroup))?;
    let machine = Machine::now();
    println!("{machine}");
    let measured = step("measure", || measure(&share, &lab, rounds, &cgroup));
    remove_cgroups(&cgroup);
    measured?;
    let results = fs::read(share.join("results.json")).context("reading the results")?;
    let results: inside::Results = serde_json::from_slice(&results)?;
    table::tell(&build::root().join("target/bench"), &machine, &results)
}

/// Programs and bundles.
fn furnish(share: &Path, lab: &Path, cgroup: &str) -> Result<()> {
    let _ = fs::remove_dir_all(share);
    fs::create_dir_all(share)?;
    let copy = |from: &Path, name: &str| {
        fs::copy(from, share.join(name)).with_context(|| format!("copying {}", from.display()))
    };
    copy(&std::env::current_exe()?, "xtask")?;
    copy(&build::root().join("target/dist/lighter-runc"), "lighter-runc")?;
    copy(&build::example("floor")?, FLOOR)?;
    bundle::write(share, lab, cgroup)?;
    carry(share, "strace")
}

/// Copies a program of this machine with the libraries that it wants, to be run in a root that has others.
fn carry(share: &Path, name: &str) -> Result<()> {
    let dir = share.join("carried");
    fs::create_dir_all(&dir)?;
    let path = output(Command::new("sh").arg("-c").arg(format!("command -v {name}")))?;
    let path = PathBuf::from(path.trim());
    fs::copy(&path, dir.join(name))?;
    let libraries = output(Command::new("ldd").arg(&path))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let library = Path::new(library);
        let file = library.file_name().context("a library without a name")?;
        fs::copy(library, dir.join(file)).with_context(|| format!("copying {}", library.display()))?;
    }
    Ok(())
}

fn measure(share: &Path, lab: &Path, rounds: usize, cgroup: &str) -> Result<()> {
    let status = Command::new("unshare")
        .args([
            "-mnpuif",
            "--propagation",
            "private",
            "--kill-child",
            "sh",
            "-c",
            HOST,
            "host",
        ])
        .args([&lab.join("peers"), share])
        .arg(format!("{SHARE}/xtask"))
        .args(["bench", "runtime", "--inside", &rounds.to_string(), cgroup])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the measuring process: {status}");
    Ok(())
}
