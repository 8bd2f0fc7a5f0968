//! `delete`: what a shim that died has left is killed and taken away.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use lighter_log_write::Time;
use lighter_shim_api::task::DeleteResponse;
use prost::Message;
use rustix::process::{Pid, WaitOptions};

use crate::arguments::Arguments;
use crate::runtime::{Call, Runtime};
use crate::server::timestamp;
use crate::{Config, record, rootfs};

/// The status that stands for SIGKILL.
const KILLED: u32 = 128 + 9;

/// How long the runtime may take: containerd gives the whole command five seconds, and the mounts have yet to go.
const PATIENCE: Duration = Duration::from_secs(4);

/// Waits for the runtime, but not for one that hangs.
fn wait(pid: i32) {
    let ended = lighter_sys::pidfd::open(pid)
        .and_then(|fd| lighter_sys::pidfd::wait_exit(fd.as_fd(), Some(PATIENCE)))
        .unwrap_or(true);
    if !ended {
        let _ = lighter_sys::process::kill(pid, 9);
    }
    let _ = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
}

/// Cleans up and returns the encoded `DeleteResponse`. What is gone already is no error; what cannot be removed is left.
pub(crate) fn delete(config: &Config, arguments: &Arguments) -> Vec<u8> {
    let bundle = match arguments.bundle.as_os_str().is_empty() {
        false => arguments.bundle.clone(),
        // As containerd's shims: beside the directory that it was called in.
        true => std::env::current_dir()
            .unwrap_or_default()
            .parent()
            .map(|all| all.join(&arguments.id))
            .unwrap_or_default(),
    };
    let record = record::read(&bundle).unwrap_or_default();
    let own = config.program.as_deref();
    let mut runtime = Runtime::new(
        &record.runtime,
        "",
        &arguments.namespace,
        record.systemd_cgroup,
        own,
        &config.environment,
    );
    if !record.root.is_empty() {
        runtime.root = PathBuf::from(&record.root);
    }
    let command: Vec<OsString> = vec!["delete".into(), "--force".into(), OsString::from(&arguments.id)];
    let call = Call {
        arguments: command,
        ..Call::default()
    };
    if let Ok(child) = runtime.start(&bundle.join("log.json"), call) {
        wait(child.pid);
    }
    let _ = rootfs::unmount(&bundle.join("rootfs"));
    let pid = std::fs::read_to_string(bundle.join("init.pid"))
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let now: Time = (config.clock)();
    DeleteResponse {
        pid: pid.unwrap_or(0),
        exit_status: KILLED,
        exited_at: Some(timestamp(now)),
    }
    .encode_to_vec()
}
