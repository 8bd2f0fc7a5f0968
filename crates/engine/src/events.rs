//! What happened: a bus to those who listen, and the last of it for those who come late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use lighter_engine_api::{EventActor, EventMessage, Filters};
use lighter_stdx::clock::Clock;
use tokio::sync::broadcast;

use crate::{Engine, Error, Result};

/// How many past events are kept for `since`.
const KEPT: usize = 1000;

/// How far a listener may fall behind before it loses the oldest.
const BEHIND: usize = 1024;

/// The keys that `filters` of events may have.
const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// What a listener wants.
#[derive(Debug, Clone, Default)]
pub struct EventsOptions {
    /// From when on past events are told; without it only new ones are.
    pub since: Option<Timestamp>,
    /// Until when; the stream ends there. Without it it goes on.
    pub until: Option<Timestamp>,
    /// Which.
    pub filters: Filters,
}

/// Where events are published.
#[derive(Debug)]
pub struct Bus {
    clock: Clock,
    sender: broadcast::Sender<Arc<EventMessage>>,
    /// The last of them, oldest first. Held while one is sent, so that who subscribes under it misses none and sees none twice.
    ring: Mutex<VecDeque<Arc<EventMessage>>>,
}

impl Bus {
    /// A bus that has seen nothing.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            sender: broadcast::channel(BEHIND).0,
            ring: Mutex::default(),
        }
    }

    /// Tells that `action` was done to the `kind` (`container`, `image`, `network`, `volume`, `daemon`) named `id`.
    pub fn publish(
        &self,
        kind: &str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let (action, id) = (action.into(), id.into());
        let now = self.clock.now();
        let old = kind == "container" || kind == "image";
        let event = Arc::new(EventMessage {
            status: if old { action.clone() } else { String::new() },
            id: if old { id.clone() } else { String::new() },
            from: match kind {
                "container" => attributes.get("image").cloned().unwrap_or_default(),
                _ => String::new(),
            },
            kind: kind.to_owned(),
            action,
            actor: EventActor { id, attributes },
            scope: "local".into(),
            time: now.as_second(),
            // Nanoseconds fit until the year 2262.
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        });
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(event.clone());
        // Nobody listening is no failure.
        let _ = self.sender.send(event);
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }

    /// Past and coming events as `options` want them.
    pub fn listen(
        &self,
        options: EventsOptions,
    ) -> Result<impl Stream<Item = Arc<EventMessage>> + Send + use<>> {
        options.filters.check(FILTERS).map_err(Error::invalid)?;
        let EventsOptions {
            since,
            until,
            filters,
        } = options;
        let nanos = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        let (past, receiver) = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = |event: &&Arc<EventMessage>| {
                since.is_some_and(|since| event.time_nano >= nanos(since))
                    && until.is_none_or(|until| event.time_nano <= nanos(until))
            };
            let past: Vec<_> = ring.iter().filter(wanted).cloned().collect();
            (past, self.sender.subscribe())
        };
        let left = until.map(|until| {
            let left = until.duration_since(self.clock.now());
            std::time::Duration::try_from(left).unwrap_or_default()
        });
        let ended = async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let coming = stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    Err(broadcast::error::RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "a listener for events was too slow");
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Ok(stream::iter(past)
            .chain(coming.take_until(Box::pin(ended)))
            .filter(move |event| std::future::ready(matches(&filters, event))))
    }
}

impl Engine {
    /// Past and coming events.
    pub fn events(
        &self,
        options: EventsOptions,
    ) -> Result<impl Stream<Item = Arc<EventMessage>> + Send + use<>> {
        self.inner.events.listen(options)
    }
}

fn matches(filters: &Filters, event: &EventMessage) -> bool {
    let attributes = &event.actor.attributes;
    let name = attributes.get("name").map(String::as_str).unwrap_or_default();
    let of_kind = |kind: &str| {
        filters.values(kind).is_empty()
            || event.kind == kind
                && filters.any(kind, |value| {
                    event.actor.id.starts_with(value) || name.starts_with(value)
                })
    };
    // `exec_create: ls` is found by `exec_create`, `health_status: healthy` by `health_status`.
    let action = |wanted: &str| {
        event.action == wanted
            || event.action.split_once(':').is_some_and(|(before, _)| {
                before == wanted && (before.starts_with("exec_") || before == "health_status")
            })
    };
    filters.any("event", action)
        && filters.exact("type", &event.kind)
        && filters.exact("scope", &event.scope)
        && [
            "container",
            "daemon",
            "network",
            "volume",
            "plugin",
            "service",
            "node",
            "secret",
            "config",
        ]
        .into_iter()
        .all(of_kind)
        && filters.any("image", |value| of_image(event, name, value))
        && filters.labels(attributes)
}

