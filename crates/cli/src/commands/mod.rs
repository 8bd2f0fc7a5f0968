//! The table of all commands, and what each does.

mod attach;
mod create;
mod exec;
mod images;
mod lifecycle;
mod logs;
mod lookups;
mod run;
mod shown;

use crate::command::Command;

/// All commands there are.
pub(crate) static COMMANDS: &[&[Command]] = &[
    run::COMMANDS,
    exec::COMMANDS,
    lifecycle::COMMANDS,
    attach::COMMANDS,
    lookups::COMMANDS,
    logs::COMMANDS,
    images::COMMANDS,
    shown::COMMANDS,
];
