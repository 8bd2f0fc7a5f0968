//! Running hooks.
//!
//! A hook ends when its process does: what it leaves in the background may hold its pipes open, and a state larger than a
//! pipe may never be read. So nothing here waits for a pipe.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::config::{Hook, Hooks};
use crate::error::{Error, Result};

/// What hooks of one kind find.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Working directory; the caller's when missing.
    pub(crate) directory: Option<&'a Path>,
    /// Environment of those that have none of their own.
    pub(crate) environment: &'a [String],
}

/// Refuses hooks that cannot be run, by the path of their field.
pub(crate) fn check(hooks: &Hooks) -> Result<()> {
    for (kind, list) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for (at, hook) in list.iter().enumerate() {
            let refuse =
                |field: &str, text: String| Err(Error::Config(format!("hooks.{kind}[{at}].{field}: {text}")));
            if !hook.path.is_absolute() {
                return refuse("path", format!("{:?} is not an absolute path", hook.path));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return refuse("timeout", "must be greater than zero".into());
            }
        }
    }
    Ok(())
}

/// Runs `hooks` one after the other with `state` (the OCI state document) on their stdin. The first that fails ends it.
pub(crate) fn run(kind: &'static str, hooks: &[Hook], state: &[u8], around: Surroundings<'_>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    // Of a hook that closes its stdin.
    let before = lighter_sys::process::ignore_broken_pipes(true);
    let result = hooks.iter().enumerate().try_for_each(|(number, hook)| {
        one(hook, state, around).map_err(|reason| Error::Hook {
            kind,
            number,
            path: hook.path.clone(),
            reason,
        })
    });
    lighter_sys::process::ignore_broken_pipes(before);
    result
}

fn one(hook: &Hook, state: &[u8], around: Surroundings<'_>) -> std::result::Result<(), String> {
    let mut command = Command::new(&hook.path);
    command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    if let Some(directory) = around.directory {
        command.current_dir(directory);
    }
    let environment = if hook.env.is_empty() {
        around.environment
    } else {
        &hook.env
    };
    command.envs(environment.iter().filter_map(|pair| pair.split_once('=')));
    let mut child = command.spawn().map_err(crate::program::words)?;
    let timeout = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok());
    let mut said = [Vec::new(), Vec::new()];
    let ended = attend(&mut child, state, timeout.map(Duration::from_secs), &mut said);
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait().map_err(crate::program::words)?;
    match ended {
        Ok(true) if status.success() => return Ok(()),
        Ok(true) => {}
        Ok(false) => {
            return Err(format!(
                "hook ran past specified timeout of {}.0s",
                timeout.unwrap_or_default()
            ));
        }
        Err(error) => return Err(crate::program::words(error)),
    }
    let [out, err] = said.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
    Err(format!("{}, stdout: {out}, stderr: {err}", words(status)))
}

/// As Go words it.
fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() {
                " (core dumped)"
            } else {
                ""
            };
            format!("signal: {}{core}", signal_name(signal))
        }
        (None, None) => status.to_string(),
    }
}

fn signal_name(signal: i32) -> String {
    let known = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    known.to_owned()
}

/// Gives the child its state and hears what it says until it ends. False: `timeout` was over first.
fn attend(
    child: &mut Child,
    state: &[u8],
    timeout: Option<Duration>,
    said: &mut [Vec<u8>; 2],
) -> io::Result<bool> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let pidfd = lighter_sys::pidfd::open(i32::try_from(child.id()).unwrap_or(0))?;
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    for pipe in [
        stdin.as_ref().map(AsFd::as_fd),
        stdout.as_ref().map(AsFd::as_fd),
        stderr.as_ref().map(AsFd::as_fd),
    ] {
        pipe.map_or(Ok(()), |pipe| rustix::io::ioctl_fionbio(pipe, true))?;
    }
    let mut left = state;
    loop {
        if left.is_empty() {
            stdin = None;
        }
        let wait = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if wait.is_some_and(|wait| wait.is_zero()) {
            return Ok(false);
        }
        let ended = {
            let mut fds = vec![PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            let pipes = [
                (stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
                (stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
                (stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            ];
            fds.extend(
                pipes
                    .into_iter()
                    .filter_map(|(pipe, flags)| pipe.map(|pipe| PollFd::from_borrowed_fd(pipe, flags))),
            );
            let wait = wait.map(|wait| Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            });
            match poll(&mut fds, wait.as_ref()) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            !fds[0].revents().is_empty()
        };
        if let Some(pipe) = &mut stdin {
            match pipe.write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A hook that does not read its state is free to do so.
                Err(_) => left = &[],
            }
        }
        drain(&mut stdout, &mut said[0]);
        drain(&mut stderr, &mut said[1]);
        if ended {
            return Ok(true);
        }
    }
}

/// Reads what is there; keeps the beginning.
fn drain(pipe: &mut Option<impl Read>, said: &mut Vec<u8>) {
    const MOST: usize = 4096;
    let mut buffer = [0; 4096];
    while let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => said.extend_from_slice(&buffer[..length.min(MOST.saturating_sub(said.len()))]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => *pipe = None,
        }
    }
}
