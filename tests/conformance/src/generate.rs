//! Configurations: a base like Docker's, and changes to it. A failing case shrinks to the changes that matter.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::differences::RECURSIVE;
use crate::host;
use crate::wrong::is_wrong;

/// One change of a document.
#[derive(Debug, Clone)]
pub enum Change {
    /// Puts a value at a JSON pointer.
    Set(&'static str, Value),
    /// Appends to the list at a JSON pointer.
    Push(&'static str, Value),
    /// Takes the element of the list whose field is this away.
    Drop(&'static str, &'static str, &'static str),
    /// Joins an existing namespace instead of making one.
    Join(&'static str),
    /// Several that make sense only together.
    All(Vec<Change>),
}

/// A configuration to try.
#[derive(Debug, Clone)]
pub struct Case {
    /// Changes of `config.json`.
    pub changes: Vec<Change>,
    /// A further process is executed and looks, instead of the first: changes of its document.
    pub exec: Option<Vec<Change>>,
}

impl Case {
    /// `config.json`.
    pub fn config(&self) -> Value {
        let mut config = base();
        for change in &self.changes {
            change.apply(&mut config);
        }
        if self.exec.is_some() {
            config["process"]["args"] = json!(["/bin/probe", "hold"]);
        }
        config
    }

    /// The document of the further process.
    pub fn process(&self) -> Option<Value> {
        let changes = self.exec.as_ref()?;
        let mut document = json!({"process": base()["process"].clone()});
        for change in changes {
            change.apply(&mut document);
        }
        Some(document["process"].take())
    }

    /// Whether it makes a user namespace.
    pub fn in_user_namespace(&self) -> bool {
        self.config().pointer("/linux/uidMappings").is_some()
    }
}

impl Change {
    fn apply(&self, document: &mut Value) {
        match self {
            Self::Set(pointer, value) => *at(document, pointer) = value.clone(),
            Self::Push(pointer, value) => {
                let list = at(document, pointer);
                if !list.is_array() {
                    *list = json!([]);
                }
                if let Some(list) = list.as_array_mut() {
                    list.push(value.clone());
                }
            }
            Self::Drop(pointer, field, name) => {
                if let Some(list) = at(document, pointer).as_array_mut() {
                    list.retain(|element| element[*field] != *name);
                }
            }
            Self::Join(kind) => {
                for namespace in at(document, "/linux/namespaces")
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    if namespace["type"] == *kind {
                        namespace["path"] = json!(format!("{}/{kind}", host::NAMESPACES));
                    }
                }
            }
            Self::All(changes) => changes.iter().for_each(|change| change.apply(document)),
        }
    }
}

fn at<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    let mut here = document;
    for step in pointer.split('/').skip(1) {
        if !here.is_object() {
            *here = json!({});
        }
        here = &mut here[step];
    }
    here
}

const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A configuration like Docker's for a default container.
pub fn base() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        json!({"destination": destination, "type": kind, "source": source,
            "options": options.split(',').collect::<Vec<_>>()})
    };
    let namespaces = ["mount", "network", "uts", "pid", "ipc", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.2.0",
        "hostname": "inside",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/probe", "7"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
            "oomScoreAdj": 0,
        },
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        ],
        "linux": {
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "pids": {"limit": 64},
            },
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/nothing", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/nothing"],
        },
    })
}

/// Cases.
pub fn case() -> impl Strategy<Value = Case> {
    let exec = prop::collection::vec(process(), 0..5);
    (
        prop::collection::vec(change(), 0..8),
        prop::option::weighted(0.25, exec),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(mut changes, mut exec, also_wrong)| {
            if !also_wrong {
                changes.retain(|change| !is_wrong(change));
                exec.iter_mut()
                    .for_each(|changes| changes.retain(|change| !is_wrong(change)));
            }
            Case { changes, exec }
        })
}

