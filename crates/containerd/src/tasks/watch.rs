//! Following a task to its end, and burying it when its shim dies first.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lighter_shim_api::task as wire;

use super::bundle::Bundle;
use super::shim;
use super::task::{Task, watch_process};
use super::{Slot, Status, Tasks, blocking};
use crate::{Error, Result};

/// How long a shim may take to say something after its container was killed.
const AFTER_KILL: Duration = Duration::from_secs(2);

impl Tasks {
    /// Follows a task: its exit is published, and the death of its shim ends it.
    pub(super) fn follow(&self, task: &Arc<Task>) {
        let Some(shim) = task.any_shim().cloned() else {
            return;
        };
        let (tasks, task) = (self.clone(), task.clone());
        tokio::spawn(async move {
            let process = shim_process(&shim).await;
            let died = async {
                tokio::select! {
                    () = shim.closed() => {}
                    () = gone(process) => {}
                }
            };
            tokio::pin!(died);
            let ended = tokio::select! {
                exit = shim.wait("") => exit,
                () = &mut died => Err(Error::ShimGone(task.bundle.id.clone())),
            };
            let shim_is_gone = matches!(ended, Err(Error::ShimGone(_)));
            match ended {
                Ok(exit) => {
                    // A start that is under way is told first.
                    let _turn = task.turn.lock().await;
                    task.exited(exit);
                }
                Err(Error::ShimGone(_)) => {}
                Err(error) => {
                    tracing::warn!(id = %task.bundle.id, error = %lighter_stdx::error::chain(&error), "wait");
                }
            }
            if !shim_is_gone {
                died.await;
            }
            if !task.removing() {
                tasks.bury(&task).await;
            }
        });
    }

    /// Ends a task whose shim is gone: its pipes are gone too, so it cannot go on.
    pub(super) async fn bury(&self, task: &Arc<Task>) {
        let _turn = task.turn.lock().await;
        if task.removing() {
            return;
        }
        tracing::warn!(id = %task.bundle.id, "the shim is gone: ending its container");
        task.set_status(Status::Dead);
        let exit = task.kill_init(self.0.config.clock.now()).await;
        task.exited(exit);
        if let Err(error) = self
            .clean_up(&task.bundle, task.binary.as_deref(), &task.record().cgroups)
            .await
        {
            let error = lighter_stdx::error::chain(&error);
            tracing::warn!(id = %task.bundle.id, %error, "cleaning up after a shim");
        }
    }

