//! The event bus: topics as containerd has them.

use std::sync::Arc;

use jiff::Timestamp;
use lighter_meta::filter::Filters;
use lighter_shim_api::event::Event;
use lighter_stdx::clock::Clock;
use prost_types::Any;
use tokio::sync::broadcast;

use crate::{Error, Result};

/// Events that a slow subscriber may be behind before it is cut off.
const BACKLOG: usize = 4096;

/// What happened, where and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// When.
    pub timestamp: Timestamp,
    /// In which namespace.
    pub namespace: String,
    /// `/tasks/exit` and the like.
    pub topic: String,
    /// The message.
    pub event: Any,
}

/// Passes events from publishers to subscribers; keeps none.
#[derive(Debug, Clone)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Envelope>>,
    clock: Clock,
}

impl Bus {
    /// An empty bus.
    pub fn new(clock: Clock) -> Bus {
        Bus {
            sender: broadcast::Sender::new(BACKLOG),
            clock,
        }
    }

    /// Publishes `event` in `namespace` now.
    pub fn publish(&self, namespace: &str, topic: &str, event: Any) {
        self.forward(Envelope {
            timestamp: self.clock.now(),
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            event,
        });
    }

    /// Publishes a task event.
    pub(crate) fn task<E: Event>(&self, namespace: &str, event: &E) {
        let event = Any {
            type_url: E::TYPE.to_owned(),
            value: event.encode_to_vec(),
        };
        self.publish(namespace, E::TOPIC, event);
    }

    /// Publishes what another published.
    pub fn forward(&self, envelope: Envelope) {
        tracing::debug!(topic = %envelope.topic, namespace = %envelope.namespace, "event");
        // Without subscribers there is nobody to tell.
        let _ = self.sender.send(Arc::new(envelope));
    }

    /// The events from now on that one of `filters` selects (fields: `namespace`, `topic`, `event.container_id`, `event.id`).
    pub fn subscribe(&self, filters: &[String]) -> Result<Subscription> {
        let filters = Filters::parse(filters)
            .map_err(|error| Error::invalid("filter", error.filter.clone(), error.to_string()))?;
        Ok(Subscription {
            receiver: self.sender.subscribe(),
            filters,
        })
    }
}

/// Events on their way to a subscriber.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Envelope>>,
    filters: Filters,
}

impl Subscription {
    /// The next event. An error when the subscriber was too slow and lost some; `None` when the layer ends.
    pub async fn next(&mut self) -> Option<Result<Arc<Envelope>>> {
        loop {
            match self.receiver.recv().await {
                Ok(envelope) if self.selects(&envelope) => return Some(Ok(envelope)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    return Some(Err(Error::OutOfRange(format!(
                        "the subscriber was too slow: {lost} events are lost"
                    ))));
                }
            }
        }
    }

    fn selects(&self, envelope: &Envelope) -> bool {
        let ids = subject(&envelope.event);
        self.filters.matches(&|path| match path {
            ["namespace"] => Some(envelope.namespace.as_str()),
            ["topic"] => Some(envelope.topic.as_str()),
            ["event", "container_id"] => ids.as_ref().map(|ids| ids.0.as_str()),
            ["event", "id"] => ids.as_ref().map(|ids| ids.1.as_str()),
            _ => None,
        })
    }
}

/// Container and process of a task event.
fn subject(event: &Any) -> Option<(String, String)> {
    use lighter_shim_api::{Message as _, events as e};
    fn read<E: Event>(event: &Any) -> Option<E> {
        (event.type_url == E::TYPE).then(|| E::decode(event.value.as_slice()).ok())?
    }
    if let Some(exit) = read::<e::TaskExit>(event) {
        return Some((exit.container_id, exit.id));
    }
    // All others have the container as their first field.
    if event.type_url.starts_with("containerd.events.Task") {
        return e::TaskOom::decode(event.value.as_slice())
            .ok()
            .map(|event| (event.container_id, String::new()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use lighter_shim_api::events::{TaskExit, TaskStart};

    #[tokio::test]
    async fn a_subscriber_gets_what_its_filters_select() {
        let bus = Bus::new(Clock::system());
        let filter = r#"topic=="/tasks/exit",event.container_id==a"#.to_owned();
        let mut subscription = bus.subscribe(&[filter]).unwrap();
        bus.task(
            "ns",
            &TaskStart {
                container_id: "a".into(),
                pid: 1,
            },
        );
        for id in ["b", "a"] {
            bus.task(
                "ns",
                &TaskExit {
                    container_id: id.into(),
                    id: id.into(),
                    exit_status: 3,
                    ..Default::default()
                },
            );
        }
        let got = subscription.next().await.unwrap().unwrap();
        assert_eq!(got.topic, "/tasks/exit");
        assert_eq!(subject(&got.event), Some(("a".into(), "a".into())));
    }
}
