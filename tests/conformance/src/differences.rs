//! Differences between ours and runc that are meant, each with its reason.

use crate::compare::Context;

/// A difference that is meant.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// What was looked at; `*` at the end matches the rest.
    pub what: &'static str,
    /// When it is meant.
    pub when: fn(&Context<'_>) -> bool,
    /// Why.
    pub why: &'static str,
}

/// All of them.
pub const EXPECTED: &[Expected] = &[
    Expected {
        what: "mount *",
        when: |it| it.values[0] == it.values[1].replace("ro,relatime [shared] tmpfs", "ro,relatime [] tmpfs"),
        why: "the empty directory over a masked one: runc clones the first cover, which a shared root has made shared; ours is nobody's peer",
    },
    Expected {
        what: "cwd",
        when: |it| it.values[..2].iter().all(|value| process_number(value).is_some()),
        why: "the number of the process, where the working directory is its own in /proc: each runtime makes another count of helpers before it",
    },
    Expected {
        what: "outcome",
        when: |it| it.case.exec.is_some() && it.values[0].contains("duplicate rlimit type"),
        why: "a limit that is named twice is refused by exec as it is by create; both others pass over it",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "MS_REMOUNT") && it.values[1].contains("no such file or directory"),
        why: "what is made read-only in the end is known by descriptor: a later mount over its path does not hide it; both others look for the path again",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "error adding seccomp filter rule") && it.values[1].contains("file exists"),
        why: "a rule for every use of a call after one for some: ours holds, what was said first is taken first; libseccomp, which both others use, refuses",
    },
    Expected {
        what: "guarded *",
        when: recursive_on_new,
        why: "recursive options on new file systems again, by what can be written there",
    },
    Expected {
        what: "mount /sys/fs/cgroup",
        when: |it| it.values[..2].iter().all(|value| value.contains(" tmpfs ")),
        why: "the tmpfs that holds the v1 hierarchies is limited to 64k, and read-only when the configuration says ro: runc leaves it writable",
    },
    Expected {
        what: "mount /sys/fs/cgroup/systemd",
        when: |it| it.values[0] == it.values[1].replace("cgroup systemd rw", "cgroup cgroup rw"),
        why: "a source's name that nobody reads: cgroup, as runc has it for the other hierarchies",
    },
    Expected {
        what: "descriptors",
        when: |it| {
            it.case.exec.is_some() && it.values[1].contains("pipe") && it.values[0].starts_with("0 /dev/null")
        },
        why: "exec hands its own stdio on, as create does and crun; runc copies through pipes",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "no such device") && has(it, "\"type\":\"bind\""),
        why: "a mount of type bind without the option is a bind mount to us, and an unknown file system to both others",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "cap_last_cap"),
        why: "runc asks a file that the configuration masks for the last capability; we ask the kernel",
    },
    Expected {
        what: "outcome",
        when: |it| {
            ran_where(it, "the minimum allowed cpu-shares is 2")
                || ran_where(it, "the maximum allowed cpu-shares")
        },
        why: "the kernel takes the nearest it allows; crun lets it, too",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "missing '='"),
        why: "an entry without = is handed on as it is, as crun does",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "can't apply capabilities"),
        why: "what the caller lacks itself cannot be given and is left out: an engine that asks for all runs where one was taken away",
    },
    Expected {
        what: "outcome",
        when: |it| it.case.exec.is_some() && it.values[0].contains("oom_score_adj"),
        why: "a score that the kernel does not take is refused by exec as it is by create; both others pass over it",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "two checks on same syscall argument"),
        why: "our filters can compare an argument twice",
    },
    Expected {
        what: "outcome",
        when: |it| it.values[0].contains("set group id: operation not permitted") && it.values[1] == "ran",
        why: "a filter without no-new-privileges is in force when the user changes, which takes setresgid here as in crun and setgid in runc",
    },
    Expected {
        what: "file /dev/mqueue",
        when: |it| it.case.in_user_namespace(),
        why: "whose the mqueue is: the IPC namespace is made with the user namespace, before ids are mapped (runc maps only the user in time)",
    },
    Expected {
        what: "status Umask",
        when: |it| it.case.exec.is_some() && [it.values[0], "absent"].contains(&it.values[2]),
        why: "config.md gives every process its umask; runc forgets it in exec",
    },
    Expected {
        what: "guarded /proc/keys",
        when: |it| it.case.in_user_namespace() && it.values[0] == it.values[2],
        why: "the session's keyring is made before the user namespace is entered, as crun does",
    },
    Expected {
        what: "kept *",
        when: |it| it.case.exec.is_some() && format!("{:?}", it.case).contains("umask"),
        why: "the umask of exec again, by what the process left",
    },
    Expected {
        what: "outcome",
        when: |it| ran_where(it, "error reopening /dev/null inside container"),
        why: "a /dev/null that the process may not open is the configuration's wish; crun lets it, too",
    },
    Expected {
        what: "mount *",
        when: |it| [it.values[0], "absent"].contains(&it.values[2]) && has(it, "rootfsPropagation"),
        why: "the root's recursive propagation comes last and holds for what is mounted in it, as in crun",
    },
    Expected {
        what: "kept dev/*",
        when: |it| it.case.in_user_namespace(),
        why: "the mode of the empty file that a device is bound on: each runtime has its own",
    },
    Expected {
        what: "mount *",
        when: recursive_on_new,
        why: "recursive options hold for new file systems too, as crun has it; runc drops them there without a word",
    },
    Expected {
        what: "mount *",
        when: |it| {
            it.values[..2]
                .iter()
                .all(|value| value.contains(" cgroup ") || value.contains(" tmpfs tmpfs "))
                && mounts(it)
                    .iter()
                    .any(|mount| mount["type"] == "cgroup" && !asks(mount, "noexec"))
        },
        why: "the hierarchies have the options of their mount, as in crun; runc adds nodev and noexec",
    },
    Expected {
        what: "mount *",
        when: |it| {
            it.values[0].contains(" tmpfs tmpfs ")
                && it.values[0].replacen(" tmpfs tmpfs ", " tmpfs  ", 1) == it.values[1]
        },
        why: "a source that is left out is named by its type, as crun does",
    },
    Expected {
        what: "self oom_score_adj",
        when: |it| it.case.exec.is_some(),
        why: "config.md gives every process its oomScoreAdj; both others pass over it in exec",
    },
    Expected {
        what: "limit *",
        when: |it| it.case.exec.is_some() && has(it, "rlimits"),
        why: "a later process that names no limits has the container's, not those of whoever calls the runtime",
    },
];

/// Options that also hold for what is mounted below.
pub(crate) const RECURSIVE: [&str; 9] = [
    "rro",
    "rrw",
    "rnosuid",
    "rnodev",
    "rnoexec",
    "rnoatime",
    "rrelatime",
    "rstrictatime",
    "rnosymfollow",
];

fn recursive_on_new(it: &Context<'_>) -> bool {
    mounts(it)
        .iter()
        .any(|mount| mount["type"] != "bind" && RECURSIVE.iter().any(|name| asks(mount, name)))
}

/// The number in `/proc/NUMBER/...`.
fn process_number(path: &str) -> Option<u32> {
    path.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}

fn mounts(it: &Context<'_>) -> Vec<serde_json::Value> {
    it.case.config()["mounts"].as_array().cloned().unwrap_or_default()
}

fn asks(mount: &serde_json::Value, name: &str) -> bool {
    mount["options"]
        .as_array()
        .is_some_and(|options| options.iter().any(|option| option == name))
}

/// Ours ran, runc refused with these words.
fn ran_where(it: &Context<'_>, words: &str) -> bool {
    it.values[0] == "ran" && it.values[1].contains(words)
}

fn has(it: &Context<'_>, text: &str) -> bool {
    it.case.config().to_string().contains(text)
}
