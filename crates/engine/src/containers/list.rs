//! Containers as `ps` shows them. Nothing here waits: all is read from what the actors published.

use jiff::{SignedDuration, Timestamp};
use lighter_engine_api::{ContainerSummary, Filters, Port, SummaryHostConfig, SummaryNetworkSettings};

use super::filter::Filter;
use super::{Phase, Record, State, View, inspect};
use crate::{Engine, Result};

/// Which containers are wanted.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// Only the last so many to be created, whether or not they run.
    pub limit: Option<usize>,
    /// With the size of their files.
    pub size: bool,
    /// Narrowed further.
    pub filters: Filters,
}

impl Engine {
    /// Containers, the newest first.
    pub fn list(&self, options: ListOptions) -> Result<Vec<ContainerSummary>> {
        let mut views: Vec<_> = self
            .inner
            .containers
            .all()
            .iter()
            .map(|container| container.view())
            .collect();
        views.retain(|view| !view.removed);
        views.sort_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
        let filter = Filter::new(&options.filters, |name| {
            let container = self.inner.containers.find(name)?;
            Ok(container.view().record.created)
        })?;
        let everything = options.all || options.limit.is_some() || options.filters.contains("status");
        let now = self.inner.config.clock.now();
        let bridge = self.inner.network.info().id;
        let wanted = views
            .iter()
            .filter(|view| everything || running(view.state.phase))
            .filter(|view| filter.early(view));
        let summaries = wanted
            .map(|view| summary(view, &bridge, now))
            .filter(|summary| filter.late(summary));
        Ok(summaries.take(options.limit.unwrap_or(usize::MAX)).collect())
    }
}

/// What counts as running for `ps`.
fn running(phase: Phase) -> bool {
    phase.alive() || phase == Phase::Restarting
}

fn summary(view: &View, bridge: &str, now: Timestamp) -> ContainerSummary {
    let record = &view.record;
    let mut mounts = record.mounts.clone();
    for mount in mounts.iter_mut().filter(|mount| mount.kind == "volume") {
        mount.source.clear();
    }
    ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: record.config.image.clone(),
        image_id: record.image_id.clone(),
        command: command(record),
        created: record.created.as_second(),
        ports: ports(view),
        size_rw: 0,
        size_root_fs: 0,
        labels: record.config.labels.clone().unwrap_or_default(),
        state: view.state.phase.word().to_owned(),
        status: status(&view.state, now),
        host_config: SummaryHostConfig {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings {
            networks: inspect::networks(view, bridge),
        },
        mounts,
    }
}

fn command(record: &Record) -> String {
    let quoted = |text: &String| {
        if text.contains(' ') {
            format!("'{text}'")
        } else {
            text.clone()
        }
    };
    let words: Vec<String> = std::iter::once(record.path.clone())
        .chain(record.args.iter().map(quoted))
        .collect();
    words.join(" ")
}

fn ports(view: &View) -> Vec<Port> {
    let mut list = Vec::new();
    for (name, bindings) in inspect::ports(view) {
        let (number, kind) = name.split_once('/').unwrap_or((&name, "tcp"));
        let port = Port {
            private_port: number.parse().unwrap_or(0),
            kind: kind.to_owned(),
            ..Port::default()
        };
        match bindings {
            None => list.push(port),
            Some(bindings) => list.extend(bindings.into_iter().map(|binding| Port {
                ip: binding.host_ip,
                public_port: binding.host_port.parse().unwrap_or(0),
                ..port.clone()
            })),
        }
    }
    list
}

/// `Up 3 minutes`, in Docker's words.
fn status(state: &State, now: Timestamp) -> String {
    let since =
        |time: Option<Timestamp>| human(time.map_or(SignedDuration::ZERO, |time| now.duration_since(time)));
    match state.phase {
        Phase::Running => format!("Up {}", since(state.started)),
        Phase::Paused => format!("Up {} (Paused)", since(state.started)),
        Phase::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished)),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
        Phase::Created => "Created".to_owned(),
        Phase::Exited if state.finished.is_none() => String::new(),
        Phase::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}

/// A duration as Docker rounds it for people.
fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::tests::record;

    #[test]
    fn durations_are_rounded_as_docker_rounds_them() {
        const HOUR: i64 = 3600;
        for (seconds, expected) in [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (119, "About a minute"),
            (3599, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR * 3 / 2, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (24 * 14 * HOUR, "2 weeks"),
            (24 * 60 * HOUR, "2 months"),
            (24 * 365 * 2 * HOUR, "2 years"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn a_state_is_told_in_dockers_words() {
        let now = Timestamp::from_second(1000).unwrap();
        let told = |phase, exit_code| {
            let at = |second| Timestamp::from_second(second).ok();
            status(
                &State {
                    phase,
                    exit_code,
                    started: at(700),
                    finished: at(998),
                    ..State::default()
                },
                now,
            )
        };
        assert_eq!(told(Phase::Running, 0), "Up 5 minutes");
        assert_eq!(told(Phase::Paused, 0), "Up 5 minutes (Paused)");
        assert_eq!(told(Phase::Restarting, 1), "Restarting (1) 2 seconds ago");
        assert_eq!(told(Phase::Exited, 137), "Exited (137) 2 seconds ago");
        assert_eq!(told(Phase::Created, 0), "Created");
    }

    #[test]
    fn words_with_spaces_are_quoted() {
        let mut record = record();
        record.args = vec!["-c".into(), "exit 3".into()];
        assert_eq!(command(&record), "sh -c 'exit 3'");
    }
}
