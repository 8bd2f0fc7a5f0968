//! Running hooks.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::Hook;
use crate::error::{Error, Result};

/// Runs `hooks` one after the other with `state` (the OCI state document) on their stdin. The first that fails ends it.
pub(crate) fn run(kind: &'static str, hooks: &[Hook], state: &[u8]) -> Result<()> {
    for hook in hooks {
        one(hook, state).map_err(|reason| Error::Hook {
            kind,
            path: hook.path.clone(),
            reason,
        })?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &[u8]) -> std::result::Result<(), String> {
    let mut command = Command::new(&hook.path);
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    let mut child = command.spawn().map_err(crate::program::words)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its state is free to do so.
        let _ = stdin.write_all(state);
    }
    if let Some(seconds) = hook.timeout {
        let waited = lighter_sys::pidfd::open(i32::try_from(child.id()).unwrap_or(0)).and_then(|pidfd| {
            lighter_sys::pidfd::wait_exit(pidfd.as_fd(), Some(Duration::from_secs(seconds)))
        });
        if !waited.unwrap_or(false) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("timed out after {seconds}s"));
        }
    }
    let output = child.wait_with_output().map_err(crate::program::words)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}, stderr: {}", output.status, words.trim()))
}
