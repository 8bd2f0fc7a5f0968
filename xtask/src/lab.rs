//! What the suites and the demo need from outside: Debian packages, the peers' root, images in a registry store.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::run;

const PACKAGES: &str = include_str!("../lab/packages.sh");
const PEERS: &str = include_str!("../lab/peers.sh");
const GUEST: &str = include_str!("../lab/guest.sh");
const IMAGES: &str = include_str!("../lab/images.sh");

/// `$LIGHTER_LAB`, or a directory in the user's cache: it outlives a checkout.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("LIGHTER_LAB") {
        return Ok(dir.into());
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("neither LIGHTER_LAB nor HOME is set")?)
            .join(".cache"),
    };
    Ok(cache.join("lighter/lab"))
}

/// Makes what is missing; quick when all is there.
pub fn ensure() -> Result<PathBuf> {
    images()?;
    let lab = dir()?;
    // Both mostly wait for downloads.
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| script(GUEST, &[lab.as_os_str()]));
        script(PEERS, &[lab.as_os_str()])?;
        guest
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(lab)
}

/// Packages and images only: all that the demo needs.
pub fn images() -> Result<PathBuf> {
    let lab = dir()?;
    std::fs::create_dir_all(&lab).with_context(|| format!("creating {}", lab.display()))?;
    script(PACKAGES, &[])?;
    let xtask = std::env::current_exe()?;
    script(IMAGES, &[lab.as_os_str(), xtask.as_os_str()])?;
    Ok(lab)
}

fn script(text: &str, words: &[&std::ffi::OsStr]) -> Result<()> {
    run(Command::new("bash").arg("-c").arg(text).arg("lab").args(words))
}
