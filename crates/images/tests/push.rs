//! Images go from the store to Debian's docker-registry, and come back. Needs root, docker-registry, skopeo.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use common::{Home, Layout, Registry, options};
use lighter_images::{Event, Progress, Push, State, name, push};
use lighter_oci::Descriptor;
use lighter_registry::Client;
use lighter_stdx::kind::Kind;

async fn pushed(home: &Home, target: &Descriptor, to: &str) -> (lighter_images::Result<()>, Vec<Event>) {
    let what = Push {
        reference: to.parse().unwrap(),
        target: target.clone(),
        name: "it".into(),
    };
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let result = push(
        &Client::new(options()),
        &home.store(),
        &what,
        &Progress::new(sender),
    )
    .await;
    let mut events = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        events.push(event);
    }
    (result, events)
}

/// How each part ended, by its name.
fn ends(events: &[Event]) -> Vec<(String, State)> {
    let mut found: Vec<(String, State)> = Vec::new();
    for event in events {
        let part = event.part.as_ref().unwrap();
        let name = name(&part.descriptor);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = event.state,
            None => found.push((name, event.state)),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_once_and_mounted_then() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let layers = [
        layout.layer("head -c 3000000 /dev/urandom >big"),
        layout.layer("echo two >two"),
    ];
    let manifest = layout.image(&layers, "amd64");
    layout.push(&layout.index(&[manifest]), &registry.image("team/app:v1"));
    let (pulled, _) = home.pull(&registry.image("team/app:v1"), options()).await;
    let target = pulled.unwrap().target;

    // Where it came from has it: blobs are mounted from there.
    let (result, events) = pushed(&home, &target, &registry.image("team/copy:v1")).await;
    result.unwrap();
    let (blobs, documents): (Vec<_>, Vec<_>) = ends(&events)
        .into_iter()
        .partition(|(name, _)| name.starts_with("layer") || name.starts_with("config"));
    assert_eq!((blobs.len(), documents.len()), (3, 2));
    assert!(blobs.iter().all(|(_, state)| *state == State::Known), "{blobs:?}");
    assert!(
        documents.iter().all(|(_, state)| *state == State::Complete),
        "{documents:?}"
    );
    let index = events[0].part.as_ref().unwrap();
    assert_eq!(index.parents, ["it"]);
    assert_eq!(
        events[1].part.as_ref().unwrap().parents,
        [name(&index.descriptor)]
    );

    // Another registry has nothing.
    let other = Registry::start();
    let (result, events) = pushed(&home, &target, &other.image("x:y")).await;
    result.unwrap();
    let all = ends(&events);
    assert!(all.iter().all(|(_, state)| *state == State::Complete), "{all:?}");
    assert!(
        events
            .iter()
            .any(|event| event.state == State::Uploading && event.progress > 0)
    );
    let second = Home::new();
    let (pulled, _) = second.pull(&other.image("x:y"), options()).await;
    assert_eq!(pulled.unwrap().target.digest, target.digest);

    // The second time it has all.
    let (result, events) = pushed(&home, &target, &other.image("x:y")).await;
    result.unwrap();
    assert!(ends(&events).iter().all(|(_, state)| *state == State::Known));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_pushed() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let (one, two) = (
        layout.image(&[layout.layer("echo amd >x")], "amd64"),
        layout.image(&[layout.layer("echo arm >x")], "arm64"),
    );
    layout.push(&layout.index(&[one, two]), &registry.image("app:v1"));
    let (pulled, _) = home.pull(&registry.image("app:v1"), options()).await;
    let other = Registry::start();
    let (result, events) = pushed(&home, &pulled.unwrap().target, &other.image("app:v1")).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(
        events.iter().all(|event| event.state == State::Waiting),
        "nothing was sent"
    );
}
