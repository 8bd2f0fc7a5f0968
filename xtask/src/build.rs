//! All programs as they are shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use crate::run::run;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Their start-up is paid by every container or command: no relocation, whole-program optimisation.
const TINY: [&str; 3] = ["lighter-runc", "containerd-shim-lighter-v1", "lighter"];
/// Those of them whose size every container pays as well (`lighter_sys::entry`).
const LEAN: [&str; 2] = ["lighter-runc", "containerd-shim-lighter-v1"];
/// The one that moves itself out of containers' reach before anything else.
const SEALED: &str = "lighter-runc";
const DAEMONS: [&str; 3] = ["lighter-containerd", "lighter-netd", "lighterd"];

/// The root of the checkout.
pub fn root() -> PathBuf {
    // Cargo sets it to xtask's own directory at compile time.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Builds everything and returns the directory that holds all programs.
pub fn all() -> Result<PathBuf> {
    let dist = root().join("target/dist");
    std::fs::create_dir_all(&dist)?;
    // Side by side: each small program ends with minutes of whole-program optimisation on one core.
    std::thread::scope(|scope| {
        let small = scope.spawn(|| tiny_programs(&dist));
        let built = daemons(&dist);
        small
            .join()
            .map_err(|_| anyhow!("building the small programs panicked"))??;
        built
    })?;
    Ok(dist)
}

fn daemons(dist: &Path) -> Result<()> {
    let mut daemons = Command::new("cargo");
    daemons
        .current_dir(root())
        .args(["build", "--release", "--locked"]);
    for name in DAEMONS {
        daemons.args(["--package", &format!("bin-{name}")]);
    }
    run(&mut daemons)?;
    for name in DAEMONS {
        place(
            &root().join(format!("target/{TARGET}/release/{name}")),
            &dist.join(name),
        )?;
    }
    Ok(())
}

fn tiny_programs(dist: &Path) -> Result<()> {
    for name in TINY {
        let mut command = tiny(&["--package", &format!("bin-{name}")]);
        if LEAN.contains(&name) {
            lean(&mut command);
        }
        if name == SEALED {
            // See `lighter_sys::early`.
            command.args(["-C", "link-arg=-Wl,-e,lighter_start"]);
        } else if LEAN.contains(&name) {
            // Repeated stretches of code once (2 %). Not in the runtime: a tenth of its time went into the calls of them.
            command.args(["-C", "llvm-args=-enable-machine-outliner=always"]);
        }
        run(&mut command)?;
        place(
            &root().join(format!("target/{TARGET}/tiny/{name}")),
            &dist.join(name),
        )?;
    }
    Ok(())
}

fn tiny(what: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(root())
        .args(["rustc", "--locked", "--profile", "tiny"])
        .args(what)
        .args(["--", "-C", "relocation-model=static"]);
    command
}

/// Builds an example of the runtime's crate in the way of the runtime itself; where it is.
pub fn example(name: &str) -> Result<PathBuf> {
    let mut command = tiny(&["--package", "lighter-runtime", "--example", name]);
    lean(&mut command);
    run(&mut command)?;
    Ok(root().join(format!("target/{TARGET}/tiny/examples/{name}")))
}

/// What makes a small program smaller: no unwind tables (9 %), equal functions once.
fn lean(command: &mut Command) {
    let script = root().join("xtask/tiny.ld");
    for word in [
        format!("link-arg=-Wl,-T,{}", script.display()),
        "link-arg=-Wl,--no-eh-frame-hdr".into(),
        "link-arg=-Wl,--icf=all".into(),
        "link-arg=-Wl,-O2".into(),
        "link-arg=-Wl,--build-id=none".into(),
    ] {
        command.args(["-C", &word]);
    }
}

/// Replaces a program that may be running: by rename, never by writing into it. An equal file stays as it is.
fn place(from: &Path, to: &Path) -> Result<()> {
    let new = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let beside = to.with_extension("new");
    std::fs::copy(from, &beside).with_context(|| format!("copying to {}", beside.display()))?;
    std::fs::rename(&beside, to).with_context(|| format!("placing {}", to.display()))
}
