//! The least that a run costs: what the kernel must be asked for to make, run and remove such a container, by one program that is told
//! everything beforehand. It reads no configuration, checks nothing and keeps nothing. `cargo xtask bench runtime` runs it beside the runtimes.
//!
//! `floor true` and `floor pause` are what the containers run.
#![no_main]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use lighter_sys::exec::Strings;
use lighter_sys::mount::{self as m, Attributes, attribute};
use lighter_sys::{caps, fdpass, namespace as ns, process as p, seccomp};
use rustix::fs::{FileType, Mode, OFlags};

lighter_sys::entry!(program);

const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const SAFE: u64 = NOSUID | NODEV | NOEXEC;
const BIND_REC: u64 = 0x1000 | 0x4000;
const SLAVE_REC: u64 = (1 << 19) | 0x4000;

/// What Docker's default and `runc spec`'s rules come down to.
const DEVICES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
    "c 5:1 rwm",
];
const LIMITS: [(&str, &str, &str); 6] = [
    ("memory", "memory.limit_in_bytes", "67108864"),
    ("memory", "memory.memsw.limit_in_bytes", "134217728"),
    ("cpu", "cpu.shares", "512"),
    ("cpu", "cpu.cfs_period_us", "100000"),
    ("cpu", "cpu.cfs_quota_us", "50000"),
    ("pids", "pids.max", "64"),
];
const DOCKER_CAPS: u64 = 0xa804_25fb;
const SPEC_CAPS: u64 = 0x2000_0420;

struct Work {
    docker: bool,
    rootfs: CString,
    cgroups: Vec<(String, CString)>,
    filter: Vec<seccomp::Instruction>,
}

fn program() -> u8 {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [_, "true"] => Ok(0),
        [_, "pause"] => loop {
            let _ = rustix::event::poll(&mut [], None);
        },
        // The container's bundle, its cgroup, and where its compiled filter is.
        [_, "run", kind, rootfs, cgroup, filter] => {
            work(kind, rootfs, cgroup, filter).and_then(|work| run(&work))
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    result.unwrap_or_else(|error| {
        let _ = rustix::io::write(rustix::stdio::stderr(), format!("floor: {error}\n").as_bytes());
        1
    })
}

fn work(kind: &str, rootfs: &str, cgroup: &str, filter: &str) -> io::Result<Work> {
    let docker = kind == "docker";
    let mut cgroups = Vec::new();
    for entry in std::fs::read_dir("/sys/fs/cgroup")? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
            && name != "unified"
        {
            let path = CString::new(format!("/sys/fs/cgroup/{name}{cgroup}"))?;
            cgroups.push((name, path));
        }
    }
    let bytes = if docker {
        std::fs::read(filter)?
    } else {
        Vec::new()
    };
    let filter = bytes.chunks_exact(8).map(|b| seccomp::Instruction {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jump_true: b[2],
        jump_false: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    });
    Ok(Work {
        docker,
        rootfs: CString::new(rootfs)?,
        cgroups,
        filter: filter.collect(),
    })
}

fn run(work: &Work) -> io::Result<u8> {
    let (ours, theirs) = fdpass::seqpacket_pair()?;
    let kinds = ns::MOUNT | ns::PID | ns::NETWORK | ns::IPC | ns::UTS;
    let pid = match p::fork(kinds, None)? {
        p::Fork::Child => {
            drop(ours);
            if let Err(error) = inside(work, &theirs) {
                let _ = rustix::io::write(rustix::stdio::stderr(), format!("floor: {error}\n").as_bytes());
            }
            p::exit_now(1);
        }
        p::Fork::Parent { pid, .. } => pid,
    };
    drop(theirs);
    let mut tasks = Vec::new();
    for (name, path) in &work.cgroups {
        rustix::fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o755))?;
        let dir = rustix::fs::open(path.as_c_str(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let put = |file: &str, value: &str| -> io::Result<()> {
            let file = rustix::fs::openat(&dir, file, OFlags::WRONLY, Mode::empty())?;
            Ok(rustix::io::write(&file, value.as_bytes()).map(drop)?)
        };
        match name.as_str() {
            "devices" => {
                put("devices.deny", "a")?;
                let allow = rustix::fs::openat(&dir, "devices.allow", OFlags::WRONLY, Mode::empty())?;
                for rule in DEVICES {
                    rustix::io::write(&allow, rule.as_bytes())?;
                }
            }
            "cpuset" => {
                let above = std::ffi::OsStr::from_bytes(path.to_bytes());
                let above = std::path::Path::new(above)
                    .parent()
                    .unwrap_or(std::path::Path::new("/"));
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    put(file, std::fs::read_to_string(above.join(file))?.trim())?;
                }
            }
            _ => {}
        }
        let limits = LIMITS
            .iter()
            .filter(|(controller, ..)| name.split(',').any(|part| part == *controller));
        for (_, file, value) in limits.filter(|_| work.docker) {
            put(file, value)?;
        }
        tasks.push(rustix::fs::openat(&dir, "tasks", OFlags::WRONLY, Mode::empty())?);
    }
    fdpass::send(&ours, b"G", &tasks.iter().map(OwnedFd::as_fd).collect::<Vec<_>>())?;
    let usage = lighter_sys::usage::wait(pid)?;
    for (_, path) in &work.cgroups {
        rustix::fs::rmdir(path.as_c_str())?;
    }
    Ok(u8::from(!usage.succeeded()))
}

use std::os::unix::ffi::OsStrExt as _;

