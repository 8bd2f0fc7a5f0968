//! Task events: topic, type name, envelope.

use crate::events;
use crate::types::Envelope;
use crate::{Any, Message, Timestamp};

/// A message that is published under a topic.
pub trait Event: Message + Default {
    /// Topic in containerd's event bus.
    const TOPIC: &'static str;
    /// Full protobuf name, as containerd puts it in `Any.type_url`.
    const TYPE: &'static str;
}

macro_rules! events {
    ($($message:ident $topic:literal)*) => {$(
        impl Event for events::$message {
            const TOPIC: &'static str = $topic;
            const TYPE: &'static str = concat!("containerd.events.", stringify!($message));
        }
    )*};
}

events! {
    TaskCreate "/tasks/create"
    TaskStart "/tasks/start"
    TaskExit "/tasks/exit"
    TaskDelete "/tasks/delete"
    TaskExecAdded "/tasks/exec-added"
    TaskExecStarted "/tasks/exec-started"
    TaskPaused "/tasks/paused"
    TaskResumed "/tasks/resumed"
    TaskCheckpointed "/tasks/checkpointed"
}

// prost writes `TaskOom` where the protocol says `TaskOOM`.
impl Event for events::TaskOom {
    const TOPIC: &'static str = "/tasks/oom";
    const TYPE: &'static str = "containerd.events.TaskOOM";
}

/// `event` as it is sent for `namespace`.
pub fn envelope<E: Event>(namespace: &str, at: Timestamp, event: &E) -> Envelope {
    Envelope {
        timestamp: Some(at),
        namespace: namespace.to_owned(),
        topic: E::TOPIC.to_owned(),
        event: Some(Any {
            type_url: E::TYPE.to_owned(),
            value: event.encode_to_vec(),
        }),
    }
}

/// The event inside `envelope` when it is an `E` that can be read.
pub fn open<E: Event>(envelope: &Envelope) -> Option<E> {
    let any = envelope.event.as_ref()?;
    if !crate::service::is_type(&any.type_url, E::TYPE) {
        return None;
    }
    E::decode(any.value.as_slice()).ok()
}
