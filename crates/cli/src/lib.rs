//! The command line: flags as data, output, hints, exit codes.
//!
//! [`main`] is all there is: it reads the words, finds the command in the table ([`commands`]), and returns the exit
//! code. Standard streams are this process's own; environment, directory and clock are passed in.

mod args;
mod command;
mod commands;
mod config;
mod context;
mod failure;
mod flag;
mod help;
mod interact;
mod options;
mod output;
mod progress;
mod root;
pub(crate) mod show;
mod slip;
mod terminal;
mod time;
mod value;

pub use context::Environment;
pub use lighter_stdx::clock::Clock;

/// Runs the command that `environment` names; the process's exit code.
pub fn main(environment: Environment) -> u8 {
    root::run(environment)
}
