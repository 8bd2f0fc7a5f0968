//! The measuring process: the first of a private host whose root is the peers' root.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lighter_sys::exec::Strings;
use lighter_sys::process::{Fork, exit_now, fork, kill};
use lighter_sys::usage::{self, Usage};
use serde::{Deserialize, Serialize};

use super::{FLOOR, bundle};

/// Samples of each runtime that do not count.
const WARM: usize = 3;
/// Between two samples: the kernel takes a dead container's namespaces apart after the runtime has left.
const REST: Duration = Duration::from_millis(8);

/// The columns. Ours first; the floor only runs.
pub const NAMES: [&str; 4] = ["lighter", "crun", "runc", FLOOR];
const PROGRAMS: [&str; 4] = ["lighter-runc", "/usr/bin/crun", "/usr/sbin/runc", FLOOR];
/// What is timed, in milliseconds, and weighed: names of [`Row::name`].
pub const STEPS: [&str; 6] = ["run", "create", "start", "delete", "exec", "version"];

/// One measure on one bundle.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Row {
    pub bundle: String,
    pub name: String,
    /// In the order of [`NAMES`]; empty where there is no such thing.
    pub samples: [Vec<f64>; 4],
}

/// All of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub rows: Vec<Row>,
    /// One minute's average of runnable tasks at the end.
    pub load: f64,
}

impl Results {
    pub fn row(&self, bundle: &str, name: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.bundle == bundle && row.name == name)
    }

    fn put(&mut self, bundle: &str, name: &str, column: usize, value: f64) {
        let place = self
            .rows
            .iter()
            .position(|row| row.bundle == bundle && row.name == name);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row {
                bundle: bundle.to_owned(),
                name: name.to_owned(),
                ..Row::default()
            });
            self.rows.len() - 1
        });
        self.rows[place].samples[column].push(value);
    }
}

pub fn main(share: &Path, rounds: usize, cgroup: &str) -> Result<()> {
    let mut results = Results::default();
    for bundle in bundle::NAMES {
        let runtimes: Vec<Runtime> = (0..NAMES.len())
            .map(|column| Runtime::new(share, bundle, column, cgroup))
            .collect::<Result<_>>()?;
        for runtime in &runtimes[..3] {
            runtime.begin()?;
        }
        for round in 0..WARM + rounds {
            for turn in 0..runtimes.len() {
                let turn = (turn + round / 2) % runtimes.len();
                let place = if round % 2 == 0 {
                    turn
                } else {
                    runtimes.len() - 1 - turn
                };
                let samples = runtimes[place].round(round)?;
                for (name, value) in samples.into_iter().filter(|_| round >= WARM) {
                    results.put(bundle, name, place, value);
                }
            }
        }
        for (column, runtime) in runtimes.iter().enumerate() {
            results.put(bundle, "calls", column, runtime.calls()?);
        }
        for runtime in &runtimes[..3] {
            runtime.end()?;
        }
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    results.load = load
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    fs::write(share.join("results.json"), serde_json::to_vec(&results)?).context("writing the results")
}

/// One column on one bundle.
struct Runtime<'a> {
    share: &'a Path,
    column: usize,
    program: PathBuf,
    /// What every command begins with.
    root: Vec<String>,
    bundle: PathBuf,
    pause: PathBuf,
    id: String,
    kind: &'a str,
    cgroup: String,
}

impl<'a> Runtime<'a> {
    /// Its bundles are copies with a cgroup of their own.
    fn new(share: &'a Path, kind: &'a str, column: usize, cgroup: &str) -> Result<Self> {
        let name = NAMES[column];
        let id = format!("{name}-{kind}");
        let copy = |suffix: &str| -> Result<PathBuf> {
            let from = share.join(format!("{kind}{suffix}"));
            let to = PathBuf::from(format!("/tmp/{id}{suffix}"));
            fs::create_dir(&to)?;
            let config = fs::read_to_string(from.join("config.json"))?;
            let config = config.replace(&format!("{cgroup}/ID"), &format!("{cgroup}/{id}{suffix}"));
            fs::write(to.join("config.json"), config)?;
            Ok(to)
        };
        Ok(Self {
            share,
            column,
            program: share.join(PROGRAMS[column]),
            root: vec!["--root".into(), format!("/run/{name}")],
            bundle: copy("")?,
            pause: copy("-pause")?,
            cgroup: format!("{cgroup}/{id}"),
            id,
            kind,
        })
    }

    /// A container that stays, for `exec`.
    fn begin(&self) -> Result<()> {
        let bundle = self.pause.to_string_lossy().into_owned();
        let id = format!("{}-pause", self.id);
        let pid_file = format!("/tmp/{id}.pid");
        self.ok(&["create", "--bundle", &bundle, "--pid-file", &pid_file, &id])?;
        self.ok(&["start", &id]).map(drop)
    }

    fn end(&self) -> Result<()> {
        let id = format!("{}-pause", self.id);
        let pid: i32 = fs::read_to_string(format!("/tmp/{id}.pid"))?.trim().parse()?;
        kill(pid, 9)?;
        // It became our child with its runtime's end.
        usage::wait(pid)?;
        self.ok(&["delete", &id]).map(drop)
    }

