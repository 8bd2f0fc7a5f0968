//! `test`: everything that CI runs.

use std::process::Command;

use anyhow::Result;

use crate::run::{run, step};
use crate::{build, lab, layers, tidy};

/// What CI leaves out, in sight: what needs our own engine, which has no main yet. The same bodies run against the real Docker.
const LEFT_OUT: &str = "not ((package(lighter-e2e) and (test(stock_client) or test(our_client) or test(the_shim_is_the_parent))) \
    or (package(lighter-engine-http) and (test(ours::) or test(bytes_that_came_with_the_request))))";

pub fn main() -> Result<()> {
    step("set up", lab::ensure)?;
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("layers", layers::check)?;
    step("tidy", tidy::check)?;
    let dist = step("build", build::all)?;
    step("clippy", || {
        // Dead code is shown, not denied, while pieces are not joined: what nothing calls yet is "never used".
        let mut clippy = cargo();
        clippy.args(["clippy", "--release", "--locked", "--workspace", "--all-targets"]);
        run(clippy.args(["--", "-D", "warnings", "--force-warn", "dead_code"]))
    })?;
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
        nextest.args(["--filter-expr", LEFT_OUT]);
        println!(
            "left out until the chain is joined: the end-to-end session against our own engine ({LEFT_OUT})"
        );
        nextest.env("LIGHTER_DIST", &dist).env("LIGHTER_LAB", lab::dir()?);
        run(&mut nextest)
    })?;
    step("doc tests", || {
        run(cargo().args(["test", "--release", "--locked", "--workspace", "--doc", "--quiet"]))
    })?;
    Ok(())
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(build::root());
    cargo
}
