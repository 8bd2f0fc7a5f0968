//! `logs` and `events`.

use jiff::tz::TimeZone;
use lighter_client::LogQuery;
use lighter_engine_api::EventMessage;
use lighter_go_template::Template;

use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::flag::{Flag, switch, value};
use crate::{interact, output, show, time};

static LOGS: &[Flag] = &[
    switch("details", "", "Show the attributes of the log"),
    switch("follow", "f", "Go on until the container ends"),
    value(
        "since",
        "",
        "string",
        "From this time on (2013-01-02T13:23:37Z, or 42m for 42 minutes ago)",
    ),
    value("tail", "n", "string", "How many lines from the end").or("all"),
    switch("timestamps", "t", "Show the time of each line"),
    value(
        "until",
        "",
        "string",
        "Up to this time (2013-01-02T13:23:37Z, or 42m for 42 minutes ago)",
    ),
];
static EVENTS: &[Flag] = &[
    value("filter", "f", "filter", "Only those that match (name=value)"),
    value("format", "", "string", "A Go template, or json"),
    value("since", "", "string", "From this time on"),
    value("until", "", "string", "Up to this time"),
];

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["container logs", "logs"],
        usage: "[OPTIONS] CONTAINER",
        about: "Show what a container has written",
        takes: Takes::Exactly(1),
        mixed: true,
        flags: &[LOGS],
        run: logs,
    },
    Command {
        paths: &["system events", "events"],
        usage: "[OPTIONS]",
        about: "Show what happens in the engine",
        takes: Takes::Exactly(0),
        mixed: true,
        flags: &[EVENTS],
        run: events,
    },
];

fn logs(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    if parsed.is("follow") {
        crate::interact::end_by_signals()?;
    }
    let client = context.client()?;
    let container = client.container_inspect(&parsed.args[0])?;
    let moment = |key: &str| {
        time::parameter(context, parsed.text(key))
            .map_err(|why| Failure::new(format!("invalid value for \"{key}\": {why}")))
    };
    let what = LogQuery {
        follow: parsed.is("follow"),
        since: moment("since")?,
        until: moment("until")?,
        timestamps: parsed.is("timestamps"),
        details: parsed.is("details"),
        tail: parsed.some("tail").unwrap_or("all").to_owned(),
    };
    let mut body = client.container_logs(&container.id, &what)?;
    let copied = match container.config.tty {
        true => interact::pass(&mut body),
        false => interact::split(&mut body),
    };
    copied.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(141),
        _ => Failure::from(error),
    })
}

fn events(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    crate::interact::end_by_signals()?;
    let format = parsed.text("format");
    let template = match format {
        "" | "json" => None,
        text => Some(
            Template::parse("", text)
                .map_err(|error| Failure::new(format!("Error parsing format: {error}")).with_code(64))?,
        ),
    };
    let (since, until) = (
        time::parameter(context, parsed.text("since"))?,
        time::parameter(context, parsed.text("until"))?,
    );
    let filters = super::shown::filters(parsed);
    let filters = if filters.is_empty() {
        String::new()
    } else {
        filters.to_json()
    };
    let zone = time::zone(context);
    for event in context.client()?.events(&since, &until, &filters)? {
        let event = event?;
        match (&template, format) {
            (Some(template), _) => {
                let value = show::typed::typed(&event, "events.Message");
                output::line(
                    template
                        .execute(&value)
                        .map_err(|error| Failure::new(error.to_string()))?,
                )?;
            }
            (None, "json") => {
                output::line(
                    serde_json::to_string(&event).map_err(|error| Failure::new(error.to_string()))?,
                )?;
            }
            (None, _) => output::line(line(&event, &zone))?,
        }
    }
    Ok(())
}

/// `TIME TYPE ACTION ID (name=value, …)`.
fn line(event: &EventMessage, zone: &TimeZone) -> String {
    let at = match event.time_nano {
        0 => jiff::Timestamp::from_second(event.time),
        nano => jiff::Timestamp::from_nanosecond(nano.into()),
    };
    let at = at.unwrap_or_default().to_zoned_datetime(zone.clone());
    let at = at.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z");
    let mut line = format!("{at} {} {} {}", event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let pairs: Vec<String> = event
            .actor
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        line.push_str(&format!(" ({})", pairs.join(", ")));
    }
    line
}
