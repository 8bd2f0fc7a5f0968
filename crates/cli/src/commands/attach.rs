//! `attach` and `start`.

use lighter_client::AttachQuery;

use super::run::{detach_keys, done, watch};
use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::flag::{Flag, switch, value};
use crate::interact::{self, End, Keys, Streams, Watched};
use crate::{output, terminal};

static ATTACH: &[Flag] = &[
    value("detach-keys", "", "string", "Keys that leave it"),
    switch("no-stdin", "", "Leave standard input out"),
    switch("sig-proxy", "", "Pass signals on to it").or("true"),
];
static START: &[Flag] = &[
    switch("attach", "a", "Attach to its output, and pass signals on to it"),
    value("detach-keys", "", "string", "Keys that leave it"),
    switch("interactive", "i", "Attach to its standard input"),
];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["container attach", "attach"],
        usage: "[OPTIONS] CONTAINER",
        about: "Attach to the streams of a running container",
        takes: Takes::Exactly(1),
        mixed: true,
        flags: &[ATTACH],
        run: attach,
    },
    Command {
        paths: &["container start", "start"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Start containers that are stopped",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[START],
        run: start,
    },
];

fn attach(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let client = context.shared_client()?;
    let name = &parsed.args[0];
    let container = client.container_inspect(name)?;
    let state = &container.state;
    if !state.running {
        return Err(Failure::new(
            "You cannot attach to a stopped container, start it first",
        ));
    }
    if state.paused {
        return Err(Failure::new(
            "You cannot attach to a paused container, unpause it first",
        ));
    }
    if state.restarting {
        return Err(Failure::new(
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    let stdin = !parsed.is("no-stdin") && container.config.open_stdin;
    if stdin && container.config.tty && !terminal::is_input() {
        return Err(Failure::new(
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal",
        ));
    }
    let keys = detach_keys(context, parsed);
    let what = AttachQuery {
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: keys.clone(),
    };
    let streams = Streams {
        stdin,
        tty: container.config.tty,
        keys: Keys::parse(&keys)?,
    };
    let proxy = (!parsed.has("sig-proxy") || parsed.is("sig-proxy")) && !container.config.tty;
    let watched = Watched::new(proxy)?;
    let exit = client.container_wait(&container.id, "")?;
    let connection = client.container_attach(&container.id, &what)?;
    let raw = interact::raw(&streams);
    if let Some((rows, columns)) = terminal::size().filter(|_| streams.tty) {
        // Another size and back: what runs there draws itself anew.
        let _ = client.container_resize(&container.id, rows + 1, columns + 1);
    }
    watch(&client, &container.id, watched, streams.tty);
    let ended = interact::copy(connection, &streams);
    drop(raw);
    match ended? {
        End::Detached => Err(Failure::new("read escape sequence")),
        End::Closed => done(exit),
    }
}

fn start(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    if parsed.is("attach") || parsed.is("interactive") {
        return start_attached(context, parsed);
    }
    let client = context.client()?;
    let mut failed = Vec::new();
    let mut hint = None;
    for name in &parsed.args {
        match client.container_start(name, "") {
            Ok(()) => output::line(name)?,
            Err(error) => {
                let failure = Failure::from(error);
                output::error(format!("{}\n", failure.message));
                hint = hint.or(failure.hint);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(format!(
        "Error: failed to start containers: {}",
        failed.join(", ")
    ));
    failure.hint = hint;
    Err(failure)
}

fn start_attached(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let [name] = parsed.args.as_slice() else {
        return Err(Failure::new(
            "you cannot start and attach multiple containers at once",
        ));
    };
    let client = context.shared_client()?;
    let container = client.container_inspect(name)?;
    let config = &container.config;
    let keys = detach_keys(context, parsed);
    let stdin = parsed.is("interactive") && config.open_stdin;
    let what = AttachQuery {
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: keys.clone(),
    };
    let streams = Streams {
        stdin,
        tty: config.tty,
        keys: Keys::parse(&keys)?,
    };
    let watched = Watched::new(!config.tty)?;
    let connection = client.container_attach(&container.id, &what)?;
    let condition = if container.host_config.auto_remove {
        "removed"
    } else {
        "next-exit"
    };
    let exit = client.container_wait(&container.id, condition)?;
    client.container_start(&container.id, &keys)?;
    let raw = interact::raw(&streams);
    watch(&client, &container.id, watched, streams.tty);
    let ended = interact::copy(connection, &streams);
    drop(raw);
    match ended? {
        End::Detached => Ok(()),
        End::Closed => done(exit),
    }
}
