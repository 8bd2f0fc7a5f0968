//! The file that says which process we are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Pidfile(PathBuf);

impl Pidfile {
    /// Writes ours; refuses when the process that an older one names is an engine that runs.
    pub(crate) fn write(path: &Path) -> Result<Self> {
        if let Ok(text) = fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && runs(pid)
        {
            bail!(
                "failed to start daemon, ensure docker is not running or delete {}: process with PID {pid} is still running",
                path.display()
            );
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

/// Whether `pid` is an engine that runs. A dead one that nobody has waited for yet has no program any more.
fn runs(pid: u32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(" (deleted)") == "lighterd"
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // Nobody is left who could do more about it.
        let _ = fs::remove_file(&self.0);
    }
}
