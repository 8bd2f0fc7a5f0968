//! Talking to CRIU, which does the work: `criu swrk FD`, one request, its notifications, one answer.
//!
//= https://criu.org/RPC

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::io::FdFlags;

use super::message::{Field, Reader, Writer};
use crate::error::{Context, Error, Result};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
}

const NOTIFY: i64 = 6;
const FEATURE_CHECK: i64 = 9;

/// What CRIU and the kernel may not be able to do: field of `criu_features`, and what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Feature {
    MemoryTracking = 1,
    LazyPages = 2,
}

/// Numbers of `criu_opts`' fields.
pub(crate) mod field {
    pub(crate) const IMAGES_DIR_FD: u64 = 1;
    pub(crate) const PID: u64 = 2;
    pub(crate) const LEAVE_RUNNING: u64 = 3;
    pub(crate) const EXT_UNIX_SK: u64 = 4;
    pub(crate) const TCP_ESTABLISHED: u64 = 5;
    pub(crate) const EVASIVE_DEVICES: u64 = 6;
    pub(crate) const SHELL_JOB: u64 = 7;
    pub(crate) const FILE_LOCKS: u64 = 8;
    pub(crate) const LOG_LEVEL: u64 = 9;
    pub(crate) const LOG_FILE: u64 = 10;
    pub(crate) const PAGE_SERVER: u64 = 11;
    pub(crate) const NOTIFY_SCRIPTS: u64 = 12;
    pub(crate) const ROOT: u64 = 13;
    pub(crate) const PARENT_IMAGE: u64 = 14;
    pub(crate) const TRACK_MEMORY: u64 = 15;
    pub(crate) const AUTO_DEDUP: u64 = 16;
    pub(crate) const WORK_DIR_FD: u64 = 17;
    pub(crate) const LINK_REMAP: u64 = 18;
    pub(crate) const MANAGE_CGROUPS: u64 = 24;
    pub(crate) const CGROUP_ROOT: u64 = 25;
    pub(crate) const RESTORE_SIBLING: u64 = 26;
    pub(crate) const INHERIT_FD: u64 = 27;
    pub(crate) const MANAGE_CGROUPS_MODE: u64 = 34;
    pub(crate) const EXTERNAL: u64 = 37;
    pub(crate) const EMPTY_NS: u64 = 38;
    pub(crate) const JOIN_NS: u64 = 39;
    pub(crate) const FREEZE_CGROUP: u64 = 44;
    pub(crate) const TCP_SKIP_IN_FLIGHT: u64 = 46;
    pub(crate) const LAZY_PAGES: u64 = 48;
    pub(crate) const ORPHAN_PTS_MASTER: u64 = 50;
    pub(crate) const CONFIG_FILE: u64 = 51;
    pub(crate) const LSM_PROFILE: u64 = 53;
    pub(crate) const LSM_MOUNT_CONTEXT: u64 = 63;
}

/// A notification: at which point CRIU is, the first process there, and descriptors that came along.
#[derive(Debug)]
pub(crate) struct Notice<'a> {
    pub(crate) point: &'a str,
    pub(crate) pid: i32,
    pub(crate) fds: Vec<OwnedFd>,
}

/// A CRIU that waits for its request, and dies with this value.
#[derive(Debug)]
pub(crate) struct Criu {
    child: Child,
    socket: OwnedFd,
    name: PathBuf,
}

