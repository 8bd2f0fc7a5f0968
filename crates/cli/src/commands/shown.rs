//! Commands that only show: `ps`, `images`, `history`, `inspect`, `version`, `info`.

use lighter_engine_api::{API_VERSION, Filters};

use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::flag::{Flag, switch, value};
use crate::show::{
    self, ClientVersion, Clock, HistoryOptions, ImagesOptions, InspectOptions, Kind, PsOptions, Shown,
};
use crate::{output, time};

static PS: &[Flag] = &[
    switch("all", "a", "Those that do not run, too"),
    value("filter", "f", "filter", "Only those that match (name=value)"),
    value("format", "", "string", "table, json, or a Go template"),
    value("last", "n", "int", "The last so many that were made").or("-1"),
    switch("latest", "l", "The last that was made"),
    switch("no-trunc", "", "Do not shorten anything"),
    switch("quiet", "q", "Only IDs"),
    switch("size", "s", "Sizes of files too"),
];
static IMAGES: &[Flag] = &[
    switch("all", "a", "Those in between, too"),
    switch("digests", "", "Digests too"),
    value("filter", "f", "filter", "Only those that match (name=value)"),
    value("format", "", "string", "table, json, or a Go template"),
    switch("no-trunc", "", "Do not shorten anything"),
    switch("quiet", "q", "Only IDs"),
];
static HISTORY: &[Flag] = &[
    value("format", "", "string", "table, json, or a Go template"),
    switch("human", "H", "Sizes and times for people").or("true"),
    switch("no-trunc", "", "Do not shorten anything"),
    switch("quiet", "q", "Only IDs"),
];
static FORMAT: &[Flag] = &[value("format", "f", "string", "json, or a Go template")];
static SIZE: &[Flag] = &[switch("size", "s", "Sizes of files too")];
static TYPE: &[Flag] = &[value(
    "type",
    "",
    "string",
    "Only things of this type (container, image)",
)];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["container ls", "container list", "container ps", "ps"],
        usage: "[OPTIONS]",
        about: "List containers",
        takes: Takes::Exactly(0),
        mixed: true,
        flags: &[PS],
        run: ps,
    },
    Command {
        paths: &["image ls", "image list", "images"],
        usage: "[OPTIONS] [REPOSITORY[:TAG]]",
        about: "List images",
        takes: Takes::AtMost(1),
        mixed: true,
        flags: &[IMAGES],
        run: images,
    },
    Command {
        paths: &["image history", "history"],
        usage: "[OPTIONS] IMAGE",
        about: "Show how an image was made",
        takes: Takes::Exactly(1),
        mixed: true,
        flags: &[HISTORY],
        run: history,
    },
    Command {
        paths: &["inspect"],
        usage: "[OPTIONS] NAME|ID [NAME|ID...]",
        about: "Show all about containers and images",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[FORMAT, SIZE, TYPE],
        run: |context, parsed| match parsed.text("type") {
            "" => inspect(context, parsed, Kind::Any),
            "container" => inspect(context, parsed, Kind::Container),
            "image" => inspect(context, parsed, Kind::Image),
            other => Err(Failure::new(format!(
                "unknown type: \"{other}\": must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
            ))),
        },
    },
    Command {
        paths: &["container inspect"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Show all about containers",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[FORMAT, SIZE],
        run: |context, parsed| inspect(context, parsed, Kind::Container),
    },
    Command {
        paths: &["image inspect"],
        usage: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Show all about images",
        takes: Takes::AtLeast(1),
        mixed: true,
        flags: &[FORMAT],
        run: |context, parsed| inspect(context, parsed, Kind::Image),
    },
    Command {
        paths: &["version"],
        usage: "[OPTIONS]",
        about: "Show the versions of client and engine",
        takes: Takes::Exactly(0),
        mixed: true,
        flags: &[FORMAT],
        run: |context, parsed| print(show::version(context.client()?, &own(), parsed.text("format"))),
    },
    Command {
        paths: &["system info", "info"],
        usage: "[OPTIONS]",
        about: "Show what the engine is and how much it holds",
        takes: Takes::Exactly(0),
        mixed: true,
        flags: &[FORMAT],
        run: |context, parsed| {
            print(show::info(
                context.client()?,
                &own(),
                false,
                parsed.text("format"),
            ))
        },
    },
];

/// What this client says of itself.
fn own() -> ClientVersion {
    ClientVersion {
        version: env!("CARGO_PKG_VERSION").into(),
        api_version: API_VERSION.into(),
        default_api_version: API_VERSION.into(),
        os: "linux".into(),
        arch: "amd64".into(),
        context: "default".into(),
        ..ClientVersion::default()
    }
}

/// The filters that were given.
pub(super) fn filters(parsed: &Parsed) -> Filters {
    let mut filters = Filters::default();
    for filter in parsed.list("filter") {
        if let Some((name, value)) = filter.split_once('=') {
            filters.add(name.trim().to_ascii_lowercase(), value.trim());
        }
    }
    filters
}

fn clock(context: &Context) -> Clock {
    Clock {
        now: context.environment.clock.now(),
        zone: time::zone(context),
    }
}

fn print(shown: Result<Shown, show::Error>) -> Result<(), Failure> {
    let Shown {
        out,
        errors,
        warnings,
    } = shown.map_err(failure)?;
    output::out(out)?;
    for warning in warnings {
        output::error(format!("{warning}\n"));
    }
    let mut failures = crate::failure::Failures::default();
    for error in errors {
        failures.add(failure(error));
    }
    failures.finish()
}

fn failure(error: show::Error) -> Failure {
    let code = error.code();
    match error {
        show::Error::Client(error) => error.into(),
        other => Failure::new(other.to_string()).with_code(code),
    }
}

fn ps(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let options = PsOptions {
        all: parsed.is("all"),
        quiet: parsed.is("quiet"),
        size: parsed.is("size"),
        no_trunc: parsed.is("no-trunc"),
        last: parsed.has("last").then(|| parsed.int("last")),
        latest: parsed.is("latest"),
        filters: filters(parsed),
        format: match (parsed.text("format"), parsed.is("quiet")) {
            ("", false) => context.config.ps_format.clone(),
            (format, _) => format.to_owned(),
        },
    };
    print(show::ps(context.client()?, &options, &clock(context)))
}

fn images(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let mut filters = filters(parsed);
    if let Some(reference) = parsed.args.first() {
        filters.add("reference", reference.as_str());
    }
    let options = ImagesOptions {
        all: parsed.is("all"),
        quiet: parsed.is("quiet"),
        digests: parsed.is("digests"),
        no_trunc: parsed.is("no-trunc"),
        filters,
        format: match (parsed.text("format"), parsed.is("quiet")) {
            ("", false) => context.config.images_format.clone(),
            (format, _) => format.to_owned(),
        },
    };
    print(show::images(context.client()?, &options, &clock(context)))
}

fn history(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let options = HistoryOptions {
        exact: parsed.has("human") && !parsed.is("human"),
        quiet: parsed.is("quiet"),
        no_trunc: parsed.is("no-trunc"),
        format: parsed.text("format").to_owned(),
    };
    print(show::history(
        context.client()?,
        &parsed.args[0],
        &options,
        &clock(context),
    ))
}

fn inspect(context: &Context, parsed: &Parsed, kind: Kind) -> Result<(), Failure> {
    let options = InspectOptions {
        kind,
        size: parsed.is("size"),
        format: parsed.text("format").to_owned(),
    };
    print(show::inspect(context.client()?, &parsed.args, &options))
}
