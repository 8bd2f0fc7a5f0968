//! What a process sees: run inside a container, prints a flat JSON object of strings.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::io::Errno;

/// One view: what was looked at, and what was seen.
pub type View = BTreeMap<String, String>;

/// Paths whose protection is looked at.
pub const GUARDED: [&str; 16] = [
    "/proc/acpi",
    "/proc/bus",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/sys/firmware",
    "/sys/kernel/profiling",
    "/data",
    "/data/file",
    "/etc/hosts",
    "/link",
];

const SYSCTLS: [&str; 12] = [
    "fs/mqueue/msg_max",
    "kernel/domainname",
    "kernel/hostname",
    "kernel/msgmax",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shm_rmid_forced",
    "kernel/shmmni",
    "net/core/somaxconn",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ping_group_range",
];

/// Everything.
pub fn look() -> View {
    let mut view = View::new();
    own_files(&mut view);
    mounts(&mut view);
    descriptors(&mut view);
    dev(&mut view);
    tree(&mut view, Path::new("/"), 0);
    guarded(&mut view);
    for name in SYSCTLS {
        view.insert(format!("sysctl {name}"), file(&format!("/proc/sys/{name}")));
    }
    // Last: they change what is looked at above.
    attempts(&mut view);
    view
}

fn file(path: &str) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) => words(&error),
    }
}

fn words(error: &std::io::Error) -> String {
    format!("error {}", error.raw_os_error().unwrap_or(0))
}

fn own_files(view: &mut View) {
    const STATUS: [&str; 20] = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "Threads",
        "SigBlk",
        "SigIgn",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Speculation_Store_Bypass",
        "Cpus_allowed_list",
        "Mems_allowed_list",
        "NSpid",
        "THP_enabled",
    ];
    let status = file("/proc/self/status");
    for line in status.lines() {
        if let Some((name, value)) = line.split_once(':')
            && STATUS.contains(&name)
        {
            let words: Vec<&str> = value.split_whitespace().collect();
            let value = match name {
                // 32 and 33 are the C library's own.
                "SigIgn" | "SigBlk" => {
                    format!(
                        "{:x}",
                        u64::from_str_radix(words.concat().as_str(), 16).unwrap_or(0) & 0x7fff_ffff
                    )
                }
                // Its number, when that is its own namespace's.
                "NSpid" if words.len() == 1 => "the host's".into(),
                "NSpid" => words[1..].join(" "),
                _ => words.join(" "),
            };
            view.insert(format!("status {name}"), value);
        }
    }
    for line in file("/proc/self/limits").lines().skip(1) {
        let (name, values) = line.split_at(line.len().min(26));
        view.insert(
            format!("limit {}", name.trim()),
            values.split_whitespace().collect::<Vec<_>>().join(" "),
        );
    }
    let stat = file("/proc/self/stat");
    let stat: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    for (name, field) in [
        ("tty", 7),
        ("priority", 18),
        ("nice", 19),
        ("real-time priority", 40),
        ("policy", 41),
    ] {
        view.insert(
            format!("stat {name}"),
            stat.get(field - 3).copied().unwrap_or_default().to_owned(),
        );
    }
    let leads = stat.get(3) == stat.get(2);
    view.insert("stat leads its session".into(), leads.to_string());
    for name in [
        "cgroup",
        "coredump_filter",
        "gid_map",
        "loginuid",
        "oom_score_adj",
        "personality",
        "setgroups",
        "timens_offsets",
        "timerslack_ns",
        "uid_map",
    ] {
        view.insert(format!("self {name}"), file(&format!("/proc/self/{name}")));
    }
    for entry in fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let target =
            fs::read_link(entry.path()).map_or_else(|error| words(&error), |path| path.display().to_string());
        view.insert(format!("namespace {name}"), target);
    }
    let environment: Vec<String> = file("/proc/self/environ")
        .split('\0')
        .map(str::to_owned)
        .collect();
    view.insert("environment".into(), environment.join("\n"));
    view.insert("arguments".into(), file("/proc/self/cmdline").replace('\0', " "));
    view.insert("program".into(), link(Path::new("/proc/self/exe")));
    view.insert("cwd".into(), link(Path::new("/proc/self/cwd")));
    view.insert("root".into(), link(Path::new("/proc/self/root")));
    view.insert(
        "machine".into(),
        rustix::system::uname().machine().to_string_lossy().into_owned(),
    );
}

