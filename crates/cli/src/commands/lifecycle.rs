//! Commands that do one thing to each of some containers.

use lighter_client::{Client, Error};

use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::{Failure, Failures};
use crate::flag::{Flag, alias, switch, value};
use crate::output;

const SOME: &str = "[OPTIONS] CONTAINER [CONTAINER...]";

static STOP: &[Flag] = &[
    value("signal", "s", "string", "Signal to send first"),
    value("timeout", "t", "int", "Seconds until it is killed"),
    alias("time", "int", "timeout"),
];
static KILL: &[Flag] = &[value("signal", "s", "string", "Signal to send")];
static REMOVE: &[Flag] = &[
    switch("force", "f", "Kill it first, if it runs"),
    switch("link", "l", "Remove the link of that name"),
    switch("volumes", "v", "Remove its anonymous volumes too"),
];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["container stop", "stop"],
        usage: SOME,
        about: "Stop containers",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[STOP],
        run: |context, parsed| stop(context, parsed, "stop"),
    },
    Command {
        paths: &["container restart", "restart"],
        usage: SOME,
        about: "Stop containers and start them again",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[STOP],
        run: |context, parsed| stop(context, parsed, "restart"),
    },
    Command {
        paths: &["container kill", "kill"],
        usage: SOME,
        about: "Send a signal to containers",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[KILL],
        run: |context, parsed| {
            let signal = parsed.text("signal");
            each(context, &parsed.args, |client, name| {
                client.container_kill(name, signal)
            })
        },
    },
    Command {
        paths: &["container rm", "container remove", "rm"],
        usage: SOME,
        about: "Remove containers",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[REMOVE],
        run: remove,
    },
    Command {
        paths: &["container pause", "pause"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Hold all processes of containers",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[],
        run: |context, parsed| each(context, &parsed.args, Client::container_pause),
    },
    Command {
        paths: &["container unpause", "unpause"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Let all processes of containers go on",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[],
        run: |context, parsed| each(context, &parsed.args, Client::container_unpause),
    },
    Command {
        paths: &["container rename", "rename"],
        usage: "CONTAINER NEW_NAME",
        about: "Give a container another name",
        takes: Takes::Exactly(2),
        mixed: true,
        flags: &[],
        run: rename,
    },
    Command {
        paths: &["container wait", "wait"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Wait until containers end, and print their exit codes",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[],
        run: wait,
    },
];

fn stop(context: &Context, parsed: &Parsed, verb: &str) -> Result<(), Failure> {
    let seconds = parsed.has("timeout").then(|| parsed.int("timeout"));
    let signal = parsed.text("signal");
    each(context, &parsed.args, |client, name| {
        client.container_stop(verb, name, signal, seconds)
    })
}

/// Does it to all at once; prints the names of those it worked for, in order, then what failed.
fn each(
    context: &Context,
    names: &[String],
    action: impl Fn(&Client, &str) -> Result<(), Error> + Sync,
) -> Result<(), Failure> {
    let client = context.client()?;
    let results: Vec<Result<(), Error>> = match names {
        [name] => vec![action(client, name)],
        names => {
            // Before the threads, so that they do not each negotiate.
            client.api_version();
            std::thread::scope(|scope| {
                let threads: Vec<_> = names
                    .iter()
                    .map(|name| scope.spawn(|| action(client, name)))
                    .collect();
                let gone = || Err(Error::Answer("a thread ended early".into()));
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|_| gone()))
                    .collect()
            })
        }
    };
    let mut failures = Failures::default();
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(()) => output::line(name)?,
            Err(error) => failures.add(error),
        }
    }
    failures.finish()
}

fn remove(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let (force, volumes, link) = (parsed.is("force"), parsed.is("volumes"), parsed.is("link"));
    if parsed.args.iter().any(|name| name.trim_matches('/').is_empty()) {
        return Err(Failure::new("Container name cannot be empty"));
    }
    let names: Vec<String> = parsed
        .args
        .iter()
        .map(|name| name.trim_matches('/').to_owned())
        .collect();
    if !force {
        return each(context, &names, |client, name| {
            client.container_remove(name, force, volumes, link)
        });
    }
    let client = context.client()?;
    client.api_version();
    let results: Vec<(&String, Result<(), Error>)> = std::thread::scope(|scope| {
        let remove = |name: &String| client.container_remove(name, force, volumes, link);
        match names.as_slice() {
            [name] => vec![(name, remove(name))],
            names => {
                let threads: Vec<_> = names
                    .iter()
                    .map(|name| (name, scope.spawn(move || remove(name))))
                    .collect();
                let gone = || Err(Error::Answer("a thread ended early".into()));
                threads
                    .into_iter()
                    .map(|(name, thread)| (name, thread.join().unwrap_or_else(|_| gone())))
                    .collect()
            }
        }
    });
    let mut failures = Failures::default();
    for (name, result) in results {
        match result {
            Ok(()) => output::line(name)?,
            // What is to be gone is gone.
            Err(error) if error.is_not_found() => output::error(format!("{error}\n")),
            Err(error) => failures.add(error),
        }
    }
    failures.finish()
}

fn rename(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let (old, new) = (parsed.args[0].trim(), parsed.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    context.client()?.container_rename(old, new).map_err(|error| {
        let mut failure = Failure::from(error);
        failure.message = format!(
            "{}\nError: failed to rename container named {old}",
            failure.message
        );
        failure
    })
}

fn wait(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    crate::interact::end_by_signals()?;
    let client = context.client()?;
    let mut failures = Failures::default();
    for name in &parsed.args {
        let ended = client.container_wait(name, "").and_then(|mut ends| {
            ends.next()
                .unwrap_or_else(|| Err(Error::Answer("unexpected EOF".into())))
        });
        match ended {
            Ok(exit) => output::line(exit.status_code.to_string())?,
            Err(error) => failures.add(error),
        }
    }
    failures.finish()
}
