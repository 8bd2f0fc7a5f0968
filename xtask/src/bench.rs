//! `bench`: ours beside the real Docker, in one run, samples interleaved; a table, JSON and an SVG plot in target/bench.
//!
//! Each sample is a process start of a client, timed from outside; each engine lives in a private host with a registry of its own.

mod columns;
mod containerd;
mod goals;
mod http;
mod measures;
mod memory;
mod report;
mod runtime;
mod stats;
mod svg;

use anyhow::{Context as _, Result, bail};

use crate::run::step;
use crate::{build, lab};
use columns::Columns;
use stats::Series;

const USAGE: &str = "\
usage: cargo xtask bench [--quick] [--no-build] [--only NAME]...
       cargo xtask bench runtime [--quick] [--no-build] [--rounds N]
       cargo xtask bench containerd [--quick] [--no-build] [--only NAME]...

  --quick       few rounds: to see that it runs, not to quote
  --no-build    measure what lies in target/dist
  --only NAME   measures whose name contains NAME";

/// How much of it is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    quick: bool,
    built: bool,
    only: Vec<String>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match *word {
                "--quick" => options.quick = true,
                "--no-build" => options.built = true,
                "--only" => options
                    .only
                    .push((*rest.next().context("--only needs a name")?).to_owned()),
                _ => bail!("unknown word `{word}`\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// Whether the measure `name` is asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only))
    }

    /// Samples of each column: few when quick.
    fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(6).max(3) } else { full }
    }
}

pub fn main(words: &[&str]) -> Result<()> {
    match words {
        ["runtime", rest @ ..] => return runtime::main(rest),
        ["containerd", rest @ ..] => return containerd::main(rest),
        _ => {}
    }
    let options = Options::parse(words)?;
    step("set up", lab::ensure)?;
    if !options.built {
        // What cannot be built is measured as "not built", beside the rest.
        if let Err(error) = step("build", build::all) {
            println!("{error:#}");
        }
    }
    let machine = report::Machine::now();
    println!("{machine}");
    let mut all: Vec<Series> = Vec::new();
    // Engines of their own, before the long-lived ones take memory and time.
    all.extend(measures::fresh(&options));
    let columns = step("engines", Columns::start)?;
    for (column, reason) in columns.absent() {
        println!("{column}: {reason}");
    }
    all.extend(measures::long_lived(&columns, &options));
    drop(columns);
    let goals = goals::check(&all);
    report::print(&all, &goals);
    let dir = build::root().join("target/bench");
    report::write(&dir, &machine, &options, &all, &goals)?;
    println!("\nwritten: target/bench/bench.json, target/bench/bench.svg");
    Ok(())
}

/// What was left by containers of our cgroup, in every hierarchy.
fn remove_cgroups(cgroup: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    for dir in hierarchies
        .map(|entry| entry.path())
        .chain(["/sys/fs/cgroup".into()])
    {
        let dir = dir.join(cgroup.trim_start_matches('/'));
        let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for below in below.filter(|entry| entry.path().is_dir()) {
            let _ = std::fs::remove_dir(below.path());
        }
        let _ = std::fs::remove_dir(dir);
    }
}
