//! System calls of the layer that fail: a seccomp filter asks this process about every call that writes.
//!
//! Which call fails is counted over all threads, and only what touches the layer's own files is counted: a socket does not have
//! a full disk.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use lighter_sys::seccomp::{self, Instruction};
use rustix::event::{PollFd, PollFlags, poll};

/// Calls that change a file that is open: counted when the descriptor is of a file under the root.
const OF_DESCRIPTORS: [i64; 12] = [
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fsetxattr,
    libc::SYS_copy_file_range,
];
/// Calls that change a directory: all of them are counted, for the layer changes no others than its own.
const OF_NAMES: [i64; 15] = [
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mknodat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
];
/// Calls that may make a file: counted when they would.
const OF_OPENING: [i64; 2] = [libc::SYS_openat, libc::SYS_openat2];
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const FLAG_NEW_LISTENER: u32 = 8;
const CREATE: u64 = 0o100;
// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    /// The error's number.
    pub(crate) error: i32,
    /// Whether every call after the first that fails does so, too: a disk that is full, or that is gone.
    pub(crate) lasting: bool,
}

/// What is told to the one who answers.
pub(crate) struct Injector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    prefix: PathBuf,
    faults: Faults,
    armed: AtomicBool,
    /// Calls since it was armed.
    count: AtomicU64,
    /// The number of the call that fails.
    at: AtomicU64,
    failed: AtomicU64,
}

impl Injector {
    /// Runs `spawn` under a filter, on a thread of its own, which nobody else's calls are subject to.
    pub(crate) fn spawn(
        prefix: PathBuf,
        faults: Faults,
        spawn: impl FnOnce() -> io::Result<Child> + Send + 'static,
    ) -> (Child, Injector) {
        let shared = Arc::new(Shared {
            prefix,
            faults,
            armed: AtomicBool::new(false),
            count: AtomicU64::new(0),
            at: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let (give, taken) = mpsc::channel();
        let spawner = std::thread::spawn(move || {
            let listener = seccomp::install(&program(), FLAG_NEW_LISTENER)
                .expect("installing the filter")
                .expect("the flag brings a listener");
            give.send(listener).expect("somebody answers");
            spawn().expect("starting under the filter")
        });
        let listener = taken.recv().expect("the filter is installed");
        let answering = Arc::clone(&shared);
        std::thread::spawn(move || answer(&listener, &answering));
        let child = spawner.join().expect("starting under the filter");
        (child, Injector { shared })
    }

    /// Counts from now on; the call number `at` fails (from 1 on; 0: none).
    pub(crate) fn arm(&self, at: u64) {
        self.shared.count.store(0, Ordering::SeqCst);
        self.shared.failed.store(0, Ordering::SeqCst);
        self.shared.at.store(at, Ordering::SeqCst);
        self.shared.armed.store(true, Ordering::SeqCst);
    }

    /// Stops: how many calls there were, and how many of them failed.
    pub(crate) fn disarm(&self) -> (u64, u64) {
        self.shared.armed.store(false, Ordering::SeqCst);
        let number = |of: &AtomicU64| of.load(Ordering::SeqCst);
        (number(&self.shared.count), number(&self.shared.failed))
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // Whoever answers does so until all that was started under the filter has ended.
        self.shared.armed.store(false, Ordering::SeqCst);
    }
}

fn program() -> Vec<Instruction> {
    let numbers: Vec<i64> = OF_DESCRIPTORS
        .into_iter()
        .chain(OF_NAMES)
        .chain(OF_OPENING)
        .collect();
    let instruction = |code, jump_true, k| Instruction {
        code,
        jump_true,
        jump_false: 0,
        k,
    };
    // The call's number is the first word of `struct seccomp_data`.
    let mut program = vec![instruction(LOAD, 0, 0)];
    for (at, number) in numbers.iter().enumerate() {
        // Over the comparisons that are left and the permission.
        let over = u8::try_from(numbers.len() - at).expect("a short program");
        program.push(instruction(
            JUMP_EQUAL,
            over,
            u32::try_from(*number).expect("a call's number"),
        ));
    }
    program.push(instruction(RETURN, 0, RET_ALLOW));
    program.push(instruction(RETURN, 0, RET_USER_NOTIF));
    program
}

fn answer(listener: &OwnedFd, shared: &Shared) {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => panic!("waiting for calls: {error}"),
        }
        let got = fds[0].revents();
        if got.contains(PollFlags::IN) {
            // Whoever was killed while asking needs no answer.
            let Ok(call) = seccomp::listen(listener.as_fd()) else {
                continue;
            };
            let error = shared.verdict(call.pid, i64::from(call.number));
            let _ = seccomp::answer(listener.as_fd(), call.id, error);
        } else if got.contains(PollFlags::HUP) {
            return;
        }
    }
}

impl Shared {
    fn verdict(&self, pid: u32, number: i64) -> Option<i32> {
        if !self.armed.load(Ordering::SeqCst) || !self.counts(pid, number) {
            return None;
        }
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let at = self.at.load(Ordering::SeqCst);
        let fails = at != 0 && (count == at || self.faults.lasting && count > at);
        fails.then(|| {
            self.failed.fetch_add(1, Ordering::SeqCst);
            self.faults.error
        })
    }

    fn counts(&self, pid: u32, number: i64) -> bool {
        if OF_NAMES.contains(&number) {
            return true;
        }
        // `NUMBER ARGUMENT …`, the arguments in hexadecimal: proc(5), /proc/PID/syscall. The task stands in the call.
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let argument = |at: usize| {
            let word = call.split_whitespace().nth(at)?;
            u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
        };
        if OF_OPENING.contains(&number) {
            let flags = match argument(3) {
                // The first word of `struct open_how`.
                Some(how) if number == libc::SYS_openat2 => word(pid, how),
                flags => flags,
            };
            return flags.is_some_and(|flags| flags & CREATE != 0);
        }
        let at = if number == libc::SYS_copy_file_range { 3 } else { 1 };
        let descriptor = argument(at).unwrap_or(u64::MAX);
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap_or_default();
        Path::new(&target).starts_with(&self.prefix)
    }
}

/// Eight bytes of a task's memory.
fn word(pid: u32, at: u64) -> Option<u64> {
    use std::os::unix::fs::FileExt as _;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, at).ok()?;
    Some(u64::from_ne_bytes(bytes))
}
