//! The native snapshotter: every snapshot is a whole tree, copied from its parent's. It works on every file system.
//!
//! `<root>/<n>/fs` is the tree. Where the file system can share the blocks of two files (XFS, btrfs), a copy takes none.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use lighter_meta::Db;
use lighter_stdx::clock::Clock;

use crate::error::io;
use crate::local::{Driver, Local, Repairs};
use crate::mount::bind;
use crate::{Kind, Mount, Result, copy};

/// The name by which it is chosen.
pub const NAME: &str = "native";

#[derive(Debug)]
struct Native;

/// Opens the snapshotter in the directory `root` (made if absent) with its records in `db`.
pub fn open(root: &Path, db: &Db, clock: &Clock) -> Result<(Local, Repairs)> {
    Local::open(Native, root, db, clock)
}

impl Driver for Native {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn make(&self, dir: &Path, kind: Kind, above: Option<&Path>) -> Result<()> {
        let tree = dir.join("fs");
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&tree)
            .map_err(io("create directory", &tree))?;
        match above {
            Some(above) if kind == Kind::Active => copy::tree(&above.join("fs"), &tree),
            _ => Ok(()),
        }
    }

    fn mounts(&self, dir: &Path, kind: Kind, chain: &[PathBuf]) -> Vec<Mount> {
        let active = kind == Kind::Active;
        let of = if active {
            dir
        } else {
            chain.first().map_or(dir, PathBuf::as_path)
        };
        vec![bind(&of.join("fs"), active)]
    }
}