fn change() -> BoxedStrategy<Change> {
    prop_oneof![
        4 => process(),
        4 => mount(),
        2 => namespaces(),
        2 => masks(),
        1 => devices(),
        1 => names(),
        3 => resources(),
        2 => seccomp(),
        1 => select(vec![
            Change::Set("/root/readonly", json!(true)),
            Change::Set("/linux/personality", json!({"domain": "LINUX32"})),
            Change::Set("/linux/personality", json!({"domain": "LINUX"})),
            Change::Set("/annotations", json!({"a.b": "c", "empty": ""})),
            Change::Set("/unknown", json!({"field": 1})),
            Change::Set("/linux/unknown", json!([1])),
        ]),
        1 => select(vec!["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", "nope"])
            .prop_map(|name| Change::Set("/linux/rootfsPropagation", json!(name))),
    ]
    .boxed()
}

/// Changes of `/process`, for the first and for further ones.
fn process() -> BoxedStrategy<Change> {
    let caps = || {
        subsequence(
            [
                &CAPS[..],
                &[
                    "CAP_SYS_ADMIN",
                    "CAP_NET_ADMIN",
                    "CAP_SYS_NICE",
                    "CAP_SYS_PTRACE",
                    "CAP_SYS_RESOURCE",
                    "CAP_NOPE",
                    "CAP_BPF",
                ],
            ]
            .concat(),
            0..12,
        )
    };
    let limit = (
        select(vec![
            "CORE",
            "CPU",
            "DATA",
            "FSIZE",
            "LOCKS",
            "MEMLOCK",
            "MSGQUEUE",
            "NICE",
            "NOFILE",
            "RSS",
            "RTPRIO",
            "RTTIME",
            "SIGPENDING",
            "STACK",
            "NPROC",
            "AS",
            "NOPE",
        ]),
        select(vec![0_u64, 64, 1024, 8 << 20, 1 << 40, u64::MAX]),
        select(vec![64_u64, 1024, 16 << 20, 1 << 41, u64::MAX]),
    )
        .prop_filter("the probe must live", |(kind, soft, _)| {
            !(["STACK", "AS", "DATA", "NOFILE", "FSIZE", "CPU", "RTTIME"].contains(kind) && *soft < 1024
                || ["AS", "DATA", "STACK"].contains(kind) && *soft < 8 << 20
                || ["FSIZE", "CPU"].contains(kind) && *soft < 8 << 20)
        })
        .prop_map(|(kind, soft, hard)| {
            Change::Push(
                "/process/rlimits",
                json!({"type": format!("RLIMIT_{kind}"), "soft": soft, "hard": hard}),
            )
        });
    prop_oneof![
        2 => select(vec![(0, 0), (1000, 1000), (0, 5), (1, 0), (65534, 65534), (4_000_000, 7)])
            .prop_map(|(uid, gid)| Change::All(vec![
                Change::Set("/process/user/uid", json!(uid)),
                Change::Set("/process/user/gid", json!(gid)),
            ])),
        1 => subsequence(vec![0, 5, 10, 1000, 70_000], 0..4)
            .prop_map(|gids| Change::Set("/process/user/additionalGids", json!(gids))),
        1 => select(vec![0, 0o22, 0o27, 0o77, 0o777]).prop_map(|umask| Change::Set("/process/user/umask", json!(umask))),
        2 => (caps(), caps(), caps(), caps(), caps()).prop_map(|(bounding, effective, permitted, inheritable, ambient)| {
            Change::Set("/process/capabilities", json!({"bounding": bounding, "effective": effective,
                "permitted": permitted, "inheritable": inheritable, "ambient": ambient}))
        }),
        2 => caps().prop_map(|all| {
            Change::Set("/process/capabilities", json!({"bounding": all, "effective": all, "permitted": all,
                "inheritable": all, "ambient": all}))
        }),
        3 => limit,
        1 => Just(Change::Set("/process/noNewPrivileges", json!(true))),
        1 => select(vec![
            json!(["A=b"]), json!([]), json!(["HOME=/data", "PATH=/bin"]), json!(["A=1", "A=2", "B"]), json!(["A=with space\nand=line"]),
            json!(["PATH=/bin", "HOME="]), json!(["=x", "PATH=/bin"]),
        ]).prop_map(|env| Change::Set("/process/env", env)),
        2 => select(vec!["/", "/data", "/data/sub", "/link", "/new/place", "/data/file", "relative", "", "/proc/self/fd", "/data/../tmp", "/secret"])
            .prop_map(|cwd| Change::Set("/process/cwd", json!(cwd))),
        1 => select(vec![
            json!(["probe", "3"]), json!(["bin/probe"]), json!(["/bin/nope"]), json!(["nope"]), json!(["/data"]), json!(["/data/file"]),
            json!([]), json!([""]), json!(["/bin/probe-link", "9"]), json!(["/bin/script"]), json!(["./probe"]),
        ]).prop_map(|args| Change::Set("/process/args", args)),
        1 => select(vec![0, 1, 500, 1000, 1001, -500]).prop_map(|score| Change::Set("/process/oomScoreAdj", json!(score))),
        1 => select(vec![
            json!({"policy": "SCHED_BATCH", "nice": 3}), json!({"policy": "SCHED_OTHER", "nice": 19}), json!({"policy": "SCHED_IDLE"}),
            json!({"policy": "SCHED_FIFO", "priority": 2}), json!({"policy": "SCHED_NOPE"}), json!({"policy": "SCHED_RR", "priority": 200}),
        ]).prop_map(|scheduler| Change::Set("/process/scheduler", scheduler)),
        1 => select(vec![
            json!({"class": "IOPRIO_CLASS_BE", "priority": 5}), json!({"class": "IOPRIO_CLASS_IDLE"}),
            json!({"class": "IOPRIO_CLASS_NOPE", "priority": 1}),
        ]).prop_map(|value| Change::Set("/process/ioPriority", value)),
        1 => select(vec![
            Change::Set("/process/apparmorProfile", json!("nope")),
            Change::Set("/process/apparmorProfile", json!("unconfined")),
            Change::Set("/process/selinuxLabel", json!("a:b:c:d")),
        ]),
    ]
    .boxed()
}

