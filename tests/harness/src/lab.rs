//! Where `cargo xtask test` put what the suites use.

use std::path::{Path, PathBuf};

/// The lab: peers, root file systems, the registry's store.
///
/// # Panics
/// When it was not set up.
pub fn lab() -> PathBuf {
    let dir = std::env::var_os("LIGHTER_LAB").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/lighter/lab"),
        PathBuf::from,
    );
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
