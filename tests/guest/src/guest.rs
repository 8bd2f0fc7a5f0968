//! One guest, from start to power off.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BOOT: &str = include_str!("boot.sh");

/// What the guest's first process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A busybox script that mounts what a host has and runs the script: up within two seconds.
    Plain,
    /// systemd with dbus and logind; the script is a service below `multi-user.target`: up within ten seconds.
    Systemd,
}

/// A guest to be started.
#[derive(Debug, Clone)]
pub struct Guest {
    kind: Kind,
    dirs: Vec<PathBuf>,
    memory: &'static str,
    limit: Duration,
}

/// What a guest's script did.
#[derive(Debug)]
pub struct Ran {
    /// The script's exit code.
    pub code: i32,
    /// Its standard output and error, together.
    pub output: String,
    /// From the start of the guest to its power off.
    pub took: Duration,
}

impl Guest {
    /// A guest of that kind with 1 GiB and two minutes and a half.
    pub fn new(kind: Kind) -> Guest {
        Guest {
            kind,
            dirs: Vec::new(),
            memory: "1G",
            limit: Duration::from_secs(150),
        }
    }

    /// The guest sees `dir` of this machine, read-only, under the same path; not one below /tmp or /run, which are tmpfs there.
    pub fn sees(mut self, dir: impl Into<PathBuf>) -> Guest {
        self.dirs.push(dir.into());
        self
    }

    /// The guest is killed when it is not off by then.
    pub fn limit(mut self, limit: Duration) -> Guest {
        self.limit = limit;
        self
    }

    /// Starts the guest, has bash run `script` in it as root, and waits for its power off. Nothing of it is left then,
    /// nor when this process dies.
    ///
    /// # Panics
    /// When the lab has no guest, or this one did not come to the end of the script: with its console and what the script said.
    pub fn run(self, script: &str) -> Ran {
        let lab = lighter_harness::lab();
        assert!(
            lab.join("guest/.complete-1").exists(),
            "{} has no guest: run `cargo xtask lab`",
            lab.display()
        );
        let dir = tempfile::tempdir().expect("making the guest's directory");
        let results = dir.path().join("results");
        fs::create_dir(&results).expect("making the guest's results");
        fs::write(results.join("script"), script).expect("writing the guest's script");
        let console = dir.path().join("console");
        let kind = match self.kind {
            Kind::Plain => "plain",
            Kind::Systemd => "systemd",
        };
        let out = File::create(&console).expect("making the guest's console");
        let begin = Instant::now();
        // The guest dies with `unshare`, that with `timeout`, that with this thread.
        let status = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "timeout", "--signal=KILL"])
            .arg(self.limit.as_secs().to_string())
            .args(["setpriv", "--pdeathsig", "KILL", "unshare", "-mpif"])
            .args([
                "--propagation",
                "private",
                "--kill-child",
                "bash",
                "-c",
                BOOT,
                "boot",
            ])
            .args([lab.as_path(), Path::new(kind), &results, Path::new(self.memory)])
            .args(&self.dirs)
            .stdin(Stdio::null())
            .stderr(out.try_clone().expect("the console, once more"))
            .stdout(out)
            .status()
            .expect("starting setpriv, timeout and unshare of util-linux and coreutils");
        let took = begin.elapsed();
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let output = text(&results.join("output"));
        let code = text(&results.join("status")).trim().parse();
        let Ok(code) = code else {
            panic!(
                "the guest ({kind}) was not at its script's end after {took:?} ({status})\n--- console\n{}\n--- output\n{output}",
                text(&console)
            );
        };
        Ran { code, output, took }
    }
}