const PLACES: [&str; 10] = [
    "/tmp",
    "/data",
    "/mnt/a",
    "/mnt/a/b",
    "/a/b/c",
    "/link",
    "/link/sub",
    "/data/file",
    "/etc/hosts",
    "/dev/extra",
];

fn mount() -> BoxedStrategy<Change> {
    let push = |value: Value| Change::Push("/mounts", value);
    let flags = || {
        subsequence(
            vec![
                "ro",
                "rw",
                "nosuid",
                "nodev",
                "noexec",
                "suid",
                "dev",
                "exec",
                "noatime",
                "nodiratime",
                "relatime",
                "strictatime",
                "atime",
                "norelatime",
                "nosymfollow",
            ],
            0..4,
        )
    };
    let recursive = || subsequence(RECURSIVE.to_vec(), 0..2);
    let propagation = || {
        prop::option::weighted(
            0.3,
            select(vec![
                "private",
                "rprivate",
                "slave",
                "rslave",
                "shared",
                "rshared",
                "unbindable",
                "runbindable",
            ]),
        )
    };
    let options = move || {
        (flags(), prop::option::weighted(0.3, recursive()), propagation()).prop_map(
            |(flags, recursive, propagation)| {
                flags
                    .into_iter()
                    .chain(recursive.into_iter().flatten())
                    .chain(propagation)
                    .map(str::to_owned)
                    .collect::<Vec<String>>()
            },
        )
    };
    let shuffled = move || options().prop_shuffle();
    let data = subsequence(
        vec![
            "mode=700",
            "mode=1777",
            "size=1m",
            "nr_inodes=100",
            "uid=5",
            "gid=6",
            "tmpcopyup",
            "sync",
            "dirsync",
            "lazytime",
            "silent",
            "iversion",
        ],
        0..3,
    );
    prop_oneof![
        4 => (select(&PLACES[..]), shuffled(), data).prop_map(move |(place, options, data)| {
            let options: Vec<String> = options.into_iter().chain(data.into_iter().map(str::to_owned)).collect();
            push(json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}))
        }),
        6 => (select(&PLACES[..]), select(vec!["data", "file", "tree", "null"]), any::<bool>(), shuffled())
            .prop_map(move |(place, source, recursive, options)| {
                let mut all = vec![if recursive { "rbind" } else { "bind" }.to_owned()];
                all.extend(options);
                push(json!({"destination": place, "type": "bind", "source": format!("{}/{source}", host::SHARED), "options": all}))
            }),
        2 => select(vec!["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"])
            .prop_map(|place| Change::Drop("/mounts", "destination", place)),
        3 => select(vec![
            json!({"destination": "/mnt/proc", "type": "proc", "source": "proc", "options": ["hidepid=2"]}),
            json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "subset=pid"]}),
            json!({"destination": "/mnt/sys", "type": "sysfs", "source": "sysfs", "options": ["rw", "nosuid"]}),
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw", "nosuid"]}),
            json!({"destination": "/mnt/cgroup", "type": "cgroup", "source": "cgroup"}),
            json!({"destination": "/mnt/q", "type": "mqueue", "source": "mqueue"}),
            json!({"destination": "/mnt/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]}),
            json!({"destination": "/mnt/x", "type": "nofs", "source": "x"}),
            json!({"destination": "/mnt/x", "type": "tmpfs", "source": "x", "options": ["bogus"]}),
            json!({"destination": "/mnt/x", "type": "tmpfs"}),
            json!({"destination": "/mnt/x", "type": "bind", "source": "/nothing/here", "options": ["bind"]}),
            json!({"destination": "/mnt/x", "type": "bind", "source": format!("{}/data", host::SHARED)}),
            json!({"destination": "/mnt/x", "source": format!("{}/data", host::SHARED), "options": ["bind"]}),
            json!({"destination": "/mnt/x", "type": "none", "source": format!("{}/data", host::SHARED), "options": ["rbind", "ro"]}),
            json!({"destination": "mnt/relative", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/link", "type": "proc", "source": "proc"}),
            json!({"destination": "/data/../mnt/y", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/out", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/proc/cpuinfo", "type": "bind", "source": format!("{}/file", host::SHARED), "options": ["bind"]}),
            json!({"destination": "/proc/self/environ", "type": "bind", "source": format!("{}/file", host::SHARED), "options": ["bind"]}),
            json!({"destination": "/proc", "type": "bind", "source": format!("{}/data", host::SHARED), "options": ["bind"]}),
            json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]}),
            json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}),
            json!({"destination": "/data", "type": "bind", "source": "", "options": ["remount", "bind", "ro"]}),
            json!({"destination": "/tmp", "type": "overlay", "source": "overlay",
                "options": [format!("lowerdir={0}/data:{0}/tree", host::SHARED)]}),
        ]).prop_map(push),
    ]
    .boxed()
}

