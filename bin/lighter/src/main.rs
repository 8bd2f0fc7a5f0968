//! The client: `lighter` speaks Docker's command line to any engine of its API.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
