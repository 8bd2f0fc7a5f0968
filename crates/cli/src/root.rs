//! From the words to a command: global options, names, help.

use std::path::PathBuf;

use crate::command::Command;
use crate::commands::COMMANDS;
use crate::config::Config;
use crate::context::{Context, Environment};
use crate::failure::Failure;
use crate::flag::{Flag, switch, value};
use crate::{args, help, output, slip, terminal};

static GLOBAL: &[Flag] = &[
    value("config", "", "string", "Directory of the client's config.json"),
    value("context", "c", "string", "Name of the context to use"),
    switch("debug", "D", "Say more"),
    value(
        "host",
        "H",
        "list",
        "Where the engine listens (unix:// or tcp://)",
    ),
    value(
        "log-level",
        "l",
        "string",
        "Least level to log: debug, info, warn, error, fatal",
    )
    .or("info"),
    switch("version", "v", "Print the client's version and leave"),
];

/// What stands in the first list of the program's help.
const COMMON: [&str; 8] = ["run", "exec", "ps", "pull", "images", "version", "info", "logs"];
/// Groups, and what they are about.
const GROUPS: [(&str, &str); 3] = [
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("system", "Manage the engine"),
];

pub(crate) fn run(environment: Environment) -> u8 {
    match dispatch(environment) {
        Ok(()) => 0,
        Err(failure) => {
            output::error(failure.text());
            failure.code
        }
    }
}

fn dispatch(environment: Environment) -> Result<(), Failure> {
    let program = environment.program.clone();
    let global = args::parse(&[GLOBAL], false, &environment.args).map_err(|complaint| {
        let usage = format!("Usage:  {program} [OPTIONS] COMMAND [ARG...]");
        let more = format!("Run '{program} --help' for more information");
        Failure::new(format!("{complaint}\n\n{usage}\n\n{more}")).with_code(125)
    })?;
    if global.is("version") {
        return output::line(format!("Lighter version {}", env!("CARGO_PKG_VERSION")));
    }
    let words = &global.args;
    match words.first().map(String::as_str) {
        None | Some("help") if global.help || words.len() == 1 => return output::out(overview(&program)),
        None => {
            output::error(overview(&program));
            return Ok(());
        }
        Some("help") => return output::out(help_for(&program, &words[1..])?),
        Some(_) => {}
    }
    let Some((path, command, rest)) = find(words) else {
        return unknown(&program, words);
    };
    let Some(parsed) = command.parse(&program, path, rest)? else {
        return output::out(help::command(&program, path, command, terminal::columns()));
    };
    let level = global.text("log-level");
    if !matches!(
        level,
        "" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic" | "trace"
    ) {
        return Err(Failure::new(format!("Unable to parse logging level: {level}")));
    }
    let mut hosts = global.list("host");
    if hosts.len() > 1 {
        return Err(Failure::new("Failed to initialize: specify only one -H"));
    }
    let context = environment.variable("DOCKER_CONTEXT").unwrap_or_default();
    match global.some("context").unwrap_or(context) {
        "" | "default" => {}
        name => {
            let message = format!(
                "Failed to initialize: unable to resolve docker endpoint: context \"{name}\": context not found"
            );
            return Err(Failure::new(message));
        }
    }
    let config = Config::read(&config_directory(&environment, global.text("config")))?;
    (command.run)(&Context::new(environment, config, hosts.pop()), &parsed)
}

fn config_directory(environment: &Environment, given: &str) -> PathBuf {
    if !given.is_empty() {
        return PathBuf::from(given);
    }
    match environment.variable("DOCKER_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(environment.variable("HOME").unwrap_or("/")).join(".docker"),
    }
}

/// The command that the first one or two words name, by which name, and what follows.
fn find(words: &[String]) -> Option<(&'static str, &'static Command, &[String])> {
    let (first, second) = (words.first()?, words.get(1));
    for command in COMMANDS.iter().flat_map(|list| list.iter()) {
        for path in command.paths {
            match path.split_once(' ') {
                None if path == first => return Some((path, command, &words[1..])),
                Some((group, name)) if group == first && Some(name) == second.map(String::as_str) => {
                    return Some((path, command, &words[2..]));
                }
                _ => {}
            }
        }
    }
    None
}

