//! The overlayfs snapshotter: a directory a snapshot, mounted one over the other by the kernel.
//!
//! `<root>/<n>/fs` holds what a snapshot adds to its parent (whiteouts and opaque directories as overlayfs writes them), `<root>/<n>/work` is the
//! kernel's.
//!
//! **Many layers.** The mounts' options may be longer than the page that `mount(2)` takes (from some 90 layers, with the usual root). Whoever
//! mounts them cuts them short: containerd's shims and `mount.All` do, ours calls [`Mount::mount`](crate::Mount::mount).
//!
//! **In a user namespace** the kernel lets nobody write `trusted.` attributes: the mounts have the option `userxattr` (Linux 5.11), and
//! the marks are `user.overlay.` ones.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lighter_meta::Db;
use lighter_stdx::clock::Clock;

use crate::error::io;
use crate::local::{Driver, Local, Repairs};
use crate::mount::bind;
use crate::{Error, Kind, Mount, Result};

/// The name by which it is chosen.
pub const NAME: &str = "overlayfs";

#[derive(Debug)]
struct Overlayfs {
    /// In a user namespace.
    user: bool,
}

/// Opens the snapshotter in the directory `root` (made if absent) with its records in `db`.
pub fn open(root: &Path, db: &Db, clock: &Clock) -> Result<(Local, Repairs)> {
    let user = in_user_namespace();
    let (local, repairs) = Local::open(Overlayfs { user }, root, db, clock)?;
    if local.root().to_string_lossy().contains([':', ',', '\\']) {
        let why = "a colon, a comma or a backslash in the path has a meaning in mount options".to_owned();
        return Err(Error::Unsupported {
            name: NAME,
            path: local.root().to_owned(),
            why,
        });
    }
    Ok((local, repairs))
}

impl Driver for Overlayfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_slow(&self) -> bool {
        false
    }

    /// Makes `fs` and, for one that is written to, `work`. The root of a new layer has the owner and the mode of the layer below: that
    /// of the topmost layer is what is seen.
    fn make(&self, dir: &Path, kind: Kind, above: Option<&Path>) -> Result<()> {
        let make = |path: &Path, mode| {
            fs::DirBuilder::new()
                .mode(mode)
                .create(path)
                .map_err(io("create directory", path))
        };
        let fs_dir = dir.join("fs");
        make(&fs_dir, 0o755)?;
        if kind == Kind::Active {
            make(&dir.join("work"), 0o711)?;
        }
        if let Some(above) = above {
            let lower = above.join("fs");
            let metadata = lower.metadata().map_err(io("stat", &lower))?;
            std::os::unix::fs::chown(&fs_dir, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(io("change owner of", &fs_dir))?;
            // After the owner: a change of owner clears bits of the mode.
            let mode = fs::Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(&fs_dir, mode).map_err(io("change mode of", &fs_dir))?;
        }
        Ok(())
    }

    /// The shapes are containerd's: a bind for a single directory, else an overlay.
    fn mounts(&self, dir: &Path, kind: Kind, chain: &[PathBuf]) -> Vec<Mount> {
        let active = kind == Kind::Active;
        match chain {
            [] => return vec![bind(&dir.join("fs"), active)],
            [only] if !active => return vec![bind(&only.join("fs"), false)],
            _ => {}
        }
        let mut options = vec!["index=off".to_owned()];
        if self.user {
            options.push("userxattr".to_owned());
        }
        if active {
            options.push(format!("workdir={}/work", dir.display()));
            options.push(format!("upperdir={}/fs", dir.display()));
        }
        let lower: Vec<String> = chain.iter().map(|dir| format!("{}/fs", dir.display())).collect();
        options.push(format!("lowerdir={}", lower.join(":")));
        vec![Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options,
        }]
    }
}

/// Whether this process is in a user namespace that is not the first one, which alone maps all numbers onto themselves.
///
/// Source: user_namespaces(7).
pub(crate) fn in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        // A kernel without user namespaces.
        return false;
    };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}
