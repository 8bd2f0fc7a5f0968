//! What `delete` must know when the shim itself is dead: kept in the bundle.

use std::io;
use std::path::Path;

use lighter_stdx::atomic::{self, Keep};

use crate::runtime::Runtime;

const NAME: &str = "lighter-shim.state";

/// How to call the runtime, as it was recorded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Path of the runtime, or its name.
    pub(crate) runtime: String,
    pub(crate) root: String,
    pub(crate) systemd_cgroup: bool,
}

/// Writes the record; survives the death of processes, not of the machine.
pub(crate) fn write(bundle: &Path, runtime: &Runtime) -> io::Result<()> {
    let path = runtime.path.as_deref().unwrap_or(Path::new(&runtime.name));
    let text = format!(
        "runtime {}\nroot {}\nsystemd_cgroup {}\n",
        path.display(),
        runtime.root.display(),
        runtime.systemd_cgroup
    );
    atomic::write(&bundle.join(NAME), text.as_bytes(), 0o600, Keep::Kill)
}

/// Reads the record; `None` when no container was created.
pub(crate) fn read(bundle: &Path) -> Option<Record> {
    let text = std::fs::read_to_string(bundle.join(NAME)).ok()?;
    let mut record = Record::default();
    for line in text.lines() {
        match line.split_once(' ')? {
            ("runtime", value) => value.clone_into(&mut record.runtime),
            ("root", value) => value.clone_into(&mut record.root),
            ("systemd_cgroup", value) => record.systemd_cgroup = value == "true",
            _ => {}
        }
    }
    Some(record)
}
