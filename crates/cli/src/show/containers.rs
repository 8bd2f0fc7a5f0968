//! `ps`.

use lighter_client::{Client, Query};
use lighter_engine_api::{ContainerSummary, Filters};
use lighter_go_template::{Nil, Template, Value};

use super::format::{self, Clock, Columns, Row};
use super::{Error, Shown, ask, ports, units};

/// What `ps` was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct PsOptions {
    /// `-a`
    pub(crate) all: bool,
    /// `-q`
    pub(crate) quiet: bool,
    /// `-s`
    pub(crate) size: bool,
    /// `--no-trunc`
    pub(crate) no_trunc: bool,
    /// `-n`; `None` is all.
    pub(crate) last: Option<i64>,
    /// `-l`
    pub(crate) latest: bool,
    /// `--filter`
    pub(crate) filters: Filters,
    /// `--format`, or the configuration's `psFormat`; empty is the table.
    pub(crate) format: String,
}

const COLUMNS: Columns = Columns {
    type_name: "*formatter.ContainerContext",
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
};

/// The containers.
pub(crate) fn ps(client: &Client, options: &PsOptions, clock: &Clock) -> Result<Shown, Error> {
    let mut size = options.size;
    if !matches!(options.format.as_str(), "" | "table" | "raw" | "json") {
        size |= wants_size(&options.format, clock)?;
    }
    let last = if options.latest {
        Some(1)
    } else {
        options.last.filter(|n| *n > 0)
    };
    let filters = if options.filters.is_empty() {
        String::new()
    } else {
        options.filters.to_json()
    };
    let all = options.all || last.is_some();
    let limit = last.map(|n| n.to_string()).unwrap_or_default();
    let query = Query::new()
        .flag("all", all)
        .with_some("limit", &limit)
        .flag("size", size)
        .with_some("filters", &filters);
    let containers: Vec<ContainerSummary> = ask::get(client, "/containers/json", &query)?;
    let rows = containers
        .iter()
        .map(|c| row(c, !options.no_trunc, clock))
        .collect();
    let out = format::rows(&format_text(options), &COLUMNS, rows)?;
    let mut warnings = Vec::new();
    if options.quiet && !matches!(options.format.as_str(), "" | "table") {
        warnings.push("WARNING: Ignoring custom format, because both --format and --quiet are set.".into());
    }
    Ok(Shown {
        out,
        warnings,
        ..Shown::default()
    })
}

/// Whether a template shows sizes, which cost the engine time. A template that does not fit is told at once.
fn wants_size(template: &str, clock: &Clock) -> Result<bool, Error> {
    let parsed =
        Template::parse("", template).map_err(|e| Error::Text(format!("failed to parse template: {e}")))?;
    let empty = row(&ContainerSummary::default(), true, clock).value(&COLUMNS);
    parsed
        .execute(&empty)
        .map_err(|e| Error::Text(format!("failed to execute template: {e}")))?;
    Ok(template.contains(".Size") || shows_all(template))
}

/// `{{json .}}` shows all there is.
fn shows_all(template: &str) -> bool {
    let mut after = template.split("json").skip(1).map(str::trim_start);
    after.any(|rest| {
        rest.strip_prefix('.')
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    })
}

fn format_text(options: &PsOptions) -> String {
    let (quiet, size) = (options.quiet, options.size);
    match options.format.as_str() {
        "" | "table" if quiet => "{{.ID}}".into(),
        "" | "table" => {
            let table = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
            format!("{table}{}", if size { "\t{{.Size}}" } else { "" })
        }
        "raw" if quiet => "container_id: {{.ID}}".into(),
        "raw" => {
            let raw = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\n\
                       status: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";
            format!("{raw}{}", if size { "size: {{.Size}}\n" } else { "" })
        }
        _ if quiet => "{{.ID}}".into(),
        format => format.into(),
    }
}

fn row(c: &ContainerSummary, trunc: bool, clock: &Clock) -> Row {
    let text = Value::Str;
    let command = if trunc {
        units::ellipsis(&c.command, 20)
    } else {
        c.command.clone()
    };
    let labels: Vec<String> = c.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let local = c.mounts.iter().filter(|m| m.driver == "local").count();
    let networks: Vec<&str> = c.network_settings.networks.keys().map(String::as_str).collect();
    let fields = vec![
        ("Command", text(format::quoted(&command))),
        ("CreatedAt", text(clock.go_time(c.created))),
        (
            "ID",
            text(if trunc {
                units::short_id(&c.id)
            } else {
                c.id.clone()
            }),
        ),
        ("Image", text(image(c, trunc))),
        ("Labels", text(labels.join(","))),
        ("LocalVolumes", text(local.to_string())),
        ("Mounts", text(mounts(c, trunc))),
        ("Names", text(names(c, trunc))),
        ("Networks", text(networks.join(","))),
        ("Platform", Value::Nil(Nil::Pointer("*ocispec.Platform"))),
        ("Ports", text(ports::display(&c.ports))),
        ("RunningFor", text(clock.ago(c.created))),
        ("Size", text(size(c))),
        ("State", text(c.state.clone())),
        ("Status", text(c.status.clone())),
    ];
    Row {
        fields,
        labels: Some(c.labels.clone()),
    }
}

/// The names; the short form leaves links (`/other/alias`) out.
fn names(c: &ContainerSummary, trunc: bool) -> String {
    let names = c.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    names
        .filter(|name| !trunc || !name.contains('/'))
        .collect::<Vec<_>>()
        .join(",")
}

fn image(c: &ContainerSummary, trunc: bool) -> String {
    if c.image.is_empty() {
        return "<no image>".into();
    }
    if !trunc {
        return c.image.clone();
    }
    let id = units::short_id(&c.image_id);
    if id == units::short_id(&c.image) {
        return id;
    }
    // A digest is left out.
    match c.image.split_once('@') {
        Some((name, digest)) if digest.contains(':') => name.to_owned(),
        _ => c.image.clone(),
    }
}

fn mounts(c: &ContainerSummary, trunc: bool) -> String {
    let names = c
        .mounts
        .iter()
        .map(|m| if m.name.is_empty() { &m.source } else { &m.name });
    let names = names.map(|name| {
        if trunc {
            units::ellipsis(name, 15)
        } else {
            name.clone()
        }
    });
    names.collect::<Vec<_>>().join(",")
}

fn size(c: &ContainerSummary) -> String {
    let own = units::size_precise(c.size_rw, 3);
    if c.size_root_fs > 0 {
        format!("{own} (virtual {})", units::size_precise(c.size_root_fs, 3))
    } else {
        own
    }
}
