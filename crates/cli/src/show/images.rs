//! `images`.

use std::collections::BTreeMap;

use lighter_client::{Client, Query};
use lighter_engine_api::{Filters, ImageSummary};
use lighter_go_template::Value;

use super::format::{self, Clock, Columns, Row};
use super::{Error, Shown, ask, units};

/// What `images` was told. (A repository as argument is the filter `reference`.)
#[derive(Debug, Clone, Default)]
pub(crate) struct ImagesOptions {
    /// `-a`
    pub(crate) all: bool,
    /// `-q`
    pub(crate) quiet: bool,
    /// `--digests`
    pub(crate) digests: bool,
    /// `--no-trunc`
    pub(crate) no_trunc: bool,
    /// `--filter`
    pub(crate) filters: Filters,
    /// `--format`, or the configuration's `imagesFormat`; empty is the table.
    pub(crate) format: String,
}

const COLUMNS: Columns = Columns {
    type_name: "*formatter.imageContext",
    headings: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

const NONE: &str = "<none>";

/// The images.
pub(crate) fn images(client: &Client, options: &ImagesOptions, clock: &Clock) -> Result<Shown, Error> {
    let filters = if options.filters.is_empty() {
        String::new()
    } else {
        options.filters.to_json()
    };
    let query = Query::new()
        .flag("all", options.all)
        .with_some("filters", &filters);
    let images: Vec<ImageSummary> = ask::get(client, "/images/json", &query)?;
    let text = format_text(options);
    // Digests are rows of their own only where they are shown.
    let digests = options.digests || text.contains("{{.Digest}}");
    let mut rows = Vec::new();
    for image in &images {
        rows.extend(
            names(image, digests)
                .into_iter()
                .map(|name| row(image, name, !options.no_trunc, clock)),
        );
    }
    format::rows(&text, &COLUMNS, rows).map(Shown::from)
}

fn format_text(options: &ImagesOptions) -> String {
    match options.format.as_str() {
        "" | "table" if options.quiet => "{{.ID}}".into(),
        "" | "table" => {
            let digest = if options.digests { "{{.Digest}}\t" } else { "" };
            format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{{{{if .CreatedSince }}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
            )
        }
        "raw" if options.quiet => "image_id: {{.ID}}".into(),
        "raw" => {
            let digest = if options.digests {
                "digest: {{.Digest}}\n"
            } else {
                ""
            };
            format!(
                "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            )
        }
        _ if options.quiet => "{{.ID}}".into(),
        format => format.into(),
    }
}

struct Name {
    repository: String,
    tag: String,
    digest: String,
}

/// One row for each tag; for each digest of a repository too, when digests are shown or it has no tag.
fn names(image: &ImageSummary, digests_shown: bool) -> Vec<Name> {
    let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut digests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in image.repo_tags.iter().filter(|name| *name != "<none>:<none>") {
        if let Some((repository, tag)) = name.rsplit_once(':') {
            tags.entry(repository).or_default().push(tag);
        }
    }
    for name in image.repo_digests.iter().filter(|name| *name != "<none>@<none>") {
        if let Some((repository, digest)) = name.split_once('@') {
            digests.entry(repository).or_default().push(digest);
        }
    }
    let mut names = Vec::new();
    let mut add = |repository: &str, tag: &str, digest: &str| {
        names.push(Name {
            repository: repository.into(),
            tag: tag.into(),
            digest: digest.into(),
        });
    };
    if tags.is_empty() && digests.is_empty() {
        add(NONE, NONE, NONE);
    }
    for (repository, tags) in tags {
        let known = digests
            .remove(repository)
            .filter(|_| digests_shown)
            .unwrap_or_else(|| vec![NONE]);
        for tag in tags {
            known.iter().for_each(|digest| add(repository, tag, digest));
        }
    }
    for (repository, digests) in digests {
        digests.iter().for_each(|digest| add(repository, NONE, digest));
    }
    names
}

fn row(image: &ImageSummary, name: Name, trunc: bool, clock: &Clock) -> Row {
    let text = Value::Str;
    let or_not = |known: bool, text: String| if known { text } else { "N/A".to_owned() };
    let unique = image.size - image.shared_size;
    let fields = vec![
        (
            "Containers",
            text(or_not(image.containers != -1, image.containers.to_string())),
        ),
        ("CreatedAt", text(clock.go_time(image.created))),
        (
            "CreatedSince",
            text(if image.created > 0 {
                clock.ago(image.created)
            } else {
                String::new()
            }),
        ),
        ("Digest", text(name.digest)),
        (
            "ID",
            text(if trunc {
                units::short_id(&image.id)
            } else {
                image.id.clone()
            }),
        ),
        ("Repository", text(name.repository)),
        (
            "SharedSize",
            text(or_not(image.shared_size != -1, units::size(image.shared_size))),
        ),
        ("Size", text(units::size_precise(image.size, 3))),
        ("Tag", text(name.tag)),
        (
            "UniqueSize",
            text(or_not(image.shared_size != -1, units::size(unique))),
        ),
        ("VirtualSize", text(units::size(image.size))),
    ];
    Row { fields, labels: None }
}