    /// One sample of everything that this column can do.
    fn round(&self, round: usize) -> Result<Vec<(&'static str, f64)>> {
        let mut samples = Vec::new();
        std::thread::sleep(REST);
        let (took, usage) = self.run_once(round)?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        samples.push(("run", milliseconds(took)));
        samples.push(("peak", usage.peak_kib as f64 / 1024.0));
        samples.push(("cpu", milliseconds(usage.user + usage.system)));
        if self.column == 3 {
            return Ok(samples);
        }
        let mut step = |name: &'static str, words: &[&str]| -> Result<()> {
            std::thread::sleep(REST);
            let (took, _) = self.ok(words)?;
            samples.push((name, milliseconds(took)));
            Ok(())
        };
        let bundle = self.bundle.to_string_lossy().into_owned();
        let id = format!("{}-apart-{round}", self.id);
        let pid_file = format!("/tmp/{}.pid", self.id);
        step(
            "create",
            &["create", "--bundle", &bundle, "--pid-file", &pid_file, &id],
        )?;
        step("start", &["start", &id])?;
        // It became our child with its runtime's end.
        let pid = fs::read_to_string(&pid_file)?;
        ensure!(
            usage::wait(pid.trim().parse()?)?.succeeded(),
            "{id}: the container failed"
        );
        step("delete", &["delete", &id])?;
        let pause = format!("{}-pause", self.id);
        step("exec", &["exec", &pause, "/true", "true"])?;
        std::thread::sleep(REST);
        let (took, usage) = start(&self.program, &["--version".to_owned()])?;
        ensure!(usage.succeeded(), "{} --version failed", NAMES[self.column]);
        samples.push(("version", milliseconds(took)));
        Ok(samples)
    }

    fn run_words(&self, round: usize) -> Vec<String> {
        let words: Vec<String> = if self.column == 3 {
            let rootfs = self
                .share
                .join(self.kind)
                .join("rootfs")
                .to_string_lossy()
                .into_owned();
            let filter = self.share.join(bundle::FILTER).to_string_lossy().into_owned();
            vec![
                "run".into(),
                self.kind.into(),
                rootfs,
                self.cgroup.clone(),
                filter,
            ]
        } else {
            let bundle = self.bundle.to_string_lossy().into_owned();
            let id = format!("{}-{round}", self.id);
            vec!["run".into(), "--bundle".into(), bundle, id]
        };
        let root = if self.column == 3 { &[][..] } else { &self.root };
        root.iter().cloned().chain(words).collect()
    }

    fn run_once(&self, round: usize) -> Result<(Duration, Usage)> {
        let (took, usage) = start(&self.program, &self.run_words(round))?;
        ensure!(usage.succeeded(), "{} run failed", NAMES[self.column]);
        Ok((took, usage))
    }

    fn ok(&self, words: &[&str]) -> Result<(Duration, Usage)> {
        let all: Vec<String> = self
            .root
            .iter()
            .cloned()
            .chain(words.iter().map(|&word| word.to_owned()))
            .collect();
        let (took, usage) = start(&self.program, &all)?;
        ensure!(
            usage.succeeded(),
            "{} {} failed",
            NAMES[self.column],
            words.join(" ")
        );
        Ok((took, usage))
    }

    /// System calls of one run, of the runtime and all that it starts, the container's program included.
    fn calls(&self) -> Result<f64> {
        let dir = self.share.join("carried");
        let found = fs::read_dir(&dir)?.flatten().map(|entry| entry.path());
        let is_loader = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-"))
        };
        let loader = found.into_iter().find(is_loader).context("no dynamic loader")?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let report = self.share.join(format!("calls-{}", self.id));
        let mut words = vec![
            "--library-path".into(),
            text(dir.clone()),
            text(dir.join("strace")),
        ];
        words.extend(["-f", "-c", "-U", "calls,name", "-o"].map(str::to_owned));
        words.extend([text(report.clone()), text(self.program.clone())]);
        words.extend(self.run_words(usize::MAX));
        let (_, usage) = start(&loader, &words)?;
        ensure!(
            usage.succeeded(),
            "{} run failed under strace",
            NAMES[self.column]
        );
        let report = fs::read_to_string(report)?;
        let total = report
            .lines()
            .rev()
            .find(|line| line.trim_end().ends_with("total"));
        let calls = total.and_then(|line| line.split_whitespace().next()?.parse().ok());
        calls.context("no total in strace's report")
    }
}

/// Forks, executes `program` with `words`, waits: the time from before the one to after the other.
fn start(program: &Path, words: &[String]) -> Result<(Duration, Usage)> {
    let path = CString::new(program.as_os_str().as_encoded_bytes())?;
    let words = words.iter().map(|word| Ok(CString::new(word.as_str())?));
    let words: Vec<CString> = std::iter::once(Ok(path.clone()))
        .chain(words)
        .collect::<Result<_>>()?;
    let words = Strings::new(words);
    let environment = Strings::new(vec![c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]);
    let begin = Instant::now();
    let pid = match fork(0, None)? {
        Fork::Child => {
            let _ = lighter_sys::exec::exec(&path, &words, &environment);
            exit_now(127)
        }
        Fork::Parent { pid, .. } => pid,
    };
    let usage = usage::wait(pid)?;
    Ok((begin.elapsed(), usage))
}
