//! The engine: `lighterd` serves Docker's Engine API.

mod args;
mod daemon;
mod pidfile;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

#[expect(clippy::print_stderr, reason = "a main may")]
fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to be told that it cannot be told. dockerd ends so with 1, clap would with 2.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let served = args.config().and_then(|config| match config {
        // Only the configuration was to be looked at.
        None => Ok(()),
        Some(config) => runtime
            .context("starting the runtime")?
            .block_on(daemon::run(config)),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lighterd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