/// The child: becomes the container and runs its program.
fn inside(work: &Work, channel: &OwnedFd) -> io::Result<()> {
    rustix::process::setsid()?;
    m::mount(None, c"/", None, SLAVE_REC, None)?;
    m::mount(Some(&work.rootfs), &work.rootfs, None, BIND_REC, None)?;
    rustix::process::chdir(work.rootfs.as_c_str())?;
    let put = |kind: &CStr, target: &CStr, flags: u64, data: Option<&CStr>| {
        m::mount(Some(kind), target, Some(kind), flags, data)
    };
    put(c"proc", c"proc", SAFE, None)?;
    put(c"tmpfs", c"dev", NOSUID | 1 << 24, Some(c"mode=755,size=65536k"))?;
    for dir in ["dev/pts", "dev/mqueue", "dev/shm"] {
        rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))?;
    }
    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    put(c"devpts", c"dev/pts", NOSUID | NOEXEC, Some(pts))?;
    put(c"sysfs", c"sys", SAFE | 1, None)?;
    put(c"mqueue", c"dev/mqueue", SAFE, None)?;
    put(c"tmpfs", c"dev/shm", SAFE, Some(c"mode=1777,size=65536k"))?;
    if work.docker {
        for file in [c"etc/resolv.conf", c"etc/hostname", c"etc/hosts"] {
            let tree = m::clone_tree(rustix::fs::CWD, file, true)?;
            let target = rustix::fs::open(file, OFlags::PATH, Mode::empty())?;
            m::attach(tree.as_fd(), target.as_fd())?;
        }
    }
    for (name, major, minor) in [
        ("dev/null", 1, 3),
        ("dev/zero", 1, 5),
        ("dev/full", 1, 7),
        ("dev/random", 1, 8),
        ("dev/urandom", 1, 9),
        ("dev/tty", 5, 0),
    ] {
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            name,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            number,
        )?;
    }
    for (target, link) in [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("pts/ptmx", "dev/ptmx"),
    ] {
        rustix::fs::symlink(target, link)?;
    }
    let (_, tasks) = fdpass::receive(channel, &mut [0])?;
    for tasks in &tasks {
        rustix::io::write(tasks, b"0")?;
    }
    ns::unshare(ns::CGROUP)?;
    cgroups(work)?;
    m::pivot_root(c".", c".")?;
    m::mount(None, c".", None, SLAVE_REC, None)?;
    m::unmount(c".", 2)?;
    rustix::process::chdir("/")?;
    rustix::system::sethostname(b"inside")?;
    protect()?;
    limits_and_filter(work)?;
    let words = Strings::new(vec![c"true".to_owned(), c"true".to_owned()]);
    Err(lighter_sys::exec::exec(
        c"/true",
        &words,
        &Strings::new(Vec::new()),
    ))
}

fn cgroups(work: &Work) -> io::Result<()> {
    m::mount(
        Some(c"tmpfs"),
        c"sys/fs/cgroup",
        Some(c"tmpfs"),
        SAFE,
        Some(c"mode=755"),
    )?;
    for (name, _) in &work.cgroups {
        let target = CString::new(format!("sys/fs/cgroup/{name}"))?;
        rustix::fs::mkdir(target.as_c_str(), Mode::from_raw_mode(0o755))?;
        let data = if name == "systemd" {
            c"none,name=systemd".to_owned()
        } else {
            CString::new(name.as_str())?
        };
        m::mount(Some(c"cgroup"), &target, Some(c"cgroup"), SAFE | 1, Some(&data))?;
    }
    Ok(())
}

/// Masked and read-only paths, as both bundles have them.
fn protect() -> io::Result<()> {
    let readonly = Attributes {
        set: attribute::RDONLY,
        ..Attributes::default()
    };
    for path in [
        c"/proc/bus",
        c"/proc/fs",
        c"/proc/irq",
        c"/proc/sys",
        c"/proc/sysrq-trigger",
    ] {
        let Ok(tree) = m::clone_tree(rustix::fs::CWD, path, true) else {
            continue;
        };
        m::set_attributes(tree.as_fd(), false, &readonly)?;
        let target = rustix::fs::open(path, OFlags::PATH, Mode::empty())?;
        m::attach(tree.as_fd(), target.as_fd())?;
    }
    let empty = m::new_filesystem(c"tmpfs", None, &[(c"nr_inodes", Some(c"1"))], attribute::RDONLY)?;
    for (path, directory) in [
        (c"/proc/acpi", true),
        (c"/proc/interrupts", false),
        (c"/proc/kcore", false),
        (c"/proc/keys", false),
        (c"/proc/latency_stats", false),
        (c"/proc/timer_list", false),
        (c"/proc/sched_debug", false),
        (c"/proc/scsi", true),
        (c"/sys/firmware", true),
    ] {
        let Ok(target) = rustix::fs::open(path, OFlags::PATH, Mode::empty()) else {
            continue;
        };
        let tree = if directory {
            m::clone_tree(empty.as_fd(), c"", false)?
        } else {
            m::clone_tree(rustix::fs::CWD, c"/dev/null", false)?
        };
        m::attach(tree.as_fd(), target.as_fd())?;
    }
    Ok(())
}

fn limits_and_filter(work: &Work) -> io::Result<()> {
    p::set_rlimit(0, 7, 1024, 1024)?;
    let keep = if work.docker { DOCKER_CAPS } else { SPEC_CAPS };
    for number in (0..41).filter(|number| keep & (1 << number) == 0) {
        caps::drop_bounding(number)?;
    }
    if work.docker {
        seccomp::install(&work.filter, 0)?;
    } else {
        p::set_no_new_privs()?;
    }
    p::set_groups(&[])?;
    p::set_gid(0)?;
    p::set_uid(0)?;
    let have = caps::get()?.permitted;
    caps::set(caps::Sets {
        effective: keep & have,
        permitted: keep & have,
        inheritable: 0,
    })
}