/// A group alone, its help, or nothing we know.
fn unknown(program: &str, words: &[String]) -> Result<(), Failure> {
    let first = words.first().map(String::as_str).unwrap_or_default();
    let Some((group, about)) = GROUPS.iter().find(|(group, _)| *group == first) else {
        let mut failure = Failure::new(format!(
            "{program}: unknown command: {program} {first}\n\nRun '{program} --help' for more information"
        ));
        failure.hint = closest(first).map(|name| format!("did you mean `{program} {name}`?"));
        return Err(failure);
    };
    match words.get(1).map(String::as_str) {
        None => {
            output::error(group_help(program, group, about));
            Ok(())
        }
        Some("--help" | "-h") => output::out(group_help(program, group, about)),
        Some(flag) if flag.starts_with('-') => {
            let what = if flag.starts_with("--") {
                format!("unknown flag: {flag}")
            } else {
                let letter = flag.chars().nth(1).unwrap_or('-');
                format!("unknown shorthand flag: '{letter}' in {flag}")
            };
            let usage = format!("Usage:  {program} {group}");
            let more = format!("Run '{program} {group} --help' for more information");
            Err(Failure::new(format!("{what}\n\n{usage}\n\n{more}")).with_code(125))
        }
        Some(name) => Err(Failure::new(format!(
            "{program}: unknown command: {program} {group} {name}\n\nUsage:  {program} {group}\n\nRun '{program} {group} --help' for more information"
        ))),
    }
}

/// The command that `word` is a slip of the finger for.
fn closest(word: &str) -> Option<&'static str> {
    let names = COMMANDS
        .iter()
        .flat_map(|list| list.iter())
        .flat_map(|command| command.paths);
    names
        .copied()
        .filter(|path| !path.contains(' '))
        .find(|name| slip::is(word, name))
}

fn help_for(program: &str, words: &[String]) -> Result<String, Failure> {
    if let Some((path, command, _)) = find(words) {
        return Ok(help::command(program, path, command, terminal::columns()));
    }
    let first = words.first().map(String::as_str).unwrap_or_default();
    match GROUPS.iter().find(|(group, _)| *group == first) {
        Some((group, about)) => Ok(group_help(program, group, about)),
        None => Err(Failure::new(format!("unknown help topic: {}", words.join(" ")))),
    }
}

fn group_help(program: &str, group: &str, about: &str) -> String {
    let mut entries: Vec<(String, String)> = Vec::new();
    for command in COMMANDS.iter().flat_map(|list| list.iter()) {
        let name = command
            .paths
            .iter()
            .filter_map(|path| path.split_once(' '))
            .find(|(of, _)| *of == group);
        if let Some((_, name)) = name {
            entries.push((name.to_owned(), command.about.to_owned()));
        }
    }
    entries.sort();
    format!(
        "Usage:  {program} {group} COMMAND\n\n{about}\n{}\nRun '{program} {group} COMMAND --help' for more information on a command.\n",
        help::list("Commands", &entries)
    )
}

fn overview(program: &str) -> String {
    let mut common = Vec::new();
    let mut others = Vec::new();
    for command in COMMANDS.iter().flat_map(|list| list.iter()) {
        let Some(name) = command.paths.iter().find(|path| !path.contains(' ')) else {
            continue;
        };
        let entry = ((*name).to_owned(), command.about.to_owned());
        match COMMON.contains(name) {
            true => common.push(entry),
            false => others.push(entry),
        }
    }
    common.sort_by_key(|(name, _)| COMMON.iter().position(|common| common == name));
    others.sort();
    let groups: Vec<(String, String)> = GROUPS
        .iter()
        .map(|(name, about)| ((*name).to_owned(), (*about).to_owned()))
        .collect();
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nContainers, ten times lighter\n{}{}{}\nGlobal Options:\n{}\nRun '{program} COMMAND --help' for more information on a command.\n",
        help::list("Common Commands", &common),
        help::list("Management Commands", &groups),
        help::list("Commands", &others),
        help::flags(&[GLOBAL], terminal::columns())
    )
}
