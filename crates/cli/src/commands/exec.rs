//! `exec`.

use std::collections::BTreeMap;
use std::sync::Arc;

use lighter_engine_api::{ExecCreateRequest, ExecStartRequest};

use super::run::detach_keys;
use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::flag::{Flag, switch, value};
use crate::interact::{self, End, Keys, Streams, Watched};
use crate::{options, terminal};

static EXEC: &[Flag] = &[
    switch("detach", "d", "Leave it in the background"),
    value("detach-keys", "", "string", "Keys that leave it"),
    value("env", "e", "list", "Set a variable of its environment"),
    value("env-file", "", "list", "Read variables from a file"),
    switch("interactive", "i", "Keep STDIN open even when nobody is attached"),
    switch("privileged", "", "Give it all privileges"),
    switch("tty", "t", "Give it a terminal"),
    value(
        "user",
        "u",
        "string",
        "User and group (name or id)[:(name or id)]",
    ),
    value("workdir", "w", "string", "Working directory"),
];

pub(super) static COMMANDS: &[Command] = &[Command {
    paths: &["container exec", "exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run a command in a running container",
    takes: Takes::AtLeast(2),
    mixed: false,
    flags: &[EXEC],
    run: exec,
}];

fn exec(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let container = &parsed.args[0];
    let detach = parsed.is("detach");
    let keys = detach_keys(context, parsed);
    let parsed_keys = Keys::parse(&keys)?;
    let variables = &context.environment.variables;
    let request = ExecCreateRequest {
        user: parsed.text("user").to_owned(),
        privileged: parsed.is("privileged"),
        tty: parsed.is("tty"),
        console_size: console_size(parsed),
        attach_stdin: !detach && parsed.is("interactive"),
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach,
        detach_keys: if detach { String::new() } else { keys },
        env: environment(parsed, variables)?,
        working_dir: parsed.text("workdir").to_owned(),
        cmd: Some(parsed.args[1..].to_vec()),
    };
    let client = context.shared_client()?;
    if !detach && request.attach_stdin && request.tty && !terminal::is_input() {
        // A container that is not there is the greater mistake.
        client.container_inspect(container)?;
        return Err(Failure::new("the input device is not a TTY"));
    }
    let id = client.exec_create(container, &request)?;
    let start = ExecStartRequest {
        detach,
        tty: request.tty,
        console_size: request.console_size,
    };
    if detach {
        return Ok(client.exec_start_detached(&id, &start)?);
    }
    let streams = Streams {
        stdin: request.attach_stdin,
        tty: request.tty,
        keys: parsed_keys,
    };
    let watched = request.tty.then(|| Watched::new(false)).transpose()?;
    let connection = client.exec_start(&id, &start)?;
    let raw = interact::raw(&streams);
    if let Some(watched) = watched {
        let (client, id) = (Arc::clone(&client), id.clone());
        std::thread::spawn(move || {
            let resize = || {
                if let Some((rows, columns)) = terminal::size() {
                    // Too early or too late is nobody's fault.
                    let _ = client.exec_resize(&id, rows, columns);
                }
            };
            resize();
            watched.serve(resize, |_| {});
        });
    }
    let ended = interact::copy(connection, &streams);
    drop(raw);
    if ended? == End::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    match client.exec_inspect(&id)?.exit_code.unwrap_or(0) {
        0 => Ok(()),
        // The kernel keeps eight bits of it.
        code => Err(Failure::silent((code & 0xff) as u8)),
    }
}

fn console_size(parsed: &Parsed) -> Option<[u32; 2]> {
    let (rows, columns) = terminal::size().filter(|_| parsed.is("tty"))?;
    Some([rows.into(), columns.into()])
}

fn environment(
    parsed: &Parsed,
    variables: &BTreeMap<String, String>,
) -> Result<Option<Vec<String>>, Failure> {
    let all = options::environment(parsed, variables)?;
    Ok((!all.is_empty()).then_some(all))
}
