//! `bench containerd`: lighter-containerd with our shim and runtime beside containerd 2.1 with runc, in one run; a table, and JSON in
//! target/bench.
//!
//! Both daemons run in one private host whose root is the peers' root, side by side, and the samples of the two alternate. What is said
//! to a daemon is said by the peers' `ctr`, or by one client of ours ([`client`]) over one connection, to both alike.

mod client;
mod daemons;
mod inside;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::remove_cgroups;
use super::report::Machine;
use crate::run::step;
use crate::{build, lab};

const USAGE: &str = "\
usage: cargo xtask bench containerd [--quick] [--no-build] [--only NAME]...

  --quick     few rounds: to see that it runs, not to quote
  --no-build  measure what lies in target/dist (or LIGHTER_DIST)
  --only NAME measures whose name contains NAME";

/// Where everything of ours lies inside the host.
const SHARE: &str = "/run/bench";
const PROGRAMS: [&str; 3] = ["lighter-containerd", "containerd-shim-lighter-v1", "lighter-runc"];

/// A host's first process: enters the cgroups of `$OWN_CGROUP`, and makes the peers' root the root. `$1`: the peers' root, `$2`: our directory, `$3`: the registry's store; the
/// rest is what to run.
const HOST: &str = r#"
set -eu
peers=$1; share=$2; registry=$3; shift 3
for procs in $OWN_CGROUP; do echo 0 > "$procs"; done
mount --bind "$peers" "$peers"
cd "$peers"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
umount sys/fs/cgroup/unified 2>/dev/null || true
mkdir run/bench run/registry run/old
mount --bind "$share" run/bench
mount --bind -o ro "$registry" run/registry
pivot_root . run/old
cd /
umount -l /run/old
ip link set lo up
exec "$@"
"#;

pub fn main(words: &[&str]) -> Result<()> {
    if let ["--inside", quick, cgroup, only @ ..] = words {
        return inside::main(Path::new(SHARE), *quick == "true", cgroup, only);
    }
    let (mut quick, mut built, mut only) = (false, false, Vec::new());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--quick" => quick = true,
            "--no-build" => built = true,
            "--only" => only.push(*rest.next().context("--only needs a name")?),
            _ => bail!("unknown word `{word}`\n{USAGE}"),
        }
    }
    let lab = step("set up", lab::ensure)?;
    if !built {
        step("build", || build::all().map(drop))?;
    }
    // On a real file system: overlays of the daemons' own lie on it.
    let share = PathBuf::from(format!("/var/tmp/lighter-bench-{}", std::process::id()));
    let cgroup = format!("/lt-bench-{}", std::process::id());
    let machine = Machine::now();
    println!("{machine}");
    let measured = furnish(&share).and_then(|()| {
        step("measure", || measure(&share, &lab, quick, &cgroup, &only))?;
        let results = fs::read(share.join("results.json")).context("reading the results")?;
        Ok(serde_json::from_slice::<inside::Results>(&results)?)
    });
    remove_cgroups(&cgroup);
    let removed = fs::remove_dir_all(&share);
    let results = measured?;
    removed.with_context(|| format!("removing {}", share.display()))?;
    table::tell(&build::root().join("target/bench"), &machine, &results)
}

/// Our programs, in a directory of their own.
fn furnish(share: &Path) -> Result<()> {
    fs::create_dir_all(share)?;
    let dist =
        std::env::var_os("LIGHTER_DIST").map_or_else(|| build::root().join("target/dist"), PathBuf::from);
    let copy = |from: &Path, name: &str| {
        fs::copy(from, share.join(name)).with_context(|| format!("copying {}", from.display()))
    };
    copy(&std::env::current_exe()?, "xtask")?;
    for name in PROGRAMS {
        copy(&dist.join(name), name)?;
    }
    Ok(())
}

/// Makes a group for the whole host, beside those of its containers, that the machine's other work hardly takes processor time from:
/// neither daemon is measured by what else runs. Gives the files to enter it by; none where it cannot be made.
fn favoured(cgroup: &str) -> String {
    let made = |root: &str, file: &str, weight: &str| {
        let all = PathBuf::from(format!("{root}{cgroup}"));
        fs::metadata(format!("{root}/cgroup.procs")).ok()?;
        fs::create_dir_all(all.join("host")).ok()?;
        fs::write(all.join(file), weight).ok()?;
        Some(all.join("host/cgroup.procs").display().to_string())
    };
    let v1 = made("/sys/fs/cgroup/cpu", "cpu.shares", "200000");
    let found = v1.or_else(|| made("/sys/fs/cgroup", "cpu.weight", "10000"));
    if found.is_none() {
        println!("without a cgroup for the CPU: other work on this machine counts");
    }
    found.unwrap_or_default()
}

fn measure(share: &Path, lab: &Path, quick: bool, cgroup: &str, only: &[&str]) -> Result<()> {
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
        .args([&lab.join("peers"), share, &lab.join("registry")])
        .arg(format!("{SHARE}/xtask"))
        .args(["bench", "containerd", "--inside", &quick.to_string(), cgroup])
        .args(only)
        .env("OWN_CGROUP", favoured(cgroup))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the measuring process: {status}");
    Ok(())
}
