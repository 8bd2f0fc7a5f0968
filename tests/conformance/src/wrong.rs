//! Changes that no runtime takes, or that this kernel refuses whoever asks: most cases leave them out, or what is refused
//! for one would hide what the others do.

use serde_json::Value;

use crate::generate::Change;

/// Parts of a value's text.
const WORDS: [&str; 36] = [
    "NOPE",
    "nope",
    "\"selinuxLabel\"",
    "\"type\":\"z\"",
    "\"type\":\"x\"",
    "relative",
    "CAP_SYS_RESOURCE",
    "CAP_BPF",
    "\"classID\"",
    "\"priorities\"",
    "mlx5_1",
    "3MB",
    "2MB",
    "\"99\"",
    "\"swappiness\":300",
    "\"shares\":1}",
    "\"shares\":300000",
    "\"quota\":500}",
    "\"period\":10}",
    "\"swap\":33554432",
    "\"weight\":5}",
    "realtimeRuntime",
    "\"idle\"",
    "\"burst\"",
    "memory.max",
    "vm.swappiness",
    "kernel.hostname",
    "\"words\"",
    "user.max_user_namespaces",
    "SCHED_FIFO",
    "SCHED_RR",
    "\"=x\"",
    "\"B\"",
    "/dev/fuse\",\"type\":\"u\"",
    "SCMP_ARCH_AARCH64",
    "\"kernelTCP\"",
];

/// Limits that a process without CAP_SYS_RESOURCE cannot have.
const HELD: [&str; 7] = [
    "NICE",
    "RTPRIO",
    "MEMLOCK",
    "NOFILE",
    "NPROC",
    "SIGPENDING",
    "MSGQUEUE",
];

/// Where a file or nothing lies that a directory cannot be mounted on.
const FILES: [&str; 2] = ["/data/file", "/etc/hosts"];

/// Whether a change is one of those.
pub(crate) fn is_wrong(change: &Change) -> bool {
    match change {
        Change::All(list) => list.iter().any(is_wrong),
        Change::Drop(_, _, name) => matches!(*name, "mount" | "uts" | "ipc"),
        Change::Join(_) => false,
        Change::Set(pointer, value) | Change::Push(pointer, value) => {
            let text = value.to_string();
            WORDS.iter().any(|word| text.contains(word))
                || match *pointer {
                    "/process/selinuxLabel" | "/process/apparmorProfile" => true,
                    "/process/cwd" => text == "\"\"" || text.contains("/file") || text.contains("secret"),
                    "/process/args" => !text.contains("probe"),
                    "/process/oomScoreAdj" => value.as_i64().is_none_or(|score| !(0..=1000).contains(&score)),
                    "/process/rlimits" => is_held(value),
                    "/linux/resources/network"
                    | "/linux/resources/rdma"
                    | "/linux/resources/hugepageLimits" => true,
                    "/mounts" => is_unlike(value),
                    _ => false,
                }
        }
    }
}

fn is_held(limit: &Value) -> bool {
    let number = |field: &str| limit[field].as_u64().unwrap_or(u64::MAX);
    let held = HELD
        .iter()
        .any(|kind| limit["type"].as_str().unwrap_or_default().ends_with(kind));
    number("soft") > number("hard") || held && number("hard") > 1024 || limit["type"] == "RLIMIT_NICE"
}

/// A directory over a file, or a file over a directory.
fn is_unlike(mount: &Value) -> bool {
    let text = |field: &str| mount[field].as_str().unwrap_or_default();
    let place = FILES.contains(&text("destination"));
    let fresh = ["/mnt/a", "/mnt/a/b", "/a/b/c", "/dev/extra"].contains(&text("destination"));
    let file = text("source").ends_with("/file") || text("source").ends_with("/null");
    match text("type") {
        "bind" if file => !place && !fresh,
        _ => place,
    }
}
