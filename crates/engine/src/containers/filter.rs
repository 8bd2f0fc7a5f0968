//! What `ps --filter` means.

use jiff::Timestamp;
use lighter_engine_api::{ContainerSummary, Filters};
use regex::Regex;

use super::View;
use crate::{Error, Result};

const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// A request's filters, read once.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    filters: &'a Filters,
    names: Vec<Pattern>,
    ids: Vec<Pattern>,
    exited: Vec<i64>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    published: Vec<Ports>,
    exposed: Vec<Ports>,
    task: Option<bool>,
}

/// A regular expression, or plain text where it is none.
#[derive(Debug)]
struct Pattern(String, Option<Regex>);

impl Pattern {
    fn all(values: &[String]) -> Vec<Self> {
        values
            .iter()
            .map(|value| Self(value.clone(), Regex::new(value).ok()))
            .collect()
    }

    fn matches(&self, text: &str) -> bool {
        self.0 == text || self.1.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

impl Ports {
    fn parse(text: &str) -> Option<Self> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let known = ["tcp", "udp", "sctp"].contains(&protocol);
        (known && first <= last).then(|| Self {
            first,
            last,
            protocol: protocol.to_owned(),
        })
    }

    fn all(filters: &Filters, key: &str) -> Result<Vec<Self>> {
        let read = |value: &String| {
            Self::parse(value).ok_or_else(|| Error::invalid(format!("invalid filter '{key}={value}'")))
        };
        filters.values(key).iter().map(read).collect()
    }

    fn has(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

impl<'a> Filter<'a> {
    /// Reads them; `created` tells when the container of that name was.
    pub(super) fn new(filters: &'a Filters, created: impl Fn(&str) -> Result<Timestamp>) -> Result<Self> {
        filters.check(KNOWN).map_err(Error::invalid)?;
        let wrong = |key: &str, value: &str| Error::invalid(format!("invalid filter '{key}={value}'"));
        let within = |key: &str, known: &[&str]| match filters
            .values(key)
            .iter()
            .find(|value| !known.contains(&value.as_str()))
        {
            Some(value) => Err(wrong(key, value)),
            None => Ok(()),
        };
        within("status", &STATES)?;
        within("health", &["none", "starting", "healthy", "unhealthy"])?;
        let exited = filters.values("exited").iter();
        let exited = exited
            .map(|value| value.parse().map_err(|_| wrong("exited", value)))
            .collect::<Result<_>>()?;
        let moments = |key: &str| {
            filters
                .values(key)
                .iter()
                .map(|name| created(name))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            filters,
            names: Pattern::all(filters.values("name")),
            ids: Pattern::all(filters.values("id")),
            exited,
            before: moments("before")?.into_iter().min(),
            since: moments("since")?.into_iter().max(),
            published: Ports::all(filters, "publish")?,
            exposed: Ports::all(filters, "expose")?,
            task: filters.flag("is-task").map_err(Error::invalid)?,
        })
    }

    /// What can be said before the row is made.
    pub(super) fn early(&self, view: &View) -> bool {
        let (record, state) = (&view.record, &view.state);
        let any = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|one| one.matches(text))
        };
        let named = self.names.is_empty()
            || self
                .names
                .iter()
                .any(|one| one.matches(&record.name) || one.matches(&format!("/{}", record.name)));
        named
            && any(&self.ids, &record.id)
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && (self.exited.is_empty()
                || !state.phase.alive() && state.finished.is_some() && self.exited.contains(&state.exit_code))
            && self.filters.exact("status", state.phase.word())
            // Nothing here has a health, or is a swarm's task.
            && self.filters.exact("health", "none")
            && self.task != Some(true)
            && self.filters.any("ancestor", |value| stands_on(&record.config.image, &record.image_id, value))
            && self.filters.any("volume", |value| {
                record.mounts.iter().any(|mount| mount.name == value || mount.destination == value)
            })
            && (self.exposed.is_empty()
                || record.config.exposed_ports.iter().flatten().any(|(port, _)| {
                    Ports::parse(port).is_some_and(|found| {
                        self.exposed.iter().any(|wanted| wanted.has(found.first, &found.protocol))
                    })
                }))
    }

    /// What is seen in the row.
    pub(super) fn late(&self, row: &ContainerSummary) -> bool {
        let networks = &row.network_settings.networks;
        self.filters.labels(&row.labels)
            && self.filters.any("network", |value| {
                networks
                    .iter()
                    .any(|(name, settings)| name == value || settings.network_id == value)
            })
            && (self.published.is_empty()
                || row.ports.iter().any(|port| {
                    port.public_port != 0
                        && self.published.iter().any(|wanted| {
                            wanted.has(port.public_port, &port.kind)
                                || wanted.has(port.private_port, &port.kind)
                        })
                }))
    }
}

/// Whether an image that was named `name` and has `id` is what `value` means.
fn stands_on(name: &str, id: &str, value: &str) -> bool {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    let wanted = value.strip_prefix("sha256:").unwrap_or(value);
    let by_id =
        wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) && hex.starts_with(wanted);
    by_id || short(name) == short(value)
}

/// A reference without what is understood: the public hub, and the tag `latest`.
fn short(reference: &str) -> &str {
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let reference = reference.strip_prefix("library/").unwrap_or(reference);
    reference.strip_suffix(":latest").unwrap_or(reference)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::containers::tests::record;
    use crate::containers::{Phase, State};

    fn view() -> View {
        let mut record = record();
        record.config.image = "busybox".into();
        record.image_id = format!("sha256:{}", "ab".repeat(32));
        record.created = Timestamp::from_second(10).unwrap();
        let state = State {
            phase: Phase::Exited,
            finished: Some(record.created),
            exit_code: 3,
            ..State::default()
        };
        View {
            record: Arc::new(record),
            state,
            endpoint: None,
            removed: false,
        }
    }

    fn created(name: &str) -> Result<Timestamp> {
        name.parse()
            .ok()
            .and_then(|second| Timestamp::from_second(second).ok())
            .ok_or_else(|| Error::not_found(name))
    }

    #[test]
    fn filters_narrow() {
        for (text, expected) in [
            (r#"{"name":["we"]}"#, true),
            (r#"{"name":["^/web$"]}"#, true),
            (r#"{"name":["x"]}"#, false),
            (r#"{"id":["0123"]}"#, true),
            (r#"{"exited":["3"]}"#, true),
            (r#"{"exited":["0"]}"#, false),
            (r#"{"status":["exited","dead"]}"#, true),
            (r#"{"status":["running"]}"#, false),
            (r#"{"before":["11"]}"#, true),
            (r#"{"before":["10"]}"#, false),
            (r#"{"since":["9"]}"#, true),
            (r#"{"ancestor":["docker.io/library/busybox:latest"]}"#, true),
            (r#"{"ancestor":["abab"]}"#, true),
            (r#"{"ancestor":["busy"]}"#, false),
            (r#"{"is-task":["true"]}"#, false),
            (r#"{"volume":["/x"]}"#, false),
        ] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!(
                Filter::new(&filters, created).unwrap().early(&view()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, message) in [
            (r#"{"x":["y"]}"#, "invalid filter 'x'"),
            (r#"{"status":["up"]}"#, "invalid filter 'status=up'"),
            (r#"{"exited":["a"]}"#, "invalid filter 'exited=a'"),
            (r#"{"publish":["a"]}"#, "invalid filter 'publish=a'"),
        ] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!(Filter::new(&filters, created).unwrap_err().message, message);
        }
    }
}