impl Criu {
    /// Starts `program` with our stdio and with `inherited`, which keep their numbers.
    pub(crate) fn start(program: &Path, inherited: &[BorrowedFd<'_>]) -> Result<Self> {
        let (socket, theirs) = lighter_sys::fdpass::seqpacket_pair().doing("make a socket pair")?;
        for fd in inherited.iter().chain([&theirs.as_fd()]) {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).doing("pass a descriptor on")?;
        }
        let child = Command::new(program)
            .arg("swrk")
            .arg(theirs.as_raw_fd().to_string())
            .spawn();
        for fd in inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).doing("keep a descriptor")?;
        }
        let child = match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Config(format!(
                    "checkpoint and restore need CRIU: no {} found (install criu, or name it with --criu)",
                    program.display()
                )));
            }
            result => result.on("run", program)?,
        };
        Ok(Self {
            child,
            socket,
            name: program.to_owned(),
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Asks whether `feature` is to be had here. Refused with what wants it.
    pub(crate) fn check(self, feature: Feature, wanted_by: &str) -> Result<()> {
        let mut features = Writer::default();
        features.flag(feature as u64, true);
        let mut request = Writer::default();
        request.number(1, FEATURE_CHECK).bytes(5, &features);
        self.send(&request)?;
        let mut buffer = vec![0; 4096];
        let (length, _) =
            lighter_sys::fdpass::receive(&self.socket, &mut buffer).on("listen to", &self.name)?;
        let has = Reader(&buffer[..length]).any(|field| match field {
            Field::Bytes(8, features) => Reader(features).any(|one| one == Field::Number(feature as u64, 1)),
            _ => false,
        });
        if has {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{wanted_by} cannot be used: CRIU or this kernel has no {}",
            match feature {
                Feature::MemoryTracking => "memory tracking (CONFIG_MEM_SOFT_DIRTY)",
                Feature::LazyPages => "lazy pages (userfaultfd)",
            }
        )))
    }

    /// Sends the request and answers notifications by `notice` until it is done. `log`: where CRIU writes its reasons.
    pub(crate) fn ask(
        mut self,
        kind: Kind,
        options: &Writer,
        log: &Path,
        mut notice: impl FnMut(Notice<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut request = Writer::default();
        request.number(1, kind as i64).bytes(2, options);
        self.send(&request)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let (length, fds) =
                lighter_sys::fdpass::receive(&self.socket, &mut buffer).on("listen to", &self.name)?;
            if length == 0 {
                return Err(failed(kind, "it ended without an answer", log));
            }
            let answer = Answer::read(&buffer[..length]);
            if !answer.success {
                return Err(failed(kind, &answer.reason(), log));
            }
            if answer.kind != NOTIFY {
                break;
            }
            let told = notice(Notice {
                point: answer.point,
                pid: answer.pid,
                fds,
            });
            let mut reply = Writer::default();
            reply.number(1, NOTIFY).flag(3, told.is_ok());
            self.send(&reply)?;
            told?;
        }
        // A pre-dump waits for the end of the conversation.
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).on("talk to", &self.name)?;
        // The answer was good: how it ended says nothing more.
        self.child.wait().map(drop).on("wait for", &self.name)
    }

    fn send(&self, message: &Writer) -> Result<()> {
        lighter_sys::fdpass::send(&self.socket, message.as_ref(), &[])
            .map(drop)
            .on("talk to", &self.name)
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        // Ended and reaped already, when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `criu_resp`, as far as it is of use.
#[derive(Debug, Default)]
struct Answer<'a> {
    kind: i64,
    success: bool,
    point: &'a str,
    pid: i32,
    errno: u64,
    message: &'a str,
}

impl<'a> Answer<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let mut answer = Self::default();
        for field in Reader(bytes) {
            match field {
                Field::Number(1, value) => answer.kind = value.cast_signed(),
                Field::Number(2, value) => answer.success = value != 0,
                Field::Number(7, value) => answer.errno = value,
                Field::Bytes(9, value) => answer.message = text(value),
                Field::Bytes(5, notify) => {
                    for field in Reader(notify) {
                        match field {
                            Field::Bytes(1, value) => answer.point = text(value),
                            Field::Number(2, value) => answer.pid = i32::try_from(value).unwrap_or(0),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        answer
    }

    fn reason(&self) -> String {
        if self.message.is_empty() {
            format!("error {}", self.errno)
        } else {
            self.message.to_owned()
        }
    }
}

/// With what the log says of errors, the last of them: the answer alone helps nobody.
fn failed(kind: Kind, reason: &str, log: &Path) -> Error {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error")).collect();
    let last = &errors[errors.len().saturating_sub(4)..];
    let verb = match kind {
        Kind::Dump => "dump",
        Kind::PreDump => "pre-dump",
        Kind::Restore => "restore",
    };
    let reason = if last.is_empty() {
        reason.trim().to_owned()
    } else {
        last.join("; ")
    };
    Error::State(format!(
        "criu {verb} failed (log file: {}): {reason}",
        log.display()
    ))
}
