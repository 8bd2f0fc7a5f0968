//! The program itself, so that the tests of this crate have it built beside them.

#[path = "../../../bin/lighter-runc/src/main.rs"]
mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