fn link(path: &Path) -> String {
    fs::read_link(path).map_or_else(|error| words(&error), |path| path.display().to_string())
}

/// One entry a mount point: what lies there from bottom to top. Numbers that differ from run to run are left out.
fn mounts(view: &mut View) {
    for line in file("/proc/self/mountinfo").lines() {
        let (entry, point) = mount(line);
        view.entry(format!("mount {point}"))
            .and_modify(|below| *below = format!("{below}\n{entry}"))
            .or_insert(entry);
    }
}

/// A line of mountinfo without ids and devices, and its mount point.
pub fn mount(line: &str) -> (String, String) {
    let (before, after) = line.split_once(" - ").unwrap_or((line, ""));
    let fields: Vec<&str> = before.split(' ').collect();
    let (root, point, options) = match fields.as_slice() {
        [_, _, _, root, point, options, ..] => (*root, *point, *options),
        _ => ("", line, ""),
    };
    let propagation: Vec<&str> = fields
        .iter()
        .skip(6)
        .map(|field| field.split(':').next().unwrap_or_default())
        .collect();
    (
        format!("{root} {options} [{}] {after}", propagation.join(" ")),
        point.to_owned(),
    )
}

fn descriptors(view: &mut View) {
    let mut list = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = link(&entry.path());
        // The directory's own.
        if target.starts_with("/proc/") && target.ends_with("/fd") {
            continue;
        }
        let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
        list.push(format!("{} {kind}", entry.file_name().to_string_lossy()));
    }
    list.sort();
    view.insert("descriptors".into(), list.join("\n"));
}

fn describe(path: &Path) -> String {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => return words(&error),
    };
    let kind = meta.file_type();
    let kind = if kind.is_symlink() {
        return format!("-> {} {}:{}", link(path), meta.uid(), meta.gid());
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_char_device() {
        "character"
    } else if kind.is_block_device() {
        "block"
    } else if kind.is_fifo() {
        "fifo"
    } else {
        "file"
    };
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    format!(
        "{kind} {:o} {}:{} {major}:{minor}",
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid()
    )
}

fn dev(view: &mut View) {
    for dir in ["/dev", "/dev/pts", "/dev/shm", "/dev/net"] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            // Terminals come and go.
            if entry.file_name().to_string_lossy().parse::<u32>().is_err() {
                view.insert(
                    format!("file {}", entry.path().display()),
                    describe(&entry.path()),
                );
            }
        }
    }
}

fn tree(view: &mut View, dir: &Path, depth: u32) {
    view.insert(format!("file {}", dir.display()), describe(dir));
    if depth == 4
        || ["/dev", "/proc", "/sys"]
            .iter()
            .any(|other| dir == Path::new(other))
    {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            tree(view, &path, depth + 1);
        } else {
            view.insert(format!("file {}", path.display()), describe(&path));
        }
    }
}

fn guarded(view: &mut View) {
    for path in GUARDED {
        let content = match fs::metadata(path) {
            Err(error) => words(&error),
            Ok(meta) if meta.is_dir() => fs::read_dir(path).map_or_else(
                |error| words(&error),
                |entries| format!("{} entries", entries.count().min(2)),
            ),
            Ok(_) => {
                let mut byte = [0];
                fs::File::open(path)
                    .and_then(|mut file| file.read(&mut byte))
                    .map_or_else(|error| words(&error), |count| format!("{count} bytes"))
            }
        };
        let write = rustix::fs::access(path, rustix::fs::Access::WRITE_OK)
            .map_or_else(number, |()| "writable".into());
        view.insert(
            format!("guarded {path}"),
            format!("{content}, {write}, {}", describe(Path::new(path))),
        );
    }
}