    /// Kills a container whose shim does not do it: the init, and then the shim, if it still says nothing. Its death is followed by
    /// the burial.
    pub(super) async fn force(&self, task: &Arc<Task>) -> Result<()> {
        tracing::warn!(id = %task.bundle.id, "the shim does not kill its container: done without it");
        kill_cgroups(&task.record().cgroups);
        let exit = task.kill_init(self.0.config.clock.now()).await;
        match task.shim()?.state("", AFTER_KILL).await {
            // It tells the exit itself.
            Ok(_) => return Ok(()),
            Err(Error::ShimSlow { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.shares_shim(task) {
            // A pod's shim, whose other containers live by it.
            task.exited(exit);
            return Ok(());
        }
        kill_inhabitants(&task.bundle.path);
        // Its burial waits for the turn of whatever it was asked last.
        let _ = tokio::time::timeout(AFTER_KILL, task.wait_init()).await;
        Ok(())
    }

    /// Whether another task is served by the same shim.
    fn shares_shim(&self, task: &Task) -> bool {
        let address = |task: &Task| {
            shim::addresses(&self.0.config, &task.bundle)
                .first()
                .map(|first| first.address.clone())
        };
        let own = address(task);
        let others: Vec<Arc<Task>> = self
            .table()
            .values()
            .filter_map(|slot| match slot {
                Slot::Ready(other) if !std::ptr::eq(&**other, task) => Some(other.clone()),
                _ => None,
            })
            .collect();
        others.iter().any(|other| address(other) == own)
    }

    /// Lets the shim's program delete what is left of a container, or kills its cgroup when that fails; unmounts its root.
    pub(super) async fn clean_up(
        &self,
        bundle: &Bundle,
        binary: Option<&Path>,
        cgroups: &[String],
    ) -> Result<()> {
        let deleted = match binary {
            Some(binary) => shim::delete(&self.0.config, bundle, binary).await.map(drop),
            None => Ok(()),
        };
        if deleted.is_err() {
            kill_cgroups(cgroups);
        }
        let unmount = bundle.clone();
        blocking(move || unmount.unmount()).await?;
        deleted
    }

    /// Removes a bundle that is no task: its shim, if one was started, and whatever that started.
    pub(super) async fn discard(&self, bundle: &Bundle) -> Result<()> {
        for bootstrap in shim::addresses(&self.0.config, bundle) {
            if let Ok(shim) = shim::Shim::connect(bundle, &bootstrap) {
                shim.shutdown().await;
                break;
            }
        }
        kill_inhabitants(&bundle.path);
        let binary = bundle.read_text("shim-binary-path").map(PathBuf::from);
        // Only a shim that was told to start may have left something.
        if binary.is_some()
            && let Err(error) = self.clean_up(bundle, binary.as_deref(), &[]).await
        {
            tracing::debug!(id = %bundle.id, error = %lighter_stdx::error::chain(&error), "clean-up of a half-made task");
        }
        self.remove_bundle(bundle).await
    }
}

/// The shim's own process, as it tells.
async fn shim_process(shim: &shim::Shim) -> Option<OwnedFd> {
    let request = wire::ConnectRequest::default();
    let answer: Result<wire::ConnectResponse> = shim
        .call("Connect", &request, Some(Duration::from_secs(10)))
        .await;
    let pid = i32::try_from(answer.ok()?.shim_pid).ok().filter(|pid| *pid > 0)?;
    lighter_sys::pidfd::open(pid).ok()
}

/// Returns when the process is gone; never, if it is not known.
async fn gone(process: Option<OwnedFd>) {
    match process.and_then(|fd| watch_process(fd).ok()) {
        Some(fd) => drop(fd.readable().await.map(drop)),
        None => std::future::pending().await,
    }
}

/// When a process was started, in ticks since boot: with the pid it names a process for ever.
pub(super) fn start_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may have anything in it. Start time is field 22, the 20th after the name.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after
        .split_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

/// The cgroups of a process: lines of `/proc/<pid>/cgroup`.
pub(super) fn cgroups(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Kills what is left in the cgroups of a container.
fn kill_cgroups(lines: &[String]) {
    for line in lines {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // Only a group that is a container's own: never the root.
        let path = path.trim_start_matches('/');
        if path.is_empty() || path.contains("..") {
            continue;
        }
        let dirs = match controllers {
            "" => vec!["/sys/fs/cgroup".to_owned(), "/sys/fs/cgroup/unified".to_owned()],
            "devices" | "pids" | "freezer" => vec![format!("/sys/fs/cgroup/{controllers}")],
            _ => continue,
        };
        for dir in dirs {
            let dir = Path::new(&dir).join(path);
            let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in procs.lines().filter_map(|line| line.parse::<i32>().ok()) {
                // One that has just gone is what we want.
                let _ = lighter_sys::process::kill(pid, 9);
            }
        }
    }
}

/// Kills what has the bundle as its working directory: a shim that was forked and never recorded, or what it runs.
pub(crate) fn kill_inhabitants(path: &Path) {
    let Ok(path) = fs::canonicalize(path) else { return };
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for entry in processes.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid else { continue };
        if fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == path) {
            tracing::debug!(pid, bundle = %path.display(), "killing what a half-made task left");
            let _ = lighter_sys::process::kill(pid, 9);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_in_a_bundle_is_killed_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("layer-inhabitants-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let spawn = |cwd: &Path| {
            std::process::Command::new("/bin/sleep")
                .arg("60")
                .current_dir(cwd)
                .spawn()
                .unwrap()
        };
        let (mut inside, mut outside) = (spawn(&dir), spawn(Path::new("/")));
        assert!(start_time(inside.id()) > 0);
        kill_inhabitants(&dir);
        assert!(!inside.wait().unwrap().success());
        assert!(outside.try_wait().unwrap().is_none());
        outside.kill().unwrap();
        outside.wait().unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
