//! runc's command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::arguments::{Known, Parsed};
use crate::error::{Error, Result};
use crate::state::{Home, Record, Status};
use crate::{checkpoint, clock, commands, create, events, exec, features, foreground, group, seal, update};

/// What the main passes in: libraries do not look for themselves.
#[derive(Debug)]
pub struct Input {
    /// With the program's name.
    pub arguments: Vec<OsString>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The clock.
    pub now: SystemTime,
    /// Working directory, where bundles are by default.
    pub directory: PathBuf,
}

/// What the main prints and answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For stdout.
    pub text: String,
    /// For stderr.
    pub error: String,
    /// Exit code.
    pub code: u8,
}

const GLOBAL: &[Known] = &[
    (&["root"], true),
    (&["log"], true),
    (&["log-format"], true),
    (&["debug"], false),
    (&["systemd-cgroup"], false),
    (&["rootless"], true),
    (&["criu"], true),
    (&["version", "v"], false),
    (&["help", "h"], false),
];

const CREATE: &[Known] = &[
    (&["bundle", "b"], true),
    (&["console-socket"], true),
    (&["pidfd-socket"], true),
    (&["pid-file"], true),
    (&["no-pivot"], false),
    (&["no-new-keyring"], false),
    (&["preserve-fds"], true),
    (&["detach", "d"], false),
    (&["keep"], false),
    (&["no-subreaper"], false),
];

const EXEC: &[Known] = &[
    (&["console-socket"], true),
    (&["pidfd-socket"], true),
    (&["cwd"], true),
    (&["env", "e"], true),
    (&["tty", "t"], false),
    (&["user", "u"], true),
    (&["additional-gids", "g"], true),
    (&["process", "p"], true),
    (&["detach", "d"], false),
    (&["pid-file"], true),
    (&["process-label"], true),
    (&["apparmor"], true),
    (&["no-new-privs"], false),
    (&["cap", "c"], true),
    (&["preserve-fds"], true),
    (&["cgroup"], true),
    (&["ignore-paused"], false),
];

const USAGE: &str = "\
NAME:
   lighter-runc - OCI runtime

USAGE:
   lighter-runc [global options] command [command options] [arguments...]

COMMANDS:
   create, start, run, state, list, kill, delete, exec, ps, pause, resume, update, features, spec

GLOBAL OPTIONS:
   --root DIR          where the state of containers is kept (default: /run/lighter-runc)
   --log FILE          where errors are logged (default: stderr)
   --log-format FORMAT text or json
   --debug             log more
   --rootless VALUE    ignored: decided by what is possible
   --version, -v       print the version
";

/// Runs one command.
pub fn run(input: &Input) -> Output {
    let arguments: Vec<String> = input
        .arguments
        .iter()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let global = match Parsed::new(GLOBAL, &arguments) {
        Ok(global) => global,
        Err(error) => return failure(&error.to_string()),
    };
    match command(input, &global) {
        Ok(output) => output,
        Err(error) => {
            let text = prefix(&global) + &lighter_stdx::error::chain(&error);
            if let Some(path) = global.value("log") {
                // The message is on stderr anyway.
                let _ = log(
                    Path::new(path),
                    global.value("log-format") == Some("json"),
                    &text,
                    input.now,
                );
            }
            failure(&text)
        }
    }
}

fn failure(text: &str) -> Output {
    Output {
        error: format!("{text}\n"),
        code: 1,
        ..Output::default()
    }
}

/// What runc puts in front of the errors of some commands.
fn prefix(global: &Parsed) -> String {
    match global.rest.first().map(String::as_str) {
        Some(command @ ("create" | "run")) => format!("runc {command} failed: "),
        Some("exec") => "exec failed: ".into(),
        _ => String::new(),
    }
}

/// One line a message, in logrus's shape: containerd and podman read the last of level error.
fn log(path: &Path, json: bool, text: &str, now: SystemTime) -> std::io::Result<()> {
    use std::io::Write;
    let time = clock::rfc3339(now);
    let quoted = serde_json::to_string(text)?;
    let line = if json {
        format!("{{\"level\":\"error\",\"msg\":{quoted},\"time\":\"{time}\"}}\n")
    } else {
        format!("time=\"{time}\" level=error msg={quoted}\n")
    };
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?
        .write_all(line.as_bytes())
}

fn text(text: String) -> Result<Output> {
    Ok(Output {
        text,
        ..Output::default()
    })
}

