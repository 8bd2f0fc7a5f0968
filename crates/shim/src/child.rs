//! Programs that the shim starts and never waits for.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lighter_sys::descriptors;
use lighter_sys::exec::{self, Strings};
use lighter_sys::process::{self, Fork};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::rootfs;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// Descriptors 0, 1 and 2; `None` is `/dev/null`.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    /// Descriptors 3 and on.
    pub(crate) more: Vec<BorrowedFd<'a>>,
    /// Made before the program runs.
    pub(crate) mounts: &'a [rootfs::Plan],
    /// Where it runs, if that is still there.
    pub(crate) dir: Option<&'a Path>,
    /// Whether it must not outlive the shim.
    pub(crate) bound: bool,
}

/// A started program.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// Why it could not be started; empty when it could. Complete when the child has ended.
    pub(crate) report: OwnedFd,
}

/// Exit code of a child that could not make the mounts or run the program; its report says why.
pub(crate) const NOT_STARTED: i32 = 125;

/// Forks, and in the child makes the mounts and runs the program.
pub(crate) fn start(program: Program<'_>) -> io::Result<Child> {
    let path = CString::new(program.path.as_os_str().as_bytes())?;
    let dir = program.dir.map(|dir| CString::new(dir.as_os_str().as_bytes()));
    let dir = dir.transpose()?;
    let arguments = Strings::new(program.arguments);
    let environment = Strings::new(program.environment);
    let mut kept: Vec<BorrowedFd<'_>> = program.stdio.iter().flatten().copied().collect();
    kept.extend(&program.more);
    let null = rustix::fs::open(
        c"/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let (report, tell) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let pid = match process::fork(0, None)? {
        Fork::Parent { pid, .. } => pid,
        Fork::Child => {
            kept.extend([null.as_fd(), tell.as_fd()]);
            alone(&kept, program.bound);
            let places = Places {
                stdio: &program.stdio,
                more: &program.more,
                null: &null,
                dir: dir.as_deref(),
            };
            let why = become_program(&places, program.mounts, &path, &arguments, &environment);
            let _ = rustix::io::write(&tell, why.as_bytes());
            process::exit_now(NOT_STARTED);
        }
    };
    Ok(Child { pid, report })
}

/// Forks a child that runs `work` and ends, with what it says as its report.
pub(crate) fn run(work: impl FnOnce() -> Result<(), String>) -> io::Result<Child> {
    let (report, tell) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let pid = match process::fork(0, None)? {
        Fork::Parent { pid, .. } => pid,
        Fork::Child => {
            alone(&[tell.as_fd()], true);
            process::reset_signals();
            let code = match work() {
                Ok(()) => 0,
                Err(why) => {
                    let _ = rustix::io::write(&tell, why.as_bytes());
                    NOT_STARTED
                }
            };
            process::exit_now(code);
        }
    };
    Ok(Child { pid, report })
}

/// Lets go of everything that belongs to others: a child that hangs must not hold a sibling's fifo or a client's
/// connection open. One that is bound to the shim dies with it, so that who cleans up meets nobody still at work.
fn alone(kept: &[BorrowedFd<'_>], bound: bool) {
    let _ = descriptors::close_all_but(3, kept);
    if bound {
        let _ = process::set_parent_death_signal(9);
    }
}

/// What the program finds where.
struct Places<'a> {
    stdio: &'a [Option<BorrowedFd<'a>>; 3],
    more: &'a [BorrowedFd<'a>],
    null: &'a OwnedFd,
    dir: Option<&'a CStr>,
}

fn become_program(
    places: &Places<'_>,
    mounts: &[rootfs::Plan],
    path: &CString,
    arguments: &Strings,
    environment: &Strings,
) -> String {
    for mount in mounts {
        if let Err(error) = mount.make() {
            return mount.failure(&error);
        }
    }
    if let Some(dir) = places.dir {
        // A directory that is gone is the program's own business.
        let _ = rustix::process::chdir(dir);
    }
    let more = places.more;
    // What is to become 3, 4, ... may lie where another one goes: lift all above first.
    let lifted: Result<Vec<OwnedFd>, _> = more
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3 + more.len() as i32))
        .collect();
    let placed = lifted.map_err(io::Error::from).and_then(|lifted| {
        for (number, fd) in places.stdio.iter().enumerate() {
            descriptors::duplicate_to(fd.unwrap_or(places.null.as_fd()), number as i32)?;
        }
        for (number, fd) in lifted.iter().enumerate() {
            descriptors::duplicate_to(fd.as_fd(), 3 + number as i32)?;
        }
        Ok(())
    });
    if let Err(error) = placed {
        return format!("place descriptors: {}", words(&error));
    }
    process::reset_signals();
    let error = exec::exec(path, arguments, environment);
    format!("fork/exec {}: {}", path.to_string_lossy(), words(&error))
}

/// The error as Go prints it: lower case, no number. Callers look for these words.
pub(crate) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(1) => "operation not permitted".into(),
        Some(2) => "no such file or directory".into(),
        Some(3) => "no such process".into(),
        Some(8) => "exec format error".into(),
        Some(13) => "permission denied".into(),
        Some(16) => "device or resource busy".into(),
        Some(20) => "not a directory".into(),
        Some(22) => "invalid argument".into(),
        Some(28) => "no space left on device".into(),
        _ => error.to_string(),
    }
}

/// The program `name`: as it is when it has a slash, else beside `own`, else on `search` (a `PATH`).
pub(crate) fn find(name: &str, own: Option<&Path>, search: &OsStr) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let beside = own.and_then(Path::parent).map(Path::to_owned);
    beside
        .into_iter()
        .chain(std::env::split_paths(search))
        .map(|dir| dir.join(name))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file())
}
