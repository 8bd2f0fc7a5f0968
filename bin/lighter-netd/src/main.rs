//! The data plane: `lighter-netd --root DIR` is the keeper, which starts `lighter-netd worker`.

use std::path::PathBuf;
use std::process::ExitCode;

use lighter_netd::{keeper, worker};

const USAGE: &str = "usage: lighter-netd --root DIR";

#[expect(clippy::print_stderr, reason = "a main may")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let result = match arguments
        .iter()
        .map(|argument| argument.to_str())
        .collect::<Vec<_>>()[..]
    {
        [Some("worker")] => worker::run(),
        [Some("--root"), _] => keeper::run(options(&arguments[1], false)),
        [Some("--root"), _, Some("--inherit")] => keeper::run(options(&arguments[1], true)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lighter-netd: {}", lighter_stdx::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn options(root: &std::ffi::OsStr, inherit: bool) -> keeper::Options {
    let program = std::env::current_exe().unwrap_or_default();
    // The kernel marks a file that was replaced; its name is what the new one has.
    let text = program.to_string_lossy();
    let program = text
        .strip_suffix(" (deleted)")
        .map_or_else(|| program.clone(), PathBuf::from);
    keeper::Options {
        root: root.into(),
        program,
        inherit,
    }
}