fn namespaces() -> BoxedStrategy<Change> {
    let mapping = |container: u32, host: u32, size: u32| json!([{"containerID": container, "hostID": host, "size": size}]);
    prop_oneof![
        3 => select(vec!["network", "uts", "ipc", "cgroup", "pid", "mount"])
            .prop_map(|kind| Change::Drop("/linux/namespaces", "type", kind)),
        3 => select(vec!["network", "uts", "ipc"]).prop_map(Change::Join),
        1 => Just(Change::All(vec![Change::Join("network"), Change::Join("ipc"), Change::Join("uts")])),
        3 => select(vec![65536, 100_000]).prop_map(move |size| Change::All(vec![
            Change::Push("/linux/namespaces", json!({"type": "user"})),
            Change::Set("/linux/uidMappings", mapping(0, host::SUBORDINATE, size)),
            Change::Set("/linux/gidMappings", mapping(0, host::SUBORDINATE, size)),
        ])),
        1 => Just(Change::All(vec![
            Change::Push("/linux/namespaces", json!({"type": "time"})),
            Change::Set("/linux/timeOffsets", json!({"monotonic": {"secs": 100, "nanosecs": 5}, "boottime": {"secs": 50}})),
        ])),
        1 => select(vec![
            Change::Push("/linux/namespaces", json!({"type": "user"})),
            Change::Push("/linux/namespaces", json!({"type": "uts"})),
            Change::Push("/linux/namespaces", json!({"type": "nope"})),
            Change::Push("/linux/namespaces", json!({"type": "time"})),
            Change::Set("/linux/uidMappings", mapping(0, 0, 1)),
        ]),
    ]
    .boxed()
}