fn command(input: &Input, global: &Parsed) -> Result<Output> {
    if global.is_set("version") {
        return text(features::version());
    }
    let Some((name, arguments)) = global.rest.split_first() else {
        return text(USAGE.into());
    };
    if global.is_set("help") {
        return text(USAGE.into());
    }
    let root = global
        .value("root")
        .map_or_else(|| default_root(input), PathBuf::from);
    let root = input.directory.join(root);
    let driver = group::Driver::new(
        global.is_set("systemd-cgroup"),
        global.value("rootless"),
        &input.environment,
    )?;
    let context = Caller { input, root, driver };
    match name.as_str() {
        "create" => context.create(arguments, false),
        "run" => context.create(arguments, true),
        "start" => {
            let (home, record) = context.container(&[], arguments)?.0;
            commands::start(&home, &record)?;
            Ok(Output::default())
        }
        "state" => {
            let (home, record) = context.container(&[], arguments)?.0;
            text(features::state(&home, &record)?)
        }
        "list" => {
            let known: &[Known] = &[(&["format", "f"], true), (&["quiet", "q"], false)];
            let parsed = Parsed::new(known, arguments)?;
            text(features::list(
                &context.root,
                parsed.value("format").unwrap_or("table"),
                parsed.is_set("quiet"),
            )?)
        }
        "kill" => {
            let ((home, record), parsed) = context.container(&[(&["all", "a"], false)], arguments)?;
            let signal = commands::signal(parsed.rest.get(1).map_or("SIGTERM", String::as_str))?;
            commands::kill(&home, &record, signal, parsed.is_set("all"))?;
            Ok(Output::default())
        }
        "delete" => {
            let parsed = Parsed::new(&[(&["force", "f"], false)], arguments)?;
            let home = Home::new(&context.root, first(&parsed)?)?;
            // runc takes the flag after the name too.
            let force =
                parsed.is_set("force") || parsed.rest[1..].iter().any(|a| a == "--force" || a == "-f");
            commands::delete(&home, force)?;
            Ok(Output::default())
        }
        "exec" => context.exec(arguments),
        "ps" => {
            let ((_, record), parsed) = context.container(&[(&["format", "f"], true)], arguments)?;
            text(features::ps(
                &record,
                parsed.value("format").unwrap_or("table"),
                &parsed.rest[1..],
            )?)
        }
        "pause" | "resume" => {
            let (home, record) = context.container(&[], arguments)?.0;
            commands::freeze(&home, &record, name == "pause")?;
            Ok(Output::default())
        }
        "update" => {
            let ((home, mut record), parsed) = context.container(update::FLAGS, arguments)?;
            update::update(&home, &mut record, &update::parse(&parsed)?)?;
            Ok(Output::default())
        }
        "features" => text(features::features()),
        "spec" => {
            let parsed = Parsed::new(&[(&["bundle", "b"], true), (&["rootless"], false)], arguments)?;
            let bundle = input.directory.join(parsed.value("bundle").unwrap_or("."));
            features::write_spec(&bundle, parsed.is_set("rootless"))?;
            Ok(Output::default())
        }
        "help" => text(USAGE.into()),
        "checkpoint" => {
            let ((home, record), parsed) = context.container(checkpoint::CHECKPOINT, arguments)?;
            let options = checkpoint::Options::parse(&parsed, global.value("criu"), &input.directory)?;
            checkpoint::checkpoint(&home, &record, &options)?;
            Ok(Output::default())
        }
        "restore" => context.restore(arguments, global.value("criu")),
        "events" => {
            let ((home, record), parsed) = context.container(events::FLAGS, arguments)?;
            events::events(&home, &record, &events::Options::parse(&parsed)?)?;
            Ok(Output::default())
        }
        other => Err(Error::Usage(format!("No help topic for '{other}'"))),
    }
}

fn first(parsed: &Parsed) -> Result<&str> {
    parsed
        .rest
        .first()
        .map(String::as_str)
        .ok_or_else(|| Error::Usage("container id cannot be empty".into()))
}

fn variable<'a>(input: &'a Input, name: &str) -> Option<&'a str> {
    let found = input.environment.iter().find(|(key, _)| key == name);
    found.and_then(|(_, value)| value.to_str())
}

/// Where containers are kept by default: an ordinary user, also one who is root in a user namespace, has a place of their
/// own.
fn default_root(input: &Input) -> PathBuf {
    let own = variable(input, "XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match own {
        Some(dir)
            if crate::ids::ordinary()
                || (variable(input, "USER") != Some("root") && crate::ids::inside()) =>
        {
            Path::new(dir).join("lighter-runc")
        }
        _ => PathBuf::from("/run/lighter-runc"),
    }
}

