//! `run`, and `exec` without `--detach`: staying with the process until it ends.

use std::os::fd::AsFd;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::config::{Process, Spec};
use crate::error::{Context, Error, Result};
use crate::state::{Home, Record, Status};
use crate::{checkpoint, commands, create, exec as exec_, relay};

/// Creates and starts a container; in the foreground waits for its end and removes it (unless `keep`), and answers its
/// exit code.
pub(crate) fn run(mut options: create::Options, spec: &Spec, detach: bool, keep: bool) -> Result<u8> {
    // A terminal is taken and given its size before the program may write to it.
    options.at_once = !spec.process.as_ref().is_some_and(|process| process.terminal);
    options.foreground = !detach;
    if detach {
        let created = create::create(&options, spec)?;
        return started(&created).map(|()| 0);
    }
    no_socket(options.console_socket.as_ref())?;
    stay(
        options,
        spec,
        keep,
        |options| create::create(options, spec),
        started,
    )
}

/// Stays with the container that `make` makes and `begin` starts until its end, removes it (unless `keep`), and answers
/// its exit code.
fn stay(
    mut options: create::Options,
    spec: &Spec,
    keep: bool,
    make: impl FnOnce(&create::Options) -> Result<create::Created>,
    begin: impl FnOnce(&create::Created) -> Result<()>,
) -> Result<u8> {
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    lighter_sys::process::set_subreaper().doing("become a subreaper")?;
    let relay = relay::Relay::new(terminal && options.console_socket.is_none(), &options.root)?;
    options.console_socket = options.console_socket.or(relay.socket().map(Into::into));
    let created = make(&options)?;
    let taken = relay.take();
    let result = begin(&created)
        .and(taken)
        .and_then(|()| relay.until_exit(created.pidfd.as_fd()));
    let code = result.and_then(|()| wait(created.record.pid));
    if !keep {
        let removed = match &code {
            // We have just reaped it.
            Ok(_) => commands::forget(&created.home, &created.record, Status::Stopped, created.waits),
            Err(_) => commands::delete(&created.home, true),
        };
        return code.and_then(|code| removed.map(|()| code));
    }
    code
}

/// Brings back a container from `images`; in the foreground waits for its end, removes it and answers its exit code.
pub(crate) fn restore(
    mut options: create::Options,
    spec: &Spec,
    images: &checkpoint::Options,
    detach: bool,
) -> Result<u8> {
    options.foreground = !detach;
    if detach {
        return checkpoint::restore(&options, spec, images).map(|_| 0);
    }
    stay(
        options,
        spec,
        false,
        |options| checkpoint::restore(options, spec, images),
        |_| Ok(()),
    )
}

/// Who stays holds the terminal itself.
fn no_socket(given: Option<&std::path::PathBuf>) -> Result<()> {
    match given {
        None => Ok(()),
        Some(_) => Err(Error::Config(
            "cannot use console socket if runc will not detach or allocate tty".into(),
        )),
    }
}

fn started(created: &create::Created) -> Result<()> {
    let result = if created.waits {
        commands::let_go(&created.home, &created.record)
    } else {
        commands::begun(&created.record)
    };
    if result.is_err() {
        let _ = commands::delete(&created.home, true);
    }
    result
}

/// Starts one more process; without `detach` waits for its end and answers its exit code.
pub(crate) fn exec(mut options: exec_::Options, home: &Home, record: &Record, detach: bool) -> Result<u8> {
    let process: Process = exec_::process(&options, record)?;
    if detach {
        if !process.terminal {
            no_socket(options.console_socket.as_ref())?;
        }
        exec_::exec(&options, home, record, &process, || Ok(()))?;
        return Ok(0);
    }
    no_socket(options.console_socket.as_ref())?;
    let relay = relay::Relay::new(process.terminal, &options.root)?;
    options.console_socket = relay.socket().map(Into::into);
    let started = exec_::exec(&options, home, record, &process, || relay.take())?;
    let code = relay
        .until_exit(started.pidfd.as_fd())
        .and_then(|()| wait(started.pid));
    if code.is_err() {
        // Nobody is with it any more, and the caller takes it for failed.
        let _ = lighter_sys::pidfd::send_signal(started.pidfd.as_fd(), 9);
        if let Some(path) = &options.pid_file {
            let _ = std::fs::remove_file(path);
        }
    }
    code
}

/// Reaps the process; what else was left to us as a subreaper is reaped too.
fn wait(pid: i32) -> Result<u8> {
    let wanted = Pid::from_raw(pid).ok_or_else(|| Error::State("no process".into()))?;
    loop {
        match waitpid(Some(wanted), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Ok(Some((_, status))) => {
                let code = status
                    .exit_status()
                    .or(status.terminating_signal().map(|signal| 128 + signal));
                return Ok(u8::try_from(code.unwrap_or(255)).unwrap_or(255));
            }
            Err(error) => return Err(error).doing("wait for the process"),
        }
    }
}
