//! The client: `lighter` speaks Docker's command line to any engine of its API.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use lighter_cli::Environment;

fn main() -> ExitCode {
    let text = |word: OsString| word.to_string_lossy().into_owned();
    let mut args = std::env::args_os().map(text);
    let called = args.next().unwrap_or_default();
    // Linked as `docker` it says so in its messages.
    let program = match Path::new(&called).file_name() {
        Some(name) if name == "docker" => "docker",
        _ => "lighter",
    };
    ExitCode::from(lighter_cli::main(Environment {
        program: program.into(),
        args: args.collect(),
        variables: std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        directory: std::env::current_dir().unwrap_or_default(),
        clock: lighter_cli::Clock::system(),
    }))
}
