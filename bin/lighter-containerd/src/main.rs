//! The layer: `lighter-containerd` serves containerd's API.

mod activation;
mod args;
mod check;
mod daemon;
mod log;
mod publish;

use std::process::ExitCode;

use anyhow::Context as _;
use args::{Args, Command, Content};
use clap::Parser as _;

#[expect(clippy::print_stderr, reason = "a main may")]
fn main() -> ExitCode {
    match begin(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lighter-containerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a main may")]
fn begin(mut args: Args) -> anyhow::Result<ExitCode> {
    if let Some(name) = args.abort_at.take() {
        lighter_stdx::failpoint::arm(name);
    }
    let told = args.told()?;
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let built = builder.worker_threads(2).enable_all().build();
        built.context("starting the runtime")
    };
    match args.command {
        Some(Command::Config(_)) => print!("{}", told.to_toml()),
        Some(Command::Content(Content::Check { repair })) => return check::run(told.root(), repair),
        Some(Command::Publish { namespace, topic }) => {
            runtime()?.block_on(publish::run(&told.address, &namespace, &topic))?;
        }
        None => {
            log::init(told.level());
            for key in &told.ignored {
                tracing::warn!(key, "the configuration has a key that means nothing here");
            }
            runtime()?.block_on(daemon::run(told))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
