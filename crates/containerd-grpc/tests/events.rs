//! Events through the socket, and the socket itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use lighter_containerd::Layer;
use lighter_containerd_api::event_service::events_client::EventsClient;
use lighter_containerd_api::event_service::{ForwardRequest, PublishRequest, SubscribeRequest};
use lighter_containerd_api::types::Envelope;
use prost_types::{Any, Timestamp};
use support::{Server, config, request, socket};
use tonic::Code;

fn publish(topic: &str) -> PublishRequest {
    let event = Some(Any {
        type_url: "a.B".to_owned(),
        value: vec![1, 2],
    });
    PublishRequest {
        topic: topic.to_owned(),
        event,
    }
}

#[tokio::test]
async fn a_subscriber_hears_what_is_published_and_forwarded() {
    let server = Server::start().await;
    let mut client = EventsClient::new(server.channel.clone());
    let filters = vec!["topic==/a/b".to_owned(), "namespace==other".to_owned()];
    let mut events = client
        .subscribe(SubscribeRequest { filters })
        .await
        .unwrap()
        .into_inner();
    client.publish(request(publish("/not/wanted"))).await.unwrap();
    client.publish(request(publish("/a/b"))).await.unwrap();
    let got = events.message().await.unwrap().unwrap();
    assert_eq!((got.namespace.as_str(), got.topic.as_str()), ("test", "/a/b"));
    assert_eq!(got.event, publish("").event);
    assert!(got.timestamp.is_some());
    let envelope = Envelope {
        timestamp: Some(Timestamp {
            seconds: 1_000,
            nanos: 5,
        }),
        namespace: "other".to_owned(),
        topic: "/c".to_owned(),
        event: None,
    };
    let forward = |envelope: Envelope| ForwardRequest {
        envelope: Some(envelope),
    };
    client.forward(forward(envelope.clone())).await.unwrap();
    let got = events.message().await.unwrap().unwrap();
    assert_eq!(got.timestamp, envelope.timestamp);
    for wrong in ["", "/", "no-slash", "/a//b", "/../b"] {
        let refused = client.publish(request(publish(wrong))).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}");
    }
    let bare = client.publish(publish("/a")).await.unwrap_err();
    assert_eq!(bare.code(), Code::FailedPrecondition);
    let timeless = Envelope {
        timestamp: None,
        ..envelope
    };
    let refused = client.forward(forward(timeless)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_connection_carries_more_waits_than_there_are_containers() {
    let server = Server::start().await;
    let mut client = EventsClient::new(server.channel.clone());
    let mut all = Vec::new();
    for _ in 0..1_000 {
        let subscription = client.subscribe(SubscribeRequest::default()).await;
        all.push(subscription.unwrap().into_inner());
    }
    client.publish(request(publish("/a"))).await.unwrap();
    for events in &mut all {
        assert_eq!(events.message().await.unwrap().unwrap().topic, "/a");
    }
}

#[tokio::test]
async fn a_stop_ends_subscriptions_at_once() {
    let server = Server::start().await;
    let mut client = EventsClient::new(server.channel.clone());
    let subscription = client.subscribe(SubscribeRequest::default()).await;
    let mut events = subscription.unwrap().into_inner();
    let begun = Instant::now();
    let dir = server.stop().await;
    assert_eq!(events.message().await.unwrap_err().code(), Code::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!socket(dir.path()).exists(), "the socket is gone");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(dir.path());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::start_in(dir).await;
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let shims = path.with_extension("sock.ttrpc");
    assert!(shims.exists(), "{}", shims.display());
    // One layer to a state directory.
    let second = Layer::open(config(server.dir.path())).await.unwrap_err();
    assert_eq!(second.kind(), lighter_containerd::Kind::FailedPrecondition);
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::open(config(dir.path())).await.unwrap();
    let path = socket(dir.path());
    std::fs::write(&path, "precious").unwrap();
    let refused = lighter_containerd_grpc::serve(layer, &path, std::future::pending()).await;
    assert!(refused.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_may_have_a_path_longer_than_an_address() {
    let dir = tempfile::Builder::new()
        .prefix(&"long".repeat(40))
        .tempdir()
        .unwrap();
    let path = socket(dir.path());
    assert!(path.as_os_str().len() > 108);
    let layer = Layer::open(config(dir.path())).await.unwrap();
    let serving = tokio::spawn({
        let path = path.clone();
        async move { lighter_containerd_grpc::serve(layer, &path, std::future::pending()).await }
    });
    let connected = loop {
        match lighter_stdx::unix_socket::connect(&path) {
            Ok(stream) => break stream,
            Err(_) => assert!(!serving.is_finished()),
        }
        tokio::task::yield_now().await;
    };
    drop(connected);
    serving.abort();
}