/// What every command needs.
struct Caller<'a> {
    input: &'a Input,
    root: PathBuf,
    driver: group::Driver,
}

impl Caller<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        variable(self.input, name)
    }

    /// The container that the first argument after the options names. Options may also follow the name, as runc has it.
    fn container(&self, known: &[Known], arguments: &[String]) -> Result<((Home, Record), Parsed)> {
        let parsed = Parsed::new(known, arguments)?;
        let home = Home::new(&self.root, first(&parsed)?)?;
        let record = home.load()?;
        Ok(((home, record), parsed))
    }

    fn create(&self, arguments: &[String], run: bool) -> Result<Output> {
        let parsed = Parsed::new(CREATE, arguments)?;
        let id = first(&parsed)?.to_owned();
        seal::ensure(&self.input.arguments, &self.input.environment);
        let path = |name: &str| parsed.value(name).map(|path| self.input.directory.join(path));
        let options = create::Options {
            root: self.root.clone(),
            id,
            bundle: path("bundle").unwrap_or_else(|| self.input.directory.clone()),
            pid_file: path("pid-file"),
            console_socket: path("console-socket"),
            pidfd_socket: path("pidfd-socket"),
            preserve_fds: parsed.number("preserve-fds")?.unwrap_or(0),
            no_pivot: parsed.is_set("no-pivot"),
            no_new_keyring: parsed.is_set("no-new-keyring"),
            now: clock::rfc3339(self.input.now),
            path: self.variable("PATH").map(str::to_owned),
            driver: self.driver.clone(),
            foreground: false,
        };
        let spec = create::load(&options.bundle)?;
        if !run {
            create::create(&options, &spec)?;
            return Ok(Output::default());
        }
        let code = foreground::run(options, &spec, parsed.is_set("detach"), parsed.is_set("keep"))?;
        Ok(Output {
            code,
            ..Output::default()
        })
    }

    fn restore(&self, arguments: &[String], criu: Option<&str>) -> Result<Output> {
        let parsed = Parsed::new(checkpoint::RESTORE, arguments)?;
        let path = |name: &str| parsed.value(name).map(|path| self.input.directory.join(path));
        let options = create::Options {
            root: self.root.clone(),
            id: first(&parsed)?.to_owned(),
            bundle: path("bundle").unwrap_or_else(|| self.input.directory.clone()),
            pid_file: path("pid-file"),
            console_socket: path("console-socket"),
            now: clock::rfc3339(self.input.now),
            driver: self.driver.clone(),
            ..create::Options::default()
        };
        let images = checkpoint::Options::parse(&parsed, criu, &self.input.directory)?;
        let spec = create::load(&options.bundle)?;
        let code = foreground::restore(options, &spec, &images, parsed.is_set("detach"))?;
        Ok(Output {
            code,
            ..Output::default()
        })
    }

    fn exec(&self, arguments: &[String]) -> Result<Output> {
        let parsed = Parsed::new(EXEC, arguments)?;
        let id = first(&parsed)?.to_owned();
        seal::ensure(&self.input.arguments, &self.input.environment);
        let path = |name: &str| parsed.value(name).map(|path| self.input.directory.join(path));
        let gids = parsed.values("additional-gids");
        let gids = gids.iter().map(|gid| {
            gid.parse()
                .map_err(|_| Error::Usage(format!("invalid gid {gid:?}")))
        });
        let options = exec::Options {
            root: self.root.clone(),
            id,
            process: path("process"),
            args: parsed.rest[1..].to_vec(),
            env: parsed.values("env"),
            cwd: parsed.value("cwd").map(PathBuf::from),
            user: parsed.value("user").map(str::to_owned),
            additional_gids: gids.collect::<Result<_>>()?,
            caps: parsed.values("cap"),
            no_new_privs: parsed.is_set("no-new-privs"),
            tty: parsed.is_set("tty"),
            pid_file: path("pid-file"),
            console_socket: path("console-socket"),
            pidfd_socket: path("pidfd-socket"),
            preserve_fds: parsed.number("preserve-fds")?.unwrap_or(0),
            ignore_paused: parsed.is_set("ignore-paused"),
            cgroups: parsed.values("cgroup"),
        };
        let home = Home::new(&options.root, &options.id)?;
        let record = home.load()?;
        if home.status(&record) == Status::Stopped {
            return Err(Error::State("cannot exec in a stopped container".into()));
        }
        let code = foreground::exec(options, &home, &record, parsed.is_set("detach"))?;
        Ok(Output {
            code,
            ..Output::default()
        })
    }
}
