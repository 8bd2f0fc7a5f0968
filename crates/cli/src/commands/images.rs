//! `pull`, `rmi`, `tag`.

use lighter_oci::Reference;

use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::flag::{Flag, alias, switch, value};
use crate::progress::Progress;
use crate::{output, terminal};

static PULL: &[Flag] = &[
    switch("all-tags", "a", "Download every tag of the repository"),
    alias("disable-content-trust", "", "disable-content-trust"),
    value("platform", "", "string", "Platform of the image"),
    switch("quiet", "q", "Show only the image's name"),
];
static REMOVE: &[Flag] = &[
    switch("force", "f", "Remove it though it is used"),
    switch("no-prune", "", "Keep its parents that have no name"),
];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["image pull", "pull"],
        usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
        about: "Download an image from a registry",
        takes: Takes::Exactly(1),
        mixed: true,
        flags: &[PULL],
        run: pull_command,
    },
    Command {
        paths: &["image rm", "image remove", "rmi"],
        usage: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Remove images",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[REMOVE],
        run: remove,
    },
    Command {
        paths: &["image tag", "tag"],
        usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        about: "Give an image another name",
        takes: Takes::Exactly(2),
        mixed: true,
        flags: &[],
        run: tag,
    },
];

/// What to pull, and how to tell of it.
#[derive(Debug)]
pub(super) struct Pull {
    /// Without tag and digest: all tags.
    pub(super) reference: Reference,
    pub(super) platform: String,
    pub(super) quiet: bool,
    pub(super) to_stderr: bool,
}

/// Pulls, and shows the progress unless told to be quiet.
pub(super) fn pull(context: &Context, what: &Pull) -> Result<(), Failure> {
    let Pull {
        reference,
        quiet,
        to_stderr,
        ..
    } = what;
    let auth = context.config.auth(reference.domain());
    let version = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let messages =
        context
            .client()?
            .image_pull(&reference.name(), &version, &what.platform, auth.as_ref())?;
    let fd = if *to_stderr {
        rustix::stdio::stderr()
    } else {
        rustix::stdio::stdout()
    };
    let columns =
        rustix::termios::isatty(fd).then(|| terminal::size_of(fd).map_or(80, |(_, columns)| columns));
    let mut progress = Progress::new(columns);
    for message in messages {
        let message = message?;
        if !message.error.is_empty() || message.error_detail.is_some() {
            let detail = message
                .error_detail
                .map(|detail| detail.message)
                .filter(|text| !text.is_empty());
            return Err(Failure::of_engine(detail.unwrap_or(message.error)));
        }
        match (message.aux.is_some() || *quiet, to_stderr) {
            (true, _) => {}
            (false, true) => output::error(progress.show(&message)),
            (false, false) => output::out(progress.show(&message))?,
        }
    }
    Ok(())
}

fn pull_command(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    crate::interact::end_by_signals()?;
    let given = Reference::parse(&parsed.args[0]).map_err(|error| Failure::new(error.to_string()))?;
    let all = parsed.is("all-tags");
    if all && !given.is_name_only() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let quiet = parsed.is("quiet");
    let reference = match all {
        true => given,
        false => {
            let reference = given.clone().or_latest();
            if given.is_name_only() && !quiet {
                output::line("Using default tag: latest")?;
            }
            reference
        }
    };
    let name = reference.to_string();
    pull(
        context,
        &Pull {
            reference,
            platform: parsed.text("platform").to_owned(),
            quiet,
            to_stderr: false,
        },
    )?;
    output::line(name)
}

fn remove(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let client = context.client()?;
    let (force, no_prune) = (parsed.is("force"), parsed.is("no-prune"));
    let mut errors = Vec::new();
    let (mut fatal, mut hint) = (false, None);
    for name in &parsed.args {
        match client.image_remove(name, force, no_prune) {
            Ok(removed) => {
                for item in removed {
                    match item.deleted.as_str() {
                        "" => output::line(format!("Untagged: {}", item.untagged))?,
                        id => output::line(format!("Deleted: {id}"))?,
                    }
                }
            }
            Err(error) => {
                fatal |= !error.is_not_found();
                let failure = Failure::from(error);
                hint = hint.or(failure.hint);
                errors.push(failure.message);
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(errors.join("\n"));
    failure.hint = hint;
    if force && !fatal {
        failure.code = 0;
    }
    Err(failure)
}

fn tag(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let wrong = |name: &str, error: &dyn std::fmt::Display| {
        Failure::new(format!(
            "Error parsing reference: \"{name}\" is not a valid repository/tag: {error}"
        ))
    };
    let (source, target) = (&parsed.args[0], &parsed.args[1]);
    let reference = Reference::parse(target).map_err(|error| wrong(target, &error))?;
    if reference.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let reference = reference.or_latest();
    let tag = reference.tag().unwrap_or_default();
    Ok(context.client()?.image_tag(source, &reference.name(), tag)?)
}
