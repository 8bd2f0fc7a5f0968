//! runc's command line: from arguments to a command, and from its end to what is printed and answered.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::arguments::Parsed;
use crate::error::{Error, Result};
use crate::flags::{self, Command, GLOBAL};
use crate::log::{self, Log};
use crate::passed::Passed;
use crate::state::{Home, Record, Status};
use crate::{
    checkpoint, clock, commands, create, events, exec, features, first, foreground, group, help, seal, update,
};

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

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// That of `exec`, and of `run` whose process could not be waited for: as a process's that failed outside its own doing.
const EXEC_FAILED: u8 = 255;
/// That of a command that there is none of.
const UNKNOWN: u8 = 3;

/// A command that failed.
struct Failed {
    /// For stdout all the same: how the command is used.
    text: String,
    error: Box<Error>,
    code: u8,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            text: String::new(),
            error: Box::new(error),
            code: FAILED,
        }
    }
}

impl Failed {
    /// The command line is wrong: its help is shown.
    fn usage(command: &Command, colon: bool, error: Error) -> Self {
        let words = if colon { format!(": {error}") } else { ".".into() };
        Self {
            text: format!("Incorrect Usage{words}\n\n{}", help::command(command)),
            ..error.into()
        }
    }
}

/// Runs one command.
pub fn run(input: &Input) -> Output {
    let all = input.arguments.get(1..).unwrap_or_default();
    let result = (|| {
        let (global, rest) = Parsed::global(GLOBAL, all).map_err(|error| Failed {
            text: format!("Incorrect Usage. {error}\n\n{}", help::program()),
            ..error.into()
        })?;
        open_log(input, &global)?;
        command(input, &global, rest)
    })();
    match result {
        Ok(output) => output,
        Err(Failed { text, error, code }) => Output {
            text,
            error: log::last_words(&lighter_stdx::error::chain(&*error), input.now),
            code,
        },
    }
}

fn open_log(input: &Input, global: &Parsed) -> Result<()> {
    let json = match global.value("log-format") {
        None | Some("" | "text") => false,
        Some("json") => true,
        Some(other) => return Err(Error::Usage(format!("invalid log-format: {other}"))),
    };
    let path = global.path("log").filter(|path| !path.is_empty());
    let path = path.map(|path| input.directory.join(path));
    log::install(Log::new(
        path.as_deref(),
        json,
        global.is_set("debug"),
        input.now,
    )?);
    Ok(())
}

fn text(text: String) -> std::result::Result<Output, Failed> {
    Ok(Output {
        text,
        ..Output::default()
    })
}

fn command(input: &Input, global: &Parsed, rest: &[OsString]) -> std::result::Result<Output, Failed> {
    if global.is_set("version") {
        return text(features::version());
    }
    let Some((name, arguments)) = rest.split_first() else {
        return text(help::program());
    };
    if global.is_set("help") {
        return text(help::program());
    }
    let name = name.to_string_lossy();
    let (name, arguments, helped) = match (&*name, arguments) {
        ("help" | "h", []) => return text(help::program()),
        ("help" | "h", [name, ..]) => (name.to_string_lossy(), arguments, true),
        _ => (name, arguments, false),
    };
    let Some(command) = flags::command(&name) else {
        return Err(Failed {
            code: UNKNOWN,
            ..Error::Usage(format!("No help topic for '{name}'")).into()
        });
    };
    // `--help` is known to all, and stands for itself.
    let asked = arguments
        .iter()
        .take_while(|argument| *argument != "--" && (command.flags_anywhere() || is_option(argument)));
    if helped
        || asked
            .into_iter()
            .any(|argument| argument == "--help" || argument == "-h")
    {
        return text(help::command(command));
    }
    let parsed = Parsed::command(command.flags, command.flags_anywhere(), arguments)
        .map_err(|error| Failed::usage(command, true, error))?;
    let own = input.arguments.first().map(|own| own.to_string_lossy());
    help::check_count(own.as_deref().unwrap_or_default(), command, parsed.rest.len())
        .map_err(|error| Failed::usage(command, false, error))?;
    log::debug(format_args!("command {} {:?}", command.name, parsed.rest));
    let context = Caller {
        input,
        root: root(input, global)?,
        criu: global.value("criu"),
        driver: group::Driver::new(
            global.is_set("systemd-cgroup"),
            global.value("rootless"),
            &input.environment,
        )?,
    };
    context
        .dispatch(command.name, &parsed)
        .map_err(|error| match command.name {
            "create" | "run" => Failed::from(error.of_command(command.name)),
            "exec" => Failed {
                code: EXEC_FAILED,
                ..error.of_command("exec").into()
            },
            _ => error.into(),
        })
}

