//! Where `cargo xtask test` put what the suites use.

use std::path::{Path, PathBuf};

/// The lab: peers, root file systems, the registry's store.
///
/// # Panics
/// When it was not set up.
pub fn lab() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = || var("XDG_CACHE_HOME").unwrap_or_else(|| var("HOME").expect("HOME is set").join(".cache"));
    let dir = var("LIGHTER_LAB").unwrap_or_else(|| cache().join("lighter/lab"));
    assert!(
        dir.join("registry").is_dir(),
        "{} is not set up: run `cargo xtask lab`",
        dir.display()
    );
    dir
}

/// The directory of our programs, as `cargo xtask build` places them.
///
/// # Panics
/// When they were not built.
pub fn dist() -> PathBuf {
    let dir = std::env::var_os("LIGHTER_DIST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist"),
        PathBuf::from,
    );
    dir.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask build`", dir.display()))
}
