//! `test`: everything that CI runs.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{run, step};
use crate::{build, lab, layers, tidy};

pub fn main(words: &[&str]) -> Result<()> {
    let full = match words {
        [] => false,
        ["--full"] => true,
        _ => bail!("usage: cargo xtask test [--full]"),
    };
    step("set up", lab::ensure)?;
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("layers", layers::check)?;
    step("tidy", tidy::check)?;
    let dist = step("build", build::all)?;
    step("clippy", || {
        run(cargo().args(["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    step("tests", || {
        let mut nextest = cargo();
        nextest.args(["nextest", "run", "--locked", "--cargo-profile", "release", "--workspace", "--no-fail-fast"]);
        nextest.env("LIGHTER_DIST", &dist).env("LIGHTER_LAB", lab::dir()?);
        if full {
            nextest.env("LIGHTER_FULL", "1");
        }
        run(&mut nextest)
    })?;
    step("doc tests", || run(cargo().args(["test", "--release", "--locked", "--workspace", "--doc", "--quiet"])))?;
    Ok(())
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(build::root());
    cargo
}
