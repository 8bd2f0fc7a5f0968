//! `history`.

use lighter_client::{Client, Query};
use lighter_engine_api::HistoryResponseItem;
use lighter_go_template::Value;

use super::format::{self, Clock, Columns, Row};
use super::{Error, Shown, ask, units};

/// What `history` was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistoryOptions {
    /// `--human=false`: sizes in bytes, times as times.
    pub(crate) exact: bool,
    /// `-q`
    pub(crate) quiet: bool,
    /// `--no-trunc`
    pub(crate) no_trunc: bool,
    /// `--format`; empty is the table.
    pub(crate) format: String,
}

const COLUMNS: Columns = Columns {
    type_name: "*image.historyContext",
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

/// How the image `name` came to be.
pub(crate) fn history(
    client: &Client,
    name: &str,
    options: &HistoryOptions,
    clock: &Clock,
) -> Result<Shown, Error> {
    let items: Vec<HistoryResponseItem> =
        ask::get(client, &ask::of("images", name, "history"), &Query::new())?;
    let format = match options.format.as_str() {
        "" | "table" if options.quiet => "{{.ID}}",
        "" | "table" if options.exact => {
            "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        }
        "" | "table" => "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        _ if options.quiet => "{{.ID}}",
        format => format,
    };
    let rows = items.iter().map(|item| row(item, options, clock)).collect();
    format::rows(format, &COLUMNS, rows).map(Shown::from)
}

fn row(item: &HistoryResponseItem, options: &HistoryOptions, clock: &Clock) -> Row {
    let text = Value::Str;
    let by = item.created_by.replace('\t', " ");
    let created = if item.created > i64::MIN / 2 {
        clock.rfc3339(item.created)
    } else {
        String::new()
    };
    let since = if options.exact {
        created.clone()
    } else if item.created > 0 {
        clock.ago(item.created)
    } else {
        "N/A".into()
    };
    let fields = vec![
        ("Comment", text(item.comment.clone())),
        ("CreatedAt", text(created)),
        (
            "CreatedBy",
            text(if options.no_trunc {
                by
            } else {
                units::ellipsis(&by, 45)
            }),
        ),
        ("CreatedSince", text(since)),
        (
            "ID",
            text(if options.no_trunc {
                item.id.clone()
            } else {
                units::short_id(&item.id)
            }),
        ),
        (
            "Size",
            text(if options.exact {
                item.size.to_string()
            } else {
                units::size_precise(item.size, 3)
            }),
        ),
    ];
    Row { fields, labels: None }
}
