//! `run` and `create`.

use std::sync::Arc;

use lighter_client::{AttachQuery, Client, Error, JsonLines};
use lighter_engine_api::ContainerWaitResponse;
use lighter_stdx::error::chain;

use super::create::{create, request, with_help};
use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::interact::{self, End, Keys, Streams, Watched};
use crate::options::flags;
use crate::{output, terminal};

const USAGE: &str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["container run", "run"],
        usage: USAGE,
        about: "Make a container from an image and start it",
        takes: Takes::AtLeast(1),
        mixed: false,
        flags: &[flags::CONTAINER, flags::RUN],
        run,
    },
    Command {
        paths: &["container create", "create"],
        usage: USAGE,
        about: "Make a container from an image",
        takes: Takes::AtLeast(1),
        mixed: false,
        flags: &[flags::CONTAINER],
        run: |context, parsed| {
            let request = request(context, parsed, "create")?;
            output::line(create(context, parsed, request)?.id)
        },
    },
];

fn run(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    if parsed.is("detach") && parsed.has("attach") {
        return Err(Failure::new(
            "conflicting options: cannot specify both --attach and --detach",
        ));
    }
    let request = request(context, parsed, "run")?;
    if request.config.attach_stdin && request.config.tty && !terminal::is_input() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let helped = |failure: Failure| with_help(context, failure, "run");
    let failed = |error: Error| helped(error.into());
    let keys = detach_keys(context, parsed);
    // Before anything is made that a mistake would leave behind.
    let parsed_keys = Keys::parse(&keys).map_err(|complaint| helped(Failure::new(complaint)))?;
    let container = create(context, parsed, request).map_err(|failure| coded(helped(failure)))?;
    let client = context.shared_client()?;
    if parsed.is("detach") {
        client
            .container_start(&container.id, "")
            .map_err(|error| start_failure(context, error))?;
        return output::line(container.id);
    }
    let config = &container.request.config;
    let what = AttachQuery {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        logs: false,
        detach_keys: keys.clone(),
    };
    let streams = Streams {
        stdin: config.attach_stdin,
        tty: config.tty,
        keys: parsed_keys,
    };
    let proxy = !parsed.has("sig-proxy") || parsed.is("sig-proxy");
    let watched = Watched::new(proxy)?;
    let connection = client.container_attach(&container.id, &what).map_err(failed)?;
    // Before the start, or a short life would be missed.
    let removes = container.request.host_config.auto_remove;
    let condition = if removes { "removed" } else { "next-exit" };
    let exit = client.container_wait(&container.id, condition).map_err(failed)?;
    if let Err(error) = client.container_start(&container.id, &keys) {
        if removes {
            // It is gone when this returns.
            let _ = exit_code(exit);
        }
        return Err(start_failure(context, error));
    }
    let raw = interact::raw(&streams);
    watch(&client, &container.id, watched, streams.tty);
    let ended = interact::copy(connection, &streams);
    drop(raw);
    match ended? {
        End::Detached => Ok(()),
        End::Closed => done(exit),
    }
}

/// The keys that were asked for here, or else in the user's configuration.
pub(super) fn detach_keys(context: &Context, parsed: &Parsed) -> String {
    let given = parsed.some("detach-keys");
    given.unwrap_or(&context.config.detach_keys).to_owned()
}

fn start_failure(context: &Context, error: Error) -> Failure {
    coded(with_help(context, error.into(), "run"))
}

/// Why the process did not start decides the exit code, as for a shell: Docker's client looks for these words.
fn coded(failure: Failure) -> Failure {
    let says = |text: &str| failure.message.contains(text);
    let code = if says("executable file not found") || says("no such file or directory") {
        127
    } else if says("permission denied") || says("is a directory") {
        126
    } else {
        125
    };
    failure.with_code(code)
}

/// Passes on signals and the window's size for as long as this process lives.
pub(super) fn watch(client: &Arc<Client>, container: &str, watched: Watched, tty: bool) {
    let (client, container) = (Arc::clone(client), container.to_owned());
    std::thread::spawn(move || {
        let resize = || {
            if let Some((rows, columns)) = terminal::size().filter(|_| tty) {
                // Too early or too late is nobody's fault.
                let _ = client.container_resize(&container, rows, columns);
            }
        };
        resize();
        watched.serve(resize, |signal| {
            // One that ended meanwhile takes no signal.
            let _ = client.container_kill(&container, signal);
        });
    });
}

/// Waits for the exit; its code is this process's.
pub(super) fn done(exit: JsonLines<ContainerWaitResponse>) -> Result<(), Failure> {
    match exit_code(exit)? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

fn exit_code(mut exit: JsonLines<ContainerWaitResponse>) -> Result<u8, Failure> {
    let lost = |why: String| Failure::new(format!("Error waiting for container: {why}")).with_code(125);
    match exit.next() {
        Some(Ok(ContainerWaitResponse {
            error: Some(error), ..
        })) if !error.message.is_empty() => Err(lost(error.message)),
        // The kernel keeps eight bits of it.
        Some(Ok(answer)) => Ok((answer.status_code & 0xff) as u8),
        Some(Err(error)) => Err(lost(chain(&error))),
        None => Err(lost("unexpected EOF".into())),
    }
}