fn masks() -> BoxedStrategy<Change> {
    let paths = vec![
        "/proc/sys",
        "/proc/interrupts",
        "/proc/timer_list",
        "/proc/sysrq-trigger",
        "/data",
        "/data/file",
        "/link",
        "/sys/kernel/profiling",
        "/etc/hosts",
        "/nothing",
        "/dev/null",
        "/dev/shm",
        "/proc/scsi",
        "/etc/../data",
    ];
    prop_oneof![
        subsequence(paths.clone(), 0..5).prop_map(|paths| Change::Set("/linux/maskedPaths", json!(paths))),
        subsequence(paths, 0..5).prop_map(|paths| Change::Set("/linux/readonlyPaths", json!(paths))),
        select(vec!["maskedPaths", "readonlyPaths"]).prop_map(|list| match list {
            "maskedPaths" => Change::Push("/linux/maskedPaths", json!("relative")),
            _ => Change::Push("/linux/readonlyPaths", json!("relative")),
        }),
    ]
    .boxed()
}

fn devices() -> BoxedStrategy<Change> {
    let node = select(vec![
        json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}),
        json!({"path": "/dev/fuse", "type": "u", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6}),
        json!({"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}),
        json!({"path": "/dev/loop-x", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600}),
        json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o622}),
        json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 3}),
        json!({"path": "/elsewhere/node", "type": "c", "major": 1, "minor": 5}),
        json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 5}),
        json!({"path": "relative", "type": "c", "major": 1, "minor": 5}),
        json!({"path": "/dev/sticky", "type": "c", "major": 1, "minor": 5, "fileMode": 0o4755}),
        json!({"path": "/dev/s_ifmt", "type": "c", "major": 1, "minor": 5, "fileMode": 0o20_666}),
    ]);
    let rule = select(vec![
        json!({"allow": true, "type": "c", "major": 1, "minor": 1, "access": "rwm"}),
        json!({"allow": true, "type": "c", "major": 10, "access": "rw"}),
        json!({"allow": true, "access": "rwm"}),
        json!({"allow": true, "type": "a", "access": "rwm"}),
        json!({"allow": false, "type": "c", "major": 1, "minor": 7, "access": "rwm"}),
        json!({"allow": true, "type": "b", "access": "m"}),
        json!({"allow": true, "type": "c", "major": 1, "minor": 1, "access": ""}),
        json!({"allow": true, "type": "x", "access": "rwm"}),
    ]);
    prop_oneof![
        2 => node.prop_map(|node| Change::Push("/linux/devices", node)),
        2 => rule.prop_map(|rule| Change::Push("/linux/resources/devices", rule)),
        1 => Just(Change::Set("/linux/resources/devices", json!([]))),
    ]
    .boxed()
}

