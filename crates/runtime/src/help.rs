//! What `--help` prints, in the sections that runc's has.

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::flags::{COMMANDS, Command, Count, Flag, GLOBAL, Takes};

/// Of the whole program.
pub(crate) fn program() -> String {
    let mut text = format!(
        "NAME:\n   lighter-runc - Open Container Initiative runtime\n\n\
         Makes and runs the container that a bundle describes: a directory with config.json and a root filesystem.\n\n    \
         # lighter-runc run [ -b bundle ] <container-id>\n\n\
         USAGE:\n   lighter-runc [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {}\n\nCOMMANDS:\n",
        env!("CARGO_PKG_VERSION")
    );
    for command in COMMANDS {
        let _ = writeln!(text, "   {:<10}  {}", command.name, command.summary);
    }
    text += "   help, h     show this, or the help of one command\n\nGLOBAL OPTIONS:\n";
    flags(&mut text, GLOBAL);
    text
}

/// Of one command.
pub(crate) fn command(command: &Command) -> String {
    let mut text = format!(
        "NAME:\n   lighter-runc {} - {}\n\nUSAGE:\n   lighter-runc {}{}{}\n",
        command.name,
        command.summary,
        command.name,
        if command.flags.is_empty() {
            " "
        } else {
            " [command options] "
        },
        command.arguments,
    );
    if !command.text.is_empty() {
        let _ = write!(
            text,
            "\nDESCRIPTION:\n   {}\n",
            command.text.replace('\n', "\n   ")
        );
    }
    if !command.flags.is_empty() {
        text += "\nOPTIONS:\n";
        flags(&mut text, command.flags);
    }
    text
}

fn flags(text: &mut String, flags: &[Flag]) {
    let shown = flags.iter().filter(|flag| !flag.help.is_empty());
    let left = |flag: &Flag| {
        let value = if flag.takes == Takes::Nothing {
            ""
        } else {
            " value"
        };
        let names = flag.names.iter().map(|name| {
            let dashes = if name.len() == 1 { "-" } else { "--" };
            format!("{dashes}{name}{value}")
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let width = shown.clone().map(|flag| left(flag).len()).max().unwrap_or(0);
    for flag in shown {
        let _ = writeln!(text, "   {:width$}  {}", left(flag), flag.help);
    }
}

/// Whether a command was given as many arguments as it takes; told as runc does. `program` is the name we were called by.
pub(crate) fn check_count(program: &str, command: &Command, given: usize) -> Result<()> {
    let wanted = match command.count {
        Count::Exactly(count) if given != count => format!("exactly {count}"),
        Count::AtLeast(count) | Count::Between(count, _) if given < count => format!("a minimum of {count}"),
        Count::Between(_, count) if given > count => format!("a maximum of {count}"),
        _ => return Ok(()),
    };
    Err(Error::Usage(format!(
        "{program}: {:?} requires {wanted} argument(s)",
        command.name
    )))
}
