//! Commands as data.

use crate::args::{self, Parsed};
use crate::context::Context;
use crate::failure::Failure;
use crate::flag::Flag;

/// One command under all its names.
pub(crate) struct Command {
    /// Its names; the first is where it belongs: `container ls`, `ps`.
    pub(crate) paths: &'static [&'static str],
    /// What follows the name: `[OPTIONS] CONTAINER [CONTAINER...]`.
    pub(crate) usage: &'static str,
    /// What it does, for help.
    pub(crate) about: &'static str,
    /// How many arguments it takes.
    pub(crate) takes: Takes,
    /// Whether flags may follow arguments.
    pub(crate) mixed: bool,
    /// Its flags, in lists so that commands can share some.
    pub(crate) flags: &'static [&'static [Flag]],
    /// Does it.
    pub(crate) run: fn(&Context, &Parsed) -> Result<(), Failure>,
}

/// How many arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

impl Takes {
    /// What is wrong with `count` arguments.
    fn complaint(self, count: usize) -> Option<String> {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        match self {
            Self::Exactly(0) | Self::AtMost(0) if count > 0 => Some("accepts no arguments".into()),
            Self::Exactly(wanted) if count != wanted => {
                Some(format!("requires {wanted} argument{}", plural(wanted)))
            }
            Self::AtLeast(wanted) if count < wanted => {
                Some(format!("requires at least {wanted} argument{}", plural(wanted)))
            }
            Self::AtMost(most) if count > most => {
                Some(format!("requires at most {most} argument{}", plural(most)))
            }
            Self::Between(least, most) if count < least || count > most => Some(format!(
                "requires at least {least} and at most {most} argument{}",
                plural(most)
            )),
            _ => None,
        }
    }
}

impl Command {
    /// Parses `words`, which follow `path`. `None`: help was asked for.
    pub(crate) fn parse(
        &self,
        program: &str,
        path: &str,
        words: &[String],
    ) -> Result<Option<Parsed>, Failure> {
        let usage = match self.usage {
            "" => format!("Usage:  {program} {path}"),
            usage => format!("Usage:  {program} {path} {usage}"),
        };
        let parsed = args::parse(self.flags, self.mixed, words).map_err(|complaint| {
            let more = format!("Run '{program} {path} --help' for more information");
            Failure::new(format!("{complaint}\n\n{usage}\n\n{more}")).with_code(125)
        })?;
        if parsed.help {
            return Ok(None);
        }
        match self.takes.complaint(parsed.args.len()) {
            None => Ok(Some(parsed)),
            Some(complaint) => {
                // Docker's own inconsistency.
                let verb = if matches!(self.takes, Takes::AtLeast(_)) {
                    "See"
                } else {
                    "Run"
                };
                Err(Failure::new(format!(
                    "{program}: '{program} {path}' {complaint}\n\n{usage}\n\n{verb} '{program} {path} --help' for more information"
                )))
            }
        }
    }
}