fn names() -> BoxedStrategy<Change> {
    let sysctl = select(vec![
        ("kernel.msgmax", "9000"),
        ("kernel.shmmni", "100"),
        ("kernel.sem", "250 32000 32 64"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ping_group_range", "0 10"),
        ("net/core/somaxconn", "99"),
        ("fs.mqueue.msg_max", "12"),
        ("kernel.domainname", "dom"),
        ("kernel.hostname", "dom"),
        ("vm.swappiness", "5"),
        ("net.ipv4.nope", "1"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.msgmax", "words"),
        ("user.max_user_namespaces", "7"),
        ("net.ipv4.ip_unprivileged_port_start", "0"),
    ]);
    prop_oneof![
        1 => select(vec!["", "other", "host.with.dots", "x-9"]).prop_map(|name| Change::Set("/hostname", json!(name))),
        1 => select(vec!["", "domain", "d.example"]).prop_map(|name| Change::Set("/domainname", json!(name))),
        3 => sysctl.prop_map(|(name, value)| Change::Set("/linux/sysctl", json!({name: value}))),
    ]
    .boxed()
}

fn resources() -> BoxedStrategy<Change> {
    select(vec![
        Change::Set("/linux/resources/memory", json!({"limit": 64 << 20})),
        Change::Set(
            "/linux/resources/memory",
            json!({"limit": 64 << 20, "swap": 128 << 20}),
        ),
        Change::Set("/linux/resources/memory", json!({"limit": 64 << 20, "swap": -1})),
        Change::Set("/linux/resources/memory", json!({"limit": -1, "swap": -1})),
        Change::Set(
            "/linux/resources/memory",
            json!({"limit": 64 << 20, "swap": 32 << 20}),
        ),
        Change::Set("/linux/resources/memory", json!({"reservation": 32 << 20})),
        Change::Set(
            "/linux/resources/memory",
            json!({"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 7}),
        ),
        Change::Set("/linux/resources/memory", json!({"swappiness": 100})),
        Change::Set("/linux/resources/memory", json!({"swappiness": 300})),
        Change::Set("/linux/resources/memory", json!({"disableOOMKiller": true})),
        Change::Set("/linux/resources/memory", json!({"useHierarchy": true})),
        Change::Set("/linux/resources/memory", json!({"limit": 0})),
        Change::Set(
            "/linux/resources/memory",
            json!({"kernel": 32 << 20, "kernelTCP": 16 << 20}),
        ),
        Change::Set("/linux/resources/cpu", json!({"shares": 512})),
        Change::Set("/linux/resources/cpu", json!({"shares": 1})),
        Change::Set("/linux/resources/cpu", json!({"shares": 300_000})),
        Change::Set(
            "/linux/resources/cpu",
            json!({"quota": 50_000, "period": 100_000}),
        ),
        Change::Set("/linux/resources/cpu", json!({"quota": 50_000})),
        Change::Set("/linux/resources/cpu", json!({"period": 50_000})),
        Change::Set("/linux/resources/cpu", json!({"quota": -1, "period": 200_000})),
        Change::Set("/linux/resources/cpu", json!({"quota": 500})),
        Change::Set("/linux/resources/cpu", json!({"period": 10})),
        Change::Set("/linux/resources/cpu", json!({"quota": 50_000, "burst": 10_000})),
        Change::Set("/linux/resources/cpu", json!({"cpus": "0"})),
        Change::Set("/linux/resources/cpu", json!({"cpus": "0-1", "mems": "0"})),
        Change::Set("/linux/resources/cpu", json!({"cpus": "99"})),
        Change::Set("/linux/resources/cpu", json!({"idle": 1})),
        Change::Set(
            "/linux/resources/cpu",
            json!({"realtimeRuntime": 1000, "realtimePeriod": 100_000}),
        ),
        Change::Set("/linux/resources/pids", json!({"limit": 20})),
        Change::Set("/linux/resources/pids", json!({"limit": -1})),
        Change::Set("/linux/resources/pids", json!({"limit": 0})),
        Change::Set("/linux/resources/pids", json!({"limit": 1})),
        Change::Set("/linux/resources/blockIO", json!({"weight": 300})),
        Change::Set("/linux/resources/blockIO", json!({"weight": 5})),
        Change::Set(
            "/linux/resources/blockIO",
            json!({"throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": 1_048_576}]}),
        ),
        Change::Set(
            "/linux/resources/blockIO",
            json!({"throttleWriteIOPSDevice": [{"major": 7, "minor": 0, "rate": 100}]}),
        ),
        Change::Set("/linux/resources/network", json!({"classID": 1_048_577})),
        Change::Set(
            "/linux/resources/network",
            json!({"priorities": [{"name": "lo", "priority": 3}]}),
        ),
        Change::Set(
            "/linux/resources/hugepageLimits",
            json!([{"pageSize": "2MB", "limit": 4 << 20}]),
        ),
        Change::Set(
            "/linux/resources/hugepageLimits",
            json!([{"pageSize": "3MB", "limit": 4 << 20}]),
        ),
        Change::Set("/linux/resources/unified", json!({"memory.max": "1000000"})),
        Change::Set("/linux/resources/rdma", json!({"mlx5_1": {"hcaHandles": 3}})),
        Change::Set("/linux/resources", Value::Null),
    ])
    .boxed()
}

/// What the probe and the runtimes' last steps need under a filter that denies the rest.
const NEEDED: [&str; 72] = [
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clock_gettime",
    "clone3",
    "close",
    "close_range",
    "dup3",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fchdir",
    "fchown",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "ioctl",
    "lseek",
    "lstat",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "recvmsg",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setuid",
    "sigaltstack",
    "stat",
    "statx",
    "uname",
    "write",
];

fn seccomp() -> BoxedStrategy<Change> {
    let rule = prop_oneof![
        select(vec!["mkdir", "mkdirat", "chmod", "fchmodat", "rename", "unlinkat", "mknodat", "socket", "sched_yield", "setpriority", "unshare",
            "sethostname", "mount", "nope"])
            .prop_flat_map(|name| {
                (Just(name), prop::option::of(select(vec![1, 38, 42, 4095])), prop::option::of(select(vec!["SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_ALLOW"])))
            })
            .prop_map(|(name, errno, action)| {
                let action = action.unwrap_or("SCMP_ACT_ERRNO");
                let mut rule = json!({"names": [name], "action": action});
                if let (Some(errno), "SCMP_ACT_ERRNO") = (errno, action) {
                    rule["errnoRet"] = json!(errno);
                }
                rule
            }),
        (0_u32..3, select(vec![1_u64, 2, 3, 10, 16]), select(vec!["EQ", "NE", "LT", "LE", "GE", "GT"]))
            .prop_map(|(index, value, op)| json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95,
                "args": [{"index": index, "value": value, "op": format!("SCMP_CMP_{op}")}]})),
        select(vec![(0x2000_0000_u64, 0x2000_0000_u64), (0x1000_0000, 0x1000_0000), (0x0400_0000, 0)])
            .prop_map(|(mask, value)| json!({"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71,
                "args": [{"index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]})),
        select(vec![(5_u64, 1_u64), (0, 5)]).prop_map(|(a, b)| json!({"names": ["setpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 72,
            "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": a, "op": "SCMP_CMP_EQ"},
                {"index": 2, "value": b, "op": "SCMP_CMP_EQ"}]})),
    ];
    let default = select(vec![
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_NOPE",
    ]);
    let extra = select(vec![
        json!({}),
        json!({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}),
        json!({"flags": []}),
        json!({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}),
        json!({"architectures": ["SCMP_ARCH_NOPE"]}),
        json!({"flags": ["NOPE"]}),
        json!({"architectures": ["SCMP_ARCH_AARCH64"]}),
    ]);
    (default, prop::collection::vec(rule, 0..5), extra)
        .prop_map(|(default, mut rules, extra)| {
            if default == "SCMP_ACT_ERRNO" {
                rules.push(json!({"names": NEEDED.as_slice(), "action": "SCMP_ACT_ALLOW"}));
            }
            let mut profile = json!({"defaultAction": default, "syscalls": rules});
            for (name, value) in extra.as_object().into_iter().flatten() {
                profile[name] = value.clone();
            }
            Change::Set("/linux/seccomp", profile)
        })
        .boxed()
}