fn number(error: Errno) -> String {
    format!("error {}", error.raw_os_error())
}

fn attempts(view: &mut View) {
    use rustix::net::{AddressFamily as Family, SocketType as Type, socket};
    use rustix::{fs as f, process as p, system as s};
    let mode = f::Mode::from_raw_mode(0o700);
    let mut add = |name: &str, result: Result<(), Errno>| {
        view.insert(
            format!("attempt {name}"),
            result.map_or_else(number, |()| "done".into()),
        );
    };
    let other = |result: std::io::Result<()>| {
        result.map_err(|error| Errno::from_raw_os_error(error.raw_os_error().unwrap_or(1)))
    };
    add("mkdir", f::mkdir("/tmp/made", mode));
    add("chmod", f::chmod("/tmp/made", mode));
    add("chown", f::chown("/tmp/made", Some(f::Uid::from_raw(1)), None));
    add("rename", f::rename("/tmp/made", "/tmp/moved"));
    add("rmdir", f::rmdir("/tmp/moved"));
    add(
        "write /",
        f::mkdir("/made", mode).and_then(|()| f::rmdir("/made")),
    );
    add(
        "mknod",
        f::mknodat(
            f::CWD,
            "/tmp/node",
            f::FileType::CharacterDevice,
            mode,
            f::makedev(1, 3),
        ),
    );
    add(
        "open node",
        f::open("/tmp/node", f::OFlags::RDONLY, mode).map(drop),
    );
    add(
        "mknod mem",
        f::mknodat(
            f::CWD,
            "/tmp/mem",
            f::FileType::CharacterDevice,
            mode,
            f::makedev(1, 1),
        ),
    );
    add("open mem", f::open("/tmp/mem", f::OFlags::RDONLY, mode).map(drop));
    add("open null", f::open("/dev/null", f::OFlags::RDWR, mode).map(drop));
    add("open full", f::open("/dev/full", f::OFlags::RDWR, mode).map(drop));
    add(
        "open ptmx",
        f::open("/dev/ptmx", f::OFlags::RDWR | f::OFlags::NOCTTY, mode).map(drop),
    );
    add("open fuse", f::open("/dev/fuse", f::OFlags::RDWR, mode).map(drop));
    add("socket inet", socket(Family::INET, Type::STREAM, None).map(drop));
    add(
        "socket inet6 datagram",
        socket(Family::INET6, Type::DGRAM, None).map(drop),
    );
    add(
        "socket raw",
        socket(Family::INET, Type::RAW, Some(rustix::net::ipproto::ICMP)).map(drop),
    );
    add("socket unix", socket(Family::UNIX, Type::STREAM, None).map(drop));
    add(
        "socket netlink",
        socket(Family::NETLINK, Type::RAW, None).map(drop),
    );
    add("getpriority", p::getpriority_process(None).map(drop));
    add("setpriority", p::setpriority_process(None, 5));
    add("setpriority back", p::setpriority_process(None, 0));
    add("sched_yield", {
        rustix::thread::sched_yield();
        Ok(())
    });
    add("kill nobody", p::test_kill_process(p::getpid()));
    add("umask", {
        p::umask(f::Mode::from_raw_mode(0o22));
        Ok(())
    });
    add("sethostname", s::sethostname(b"attempt"));
    add(
        "mount tmpfs",
        rustix::mount::mount("tmpfs", "/tmp", "tmpfs", rustix::mount::MountFlags::empty(), None),
    );
    add("chroot", p::chroot("/"));
    for (name, kind) in [
        ("uts", lighter_sys::namespace::UTS),
        ("user", lighter_sys::namespace::USER),
        ("mount", lighter_sys::namespace::MOUNT),
    ] {
        add(
            &format!("unshare {name}"),
            other(lighter_sys::namespace::unshare(kind)),
        );
    }
    add("personality", other(lighter_sys::process::set_personality(0)));
    add("setgid", other(lighter_sys::process::set_gid(0)));
    add("setuid", other(lighter_sys::process::set_uid(0)));
}
