//! Metrics of a container's cgroup, in containerd's messages.

mod legacy;
mod unified;

use std::path::{Path, PathBuf};

use lighter_shim_api::{Any, service};
use prost::Message;

use crate::cgroup::directory_in;

/// The metrics of the cgroup in the text of `/proc/PID/cgroup`; `None` when it names none.
pub(crate) fn of(text: &str) -> Option<Any> {
    let dir = |controller: &str| directory_in(text, controller);
    let controllers: Vec<PathBuf> = ["memory", "cpuacct", "cpu", "pids", "blkio"]
        .iter()
        .filter_map(|name| dir(name))
        .collect();
    if controllers.is_empty() {
        let value = unified::metrics(&dir("")?).encode_to_vec();
        return Some(Any {
            type_url: service::CGROUPS_V2.to_owned(),
            value,
        });
    }
    let value = legacy::metrics(dir).encode_to_vec();
    Some(Any {
        type_url: service::CGROUPS_V1.to_owned(),
        value,
    })
}

/// A file of lines `name number`, read once.
struct Fields(String);

impl Fields {
    fn of(path: &Path) -> Self {
        Self(std::fs::read_to_string(path).unwrap_or_default())
    }

    /// 0 when there is none: older kernels know fewer.
    fn get(&self, name: &str) -> u64 {
        let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(line).unwrap_or(0)
    }
}

/// No limit is 0 in containerd's messages about processes.
fn limit(number: u64) -> u64 {
    if number == u64::MAX { 0 } else { number }
}

/// The sizes of huge pages that `dir` has files of: `2MB` for `hugetlb.2MB` and `suffix`.
fn huge_pages(dir: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |name: String| Some(name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?.to_owned());
    let mut sizes: Vec<String> = entries
        .filter_map(|entry| size(entry.file_name().into_string().ok()?))
        .filter(|size| !size.contains('.'))
        .collect();
    sizes.sort();
    sizes
}

/// Lines of `rdma.current` and `rdma.max`, `device hca_handle=N hca_object=max`: device, handles, objects.
fn rdma(path: &Path) -> Vec<(String, u32, u32)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let number = |name: &str| {
            let mut words = rest.split_whitespace();
            let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.map_or(0, |value| value.parse().unwrap_or(u32::MAX))
        };
        Some((device.to_owned(), number("hca_handle"), number("hca_object")))
    };
    text.lines().filter_map(entry).collect()
}