fn of_image(event: &EventMessage, name: &str, value: &str) -> bool {
    let bare = |name: &str| match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare.to_owned(),
        _ => name.to_owned(),
    };
    let names = match event.kind.as_str() {
        "image" => [event.actor.id.as_str(), name],
        _ => [
            event
                .actor
                .attributes
                .get("image")
                .map(String::as_str)
                .unwrap_or_default(),
            "",
        ],
    };
    names
        .iter()
        .any(|found| !found.is_empty() && (*found == value || bare(found) == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus() -> Bus {
        Bus::new(Clock::system())
    }

    fn named(name: &str) -> BTreeMap<String, String> {
        [
            ("name".to_owned(), name.to_owned()),
            ("image".to_owned(), "busybox:1".to_owned()),
        ]
        .into()
    }

    async fn actions(bus: &Bus, filters: &str) -> Vec<String> {
        let options = EventsOptions {
            since: Some(Timestamp::UNIX_EPOCH),
            until: Some(bus.clock.now()),
            filters: Filters::parse(filters).unwrap(),
        };
        bus.listen(options)
            .unwrap()
            .map(|event| event.action.clone())
            .collect()
            .await
    }

    #[tokio::test]
    async fn the_past_is_told_once_and_the_future_after_it() {
        let bus = bus();
        bus.publish("container", "create", "1", named("web"));
        let options = EventsOptions {
            since: Some(Timestamp::UNIX_EPOCH),
            ..EventsOptions::default()
        };
        let mut listener = Box::pin(bus.listen(options).unwrap());
        bus.publish("container", "start", "1", named("web"));
        assert_eq!(listener.next().await.unwrap().action, "create");
        let start = listener.next().await.unwrap();
        assert_eq!(
            (start.action.as_str(), start.status.as_str(), start.from.as_str()),
            ("start", "start", "busybox:1")
        );
    }

    #[tokio::test]
    async fn without_since_only_new_ones_come() {
        let bus = bus();
        bus.publish("network", "create", "n", BTreeMap::new());
        let mut listener = Box::pin(bus.listen(EventsOptions::default()).unwrap());
        bus.publish("network", "destroy", "n", BTreeMap::new());
        let event = listener.next().await.unwrap();
        assert_eq!((event.action.as_str(), event.status.as_str()), ("destroy", ""));
    }

    #[tokio::test]
    async fn filters_narrow() {
        let bus = bus();
        bus.publish("container", "create", "abc", named("web"));
        bus.publish("container", "exec_create: ls", "abc", named("web"));
        bus.publish("network", "connect", "n", named("bridge"));
        for (filters, expected) in [
            (r#"{"type":["network"]}"#, vec!["connect"]),
            (r#"{"event":["exec_create"]}"#, vec!["exec_create: ls"]),
            (r#"{"container":["web"]}"#, vec!["create", "exec_create: ls"]),
            (r#"{"container":["ab"],"event":["create"]}"#, vec!["create"]),
            (r#"{"image":["busybox"],"event":["create"]}"#, vec!["create"]),
            (r#"{"label":["name=web"],"event":["create"]}"#, vec!["create"]),
            (r#"{"container":["other"]}"#, vec![]),
        ] {
            assert_eq!(actions(&bus, filters).await, expected, "{filters}");
        }
        let options = EventsOptions {
            filters: Filters::parse(r#"{"x":["y"]}"#).unwrap(),
            ..EventsOptions::default()
        };
        assert_eq!(bus.listen(options).err().unwrap().message, "invalid filter 'x'");
    }

    #[tokio::test]
    async fn only_the_last_thousand_are_kept() {
        let bus = bus();
        for number in 0..KEPT + 5 {
            bus.publish("volume", number.to_string(), "v", BTreeMap::new());
        }
        let kept = actions(&bus, "").await;
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT, "5"));
    }
}
