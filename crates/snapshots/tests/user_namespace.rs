//! The overlayfs snapshotter for an ordinary user, as root of a user namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lighter_meta::Db;
use lighter_snapshots::{Labels, Local, Snapshotters as _, overlayfs, suite};
use lighter_stdx::clock::Clock;

const DIRECTORY: &str = "LIGHTER_SNAPSHOTS_TEST_USER_DIRECTORY";
/// The user who is root of the namespace, and the first of the numbers that are mapped.
const USER: u32 = 100_000;

fn open(dir: &Path) -> Local {
    let db = Db::open(&dir.join("meta.db"), 1).unwrap();
    overlayfs::open(&dir.join("snapshots"), &db, &Clock::system())
        .unwrap()
        .0
}

/// What is done in the namespace; nothing when a person runs the tests.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let dir = Path::new(&dir);
    suite::run(dir, suite::Takes::WhatItAdds, |root| Arc::new(open(root)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        fs::create_dir(dir.join("own")).unwrap();
        let one = open(&dir.join("own")).namespace("one", None);
        one.prepare("making", "", Labels::new()).await.unwrap();
        one.commit("base", "making", Labels::new()).await.unwrap();
        let mounts = one.prepare("active", "base", Labels::new()).await.unwrap();
        let told = |option: &str| mounts[0].options.iter().any(|given| given == option);
        assert!(told("userxattr") && told("index=off"), "{mounts:?}");
    });
}

#[test]
fn overlayfs_conforms_in_a_user_namespace() {
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(USER), Some(USER)).unwrap();
    // Where the user can reach it, wherever it was built.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let user = USER.to_string();
    // A namespace, held until its input ends. That it can be made says that an ordinary user may.
    let mut holder = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .args(["unshare", "--user", "--mount", "sh", "-c", "echo made; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "made\n");
    for map in ["uid_map", "gid_map"] {
        fs::write(
            format!("/proc/{}/{map}", holder.id()),
            format!("0 {USER} 65536\n"),
        )
        .unwrap();
    }
    let output = Command::new("nsenter")
        .args(["--user", "--mount", "--setuid", "0", "--setgid", "0", "--target"])
        .arg(holder.id().to_string())
        .arg(&program)
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir.path())
        .output()
        .unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
