//! `test`: everything that CI runs.

use std::process::Command;

use anyhow::Result;

use crate::run::{run, step};
use crate::{build, lab, layers, tidy};

/// Rounds of each random suite: few where everything is run on each change, many where time is no matter.
const FEW: u32 = 3;
const MANY: u32 = 25;

/// The seed of every run but `--full`: a failure that one change brings is not another's.
const SEED: u64 = 28;

pub fn main(full: bool) -> Result<()> {
    step("set up", lab::ensure)?;
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("layers", layers::check)?;
    step("tidy", tidy::check)?;
    let dist = step("build", build::all)?;
    step("clippy", || {
        let mut clippy = cargo();
        clippy.args(["clippy", "--release", "--locked", "--workspace", "--all-targets"]);
        run(clippy.args(["--", "-D", "warnings"]))
    })?;
    let quick = quick_to_compile()?;
    step("tests", || {
        let mut nextest = cargo();
        nextest.args([
            "nextest",
            "run",
            "--locked",
            "--cargo-profile",
            "release",
            "--workspace",
            "--no-fail-fast",
        ]);
        nextest.args(&quick);
        // Most wait for another process most of the time.
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        nextest.args(["--test-threads", &(cores + cores.div_ceil(2)).to_string()]);
        let rounds = if full { MANY } else { FEW };
        let seed = match std::env::var("LIGHTER_SEED") {
            Ok(seed) => seed,
            Err(_) if full => std::process::id().to_string(),
            Err(_) => SEED.to_string(),
        };
        println!("random suites: {rounds} rounds each, LIGHTER_SEED={seed}");
        nextest
            .env("LIGHTER_ROUNDS", rounds.to_string())
            .env("LIGHTER_SEED", seed);
        nextest.env("LIGHTER_DIST", &dist).env("LIGHTER_LAB", lab::dir()?);
        run(&mut nextest)
    })?;
    step("doc tests", || {
        let mut test = cargo();
        test.args(["test", "--release", "--locked", "--workspace", "--doc", "--quiet"]);
        run(test.args(&quick))
    })?;
    Ok(())
}

/// Settings for cargo with which our own crates are compiled for the tests: what is shipped was built before, and is what the suites
/// run; optimising all of it again for the tests of each crate would take minutes. What comes from elsewhere stays as it was built.
fn quick_to_compile() -> Result<Vec<String>> {
    let settings = layers::packages()?.into_iter().flat_map(|name| {
        [
            "--config".to_owned(),
            format!("profile.release.package.{name}.opt-level=0"),
        ]
    });
    Ok(settings.collect())
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(build::root());
    cargo
}
