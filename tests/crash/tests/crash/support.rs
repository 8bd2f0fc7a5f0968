//! What the suites share.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lighter_harness::{Client, Engine, Kind, Machine, Options, OutputExt as _, Session};

/// A session with busybox, that of the stock client and our engine.
pub(crate) fn session() -> Session {
    session_with(&Options::default())
}

pub(crate) fn session_with(options: &Options) -> Session {
    let session = Session::start_with(Kind::Lighter, Client::Stock, options);
    session.pull("busybox");
    session
}

/// The number of rounds, printed with what they are of.
pub(crate) fn rounds(of: &str) -> usize {
    let rounds = std::env::var("LIGHTER_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    println!("{of}: {rounds} rounds");
    rounds
}

/// Starts the engine again after it was killed.
pub(crate) fn revive(session: &mut Session, options: &Options) {
    if let Some(engine) = session.engine.take() {
        engine.kill();
    }
    session.engine = Some(Engine::start(&session.host, Kind::Lighter, options));
}

/// Kills every process of the program `name` on the session's host; how many there were.
pub(crate) fn kill_all(session: &Session, name: &str) -> usize {
    let pids = session.host.running(name);
    for pid in &pids {
        kill(*pid);
    }
    pids.len()
}

pub(crate) fn kill(pid: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
}

/// The worker of the port proxy.
pub(crate) fn workers(session: &Session) -> Vec<u32> {
    let is_worker = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"worker"))
    };
    session
        .host
        .running("lighter-netd")
        .into_iter()
        .filter(is_worker)
        .collect()
}

/// Somebody who asks a published port again and again, each time by a new connection.
pub(crate) struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Prober {
    /// Asks `url` from `machine`.
    pub(crate) fn start(session: &Session, machine: Machine, url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let url = url.to_owned();
        // One shell that asks until it is told to end, so that a new process is not the measure of time.
        let script = "while read -r word; do if out=$(curl -sS --max-time 5 \"$0\" 2>&1); then echo \"ok $out\"; else echo \"bad $out\"; fi; done";
        let mut child = session
            .host
            .command(machine, &["bash", "-c", script, &url])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starting the prober");
        let thread = std::thread::spawn(move || {
            use std::io::{BufRead as _, BufReader, Write as _};
            let mut input = child.stdin.take().expect("stdin is a pipe");
            let mut output = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
            let mut answers = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                writeln!(input, "go").expect("asking the prober");
                let begin = Instant::now();
                let mut line = String::new();
                output.read_line(&mut line).expect("the prober answers");
                answers.push(format!("{} after {:?}", line.trim(), begin.elapsed()));
            }
            drop(input);
            let _ = child.wait();
            answers
        });
        Self { stop, thread }
    }

    /// Ends it; panics when an answer was missing. `cut` answers may have been cut off, as they were in the hands of a worker that
    /// was killed (HOUSE: connections through the userland proxy do not survive it); none may have been refused or late.
    pub(crate) fn finish(self, what: &str, cut: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.thread.join().expect("the prober ended well");
        let bad: Vec<_> = answers
            .iter()
            .filter(|answer| !answer.starts_with("ok "))
            .collect();
        let was_cut = |answer: &&String| ["(52)", "(56)"].iter().any(|code| answer.contains(code));
        println!(
            "{what}: {} requests, {} cut off with a worker",
            answers.len(),
            bad.len()
        );
        assert!(
            bad.len() <= cut && bad.iter().copied().all(|answer| was_cut(&answer)),
            "{what}: {} of {} requests failed: {bad:?}",
            bad.len(),
            answers.len()
        );
        assert!(!answers.is_empty());
    }
}

/// The numbers of the lines `line N` in a log; panics when one is missing, double or out of order.
pub(crate) fn check_lines(log: &str) -> usize {
    let mut expected = 1;
    for line in log.lines() {
        assert_eq!(
            line,
            format!("line {expected}"),
            "after {} good lines",
            expected - 1
        );
        expected += 1;
    }
    expected - 1
}

/// Nothing of the containers that were is left on the host: processes, mounts, network namespaces, cgroups.
pub(crate) fn check_nothing_left(session: &Session) {
    lighter_harness::within(
        Duration::from_secs(10),
        "everything of the containers is gone",
        || {
            let shims = session.host.running("containerd-shim-lighter-v1").len();
            let mounts = session.host.sh(
                "grep -cE 'io.containerd.runtime.v2.task|/run/lighter/netns/' /proc/self/mountinfo || true",
            );
            let names = session.host.sh("ls /run/lighter/netns /run/lighter/runc /run/lighter/attach 2>/dev/null | grep -E '^[0-9a-f]{64}$' || true");
            let cgroups = session.host.sh(&format!(
                // One that goes while it is looked at is no failure of `find`.
                "{{ find /sys/fs/cgroup -path '*{}/*' -type d 2>/dev/null || true; }} | wc -l",
                session.host.cgroup_parent()
            ));
            let dirs = session
                .host
                .sh(&format!("ls {}/lighter/containers", session.host.dir().display()));
            let left = (
                shims,
                mounts.as_str(),
                names.as_str(),
                cgroups.as_str(),
                dirs.as_str(),
            );
            (left == (0, "0", "", "0", "")).then_some(()).or_else(|| {
                eprintln!("left: {left:?}");
                None
            })
        },
    );
}

/// Runs a client whose answer does not matter: the daemon may die under it.
pub(crate) fn try_docker(session: &Session, words: &[&str]) {
    let _ = session.command(words).result();
}