fn is_option(argument: &OsStr) -> bool {
    argument.len() > 1 && argument.as_encoded_bytes().first() == Some(&b'-')
}

/// Where the states are.
fn root(input: &Input, global: &Parsed) -> Result<PathBuf> {
    let Some(root) = global.path("root") else {
        return Ok(default_root(input));
    };
    let root = input.directory.join(root);
    let names = root.components().fold(0_u32, |depth, component| match component {
        std::path::Component::Normal(_) => depth + 1,
        std::path::Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    });
    if names == 0 {
        return Err(Error::Usage(
            "Option --root argument should not be set to /".into(),
        ));
    }
    Ok(root)
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
    criu: Option<&'a str>,
    driver: group::Driver,
}

impl Caller<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        variable(self.input, name)
    }

    fn dispatch(&self, name: &str, parsed: &Parsed) -> Result<Output> {
        let print = |text| Output {
            text,
            ..Output::default()
        };
        match name {
            "create" => return self.create(parsed, false),
            "run" => return self.create(parsed, true),
            "exec" => return self.exec(parsed),
            "start" => {
                let (home, record) = self.container(parsed)?;
                commands::start(&home, &record)?;
            }
            "state" => {
                let (home, record) = self.container(parsed)?;
                return features::state(&home, &record).map(print);
            }
            "list" => {
                let format = parsed.value("format").unwrap_or("table");
                return features::list(&self.root, format, parsed.is_set("quiet")).map(print);
            }
            "kill" => {
                let (home, record) = self.container(parsed)?;
                let signal = commands::signal(parsed.rest.get(1).map_or("", String::as_str))?;
                commands::kill(&home, &record, signal, parsed.is_set("all"))?;
            }
            "delete" => {
                let home = Home::new(&self.root, id(parsed))?;
                commands::delete(&home, parsed.is_set("force"))?;
            }
            "ps" => {
                let (_, record) = self.container(parsed)?;
                let format = parsed.value("format").unwrap_or("table");
                let rest = parsed.rest.get(1..).unwrap_or_default();
                return features::ps(&record, format, rest).map(print);
            }
            "pause" | "resume" => {
                let (home, record) = self.container(parsed)?;
                commands::freeze(&home, &record, name == "pause")?;
            }
            "update" => {
                let (home, mut record) = self.container(parsed)?;
                update::update(&home, &mut record, &update::parse(parsed)?)?;
            }
            "features" => return Ok(print(features::features())),
            "spec" => {
                let bundle = self
                    .input
                    .directory
                    .join(parsed.path("bundle").unwrap_or_default());
                first::write(&bundle, parsed.is_set("rootless"))?;
            }
            "checkpoint" => {
                let (home, record) = self.container(parsed)?;
                let options = checkpoint::Options::parse(parsed, self.criu, &self.input.directory)?;
                checkpoint::checkpoint(&home, &record, &options)?;
            }
            "restore" => return self.restore(parsed),
            "events" => {
                let (home, record) = self.container(parsed)?;
                events::events(&home, &record, &events::Options::parse(parsed)?)?;
            }
            // Every name of the table has its arm above.
            other => return Err(Error::Usage(format!("No help topic for '{other}'"))),
        }
        Ok(Output::default())
    }

    /// The container that the first argument names.
    fn container(&self, parsed: &Parsed) -> Result<(Home, Record)> {
        let home = Home::new(&self.root, id(parsed))?;
        let record = home.load()?;
        Ok((home, record))
    }

    /// An absolute path from an option; empty is as good as none.
    fn path(&self, parsed: &Parsed, name: &str) -> Option<PathBuf> {
        let path = parsed.path(name).filter(|path| !path.is_empty())?;
        Some(self.input.directory.join(path))
    }

    /// What `create`, `run` and `restore` have in common.
    fn bundle_options(&self, parsed: &Parsed) -> create::Options {
        create::Options {
            root: self.root.clone(),
            id: id(parsed).to_owned(),
            bundle: self
                .path(parsed, "bundle")
                .unwrap_or_else(|| self.input.directory.clone()),
            pid_file: self.path(parsed, "pid-file"),
            console_socket: self.path(parsed, "console-socket"),
            now: clock::rfc3339(self.input.now),
            driver: self.driver.clone(),
            ..create::Options::default()
        }
    }

    fn create(&self, parsed: &Parsed, run: bool) -> Result<Output> {
        seal::ensure(&self.input.arguments, &self.input.environment);
        let options = create::Options {
            pidfd_socket: self.path(parsed, "pidfd-socket"),
            passed: Passed::new(
                parsed.number("preserve-fds")?.unwrap_or(0),
                self.variable("LISTEN_FDS"),
                self.variable("LISTEN_PID"),
            )?,
            no_pivot: parsed.is_set("no-pivot"),
            no_new_keyring: parsed.is_set("no-new-keyring"),
            path: self.variable("PATH").map(str::to_owned),
            ..self.bundle_options(parsed)
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

    fn restore(&self, parsed: &Parsed) -> Result<Output> {
        // As where the move comes before the C library: see `lighter_sys::early`.
        seal::ensure(&self.input.arguments, &self.input.environment);
        let options = self.bundle_options(parsed);
        let images = checkpoint::Options::parse(parsed, self.criu, &self.input.directory)?;
        let spec = create::load(&options.bundle)?;
        let code = foreground::restore(options, &spec, &images, parsed.is_set("detach"))?;
        Ok(Output {
            code,
            ..Output::default()
        })
    }

    fn exec(&self, parsed: &Parsed) -> Result<Output> {
        seal::ensure(&self.input.arguments, &self.input.environment);
        let gids = parsed.values("additional-gids");
        let gids = gids.iter().map(|gid| {
            gid.parse()
                .map_err(|_| Error::Usage(format!("additional-gids must be a positive number {gid}")))
        });
        let options = exec::Options {
            root: self.root.clone(),
            id: id(parsed).to_owned(),
            process: self.path(parsed, "process"),
            args: parsed.rest.get(1..).unwrap_or_default().to_vec(),
            env: parsed.values("env"),
            cwd: parsed.value("cwd").map(PathBuf::from),
            user: parsed.value("user").map(str::to_owned),
            additional_gids: gids.collect::<Result<_>>()?,
            caps: parsed.values("cap"),
            no_new_privs: parsed.is_set("no-new-privs"),
            tty: parsed.is_set("tty"),
            pid_file: self.path(parsed, "pid-file"),
            console_socket: self.path(parsed, "console-socket"),
            pidfd_socket: self.path(parsed, "pidfd-socket"),
            passed: Passed::new(parsed.number("preserve-fds")?.unwrap_or(0), None, None)?,
            apparmor: parsed.value("apparmor").map(str::to_owned),
            label: parsed.value("process-label").map(str::to_owned),
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

fn id(parsed: &Parsed) -> &str {
    parsed.rest.first().map_or("", String::as_str)
}
