//! Containers, namespaces and what the server tells about itself, through its socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;

use lighter_containerd_api::containers::containers_client::ContainersClient;
use lighter_containerd_api::containers::{self as api, Container};
use lighter_containerd_api::health::HealthCheckRequest;
use lighter_containerd_api::health::health_client::HealthClient;
use lighter_containerd_api::introspection::introspection_client::IntrospectionClient;
use lighter_containerd_api::introspection::{PluginInfoRequest, PluginsRequest};
use lighter_containerd_api::namespaces::namespaces_client::NamespacesClient;
use lighter_containerd_api::namespaces::{self as ns, Namespace};
use lighter_containerd_api::version::version_client::VersionClient;
use prost_types::{Any, FieldMask};
use support::{Server, request, request_in};
use tonic::{Code, Request};

fn container(id: &str) -> Container {
    Container {
        id: id.to_owned(),
        labels: HashMap::from([("io.x/tier".to_owned(), "web".to_owned())]),
        image: "docker.io/library/busybox:latest".to_owned(),
        runtime: Some(api::container::Runtime {
            name: "io.containerd.lighter.v1".to_owned(),
            options: Some(Any {
                type_url: "some.Options".to_owned(),
                value: vec![0, 159, 146, 150],
            }),
        }),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            value: b"{}".to_vec(),
        }),
        snapshotter: "overlayfs".to_owned(),
        snapshot_key: id.to_owned(),
        extensions: HashMap::from([("a.b".to_owned(), Any::default())]),
        ..Default::default()
    }
}

async fn create(client: &mut ContainersClient<tonic::transport::Channel>, id: &str) -> Container {
    let container = Some(container(id));
    let created = client
        .create(request(api::CreateContainerRequest { container }))
        .await;
    created.unwrap().into_inner().container.unwrap()
}

#[tokio::test]
async fn a_container_is_kept_as_it_was_given() {
    let server = Server::start().await;
    let mut client = ContainersClient::new(server.channel.clone());
    let created = create(&mut client, "one").await;
    let get = api::GetContainerRequest { id: "one".to_owned() };
    let got = client.get(request(get.clone())).await.unwrap().into_inner();
    assert_eq!(got.container.as_ref(), Some(&created));
    let expected = Container {
        created_at: created.created_at,
        updated_at: created.updated_at,
        ..container("one")
    };
    assert_eq!(created, expected);
    assert!(created.created_at.is_some());
    // In another namespace it is unknown; and its name is taken in its own.
    let elsewhere = client.get(request_in("other", get.clone())).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::NotFound);
    assert_eq!(
        elsewhere.message(),
        r#"container "one" in namespace "other": not found"#
    );
    let twice = Some(container("one"));
    let twice = client
        .create(request(api::CreateContainerRequest { container: twice }))
        .await;
    assert_eq!(twice.unwrap_err().code(), Code::AlreadyExists);
    // It outlives the server.
    let server = Server::start_in(server.stop().await).await;
    let mut client = ContainersClient::new(server.channel.clone());
    let got = client.get(request(get.clone())).await.unwrap().into_inner();
    assert_eq!(got.container, Some(created));
    let delete = api::DeleteContainerRequest { id: "one".to_owned() };
    client.delete(request(delete.clone())).await.unwrap();
    assert_eq!(
        client.delete(request(delete)).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(client.get(request(get)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn requests_that_can_never_succeed_are_told_so() {
    let server = Server::start().await;
    let mut client = ContainersClient::new(server.channel.clone());
    let bare = client
        .list(api::ListContainersRequest::default())
        .await
        .unwrap_err();
    assert_eq!(bare.code(), Code::FailedPrecondition);
    assert!(bare.message().contains("namespace is required"), "{bare}");
    let list = |filter: &str| api::ListContainersRequest {
        filters: vec![filter.to_owned()],
    };
    let escape = client.list(request_in("../x", list(""))).await.unwrap_err();
    assert_eq!(escape.code(), Code::InvalidArgument);
    let filter = client.list(request(list("id~=["))).await.unwrap_err();
    assert_eq!(filter.code(), Code::InvalidArgument);
    for wrong in [
        None,
        Some(container("../escape")),
        Some(Container {
            runtime: None,
            ..container("a")
        }),
        Some(Container {
            spec: None,
            ..container("a")
        }),
    ] {
        let refused = client
            .create(request(api::CreateContainerRequest { container: wrong }))
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn lists_are_filtered_whole_or_as_a_stream() {
    let server = Server::start().await;
    let mut client = ContainersClient::new(server.channel.clone());
    for id in ["b", "a", "c"] {
        create(&mut client, id).await;
    }
    let list = |filters: &[&str]| {
        request(api::ListContainersRequest {
            filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
        })
    };
    let ids = |all: Vec<Container>| all.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let all = client.list(list(&[])).await.unwrap().into_inner().containers;
    assert_eq!(ids(all), ["a", "b", "c"]);
    let some = list(&["id==a", r#"id==c,labels."io.x/tier"==web"#, "id==b,labels.no"]);
    let some = client.list(some).await.unwrap().into_inner().containers;
    assert_eq!(ids(some), ["a", "c"]);
    let mut stream = client
        .list_stream(list(&["id~=[ab]"]))
        .await
        .unwrap()
        .into_inner();
    let mut streamed = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        streamed.push(message.container.unwrap());
    }
    assert_eq!(ids(streamed), ["a", "b"]);
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let server = Server::start().await;
    let mut client = ContainersClient::new(server.channel.clone());
    let created = create(&mut client, "one").await;
    let change = Container {
        labels: HashMap::from([("new".to_owned(), "yes".to_owned())]),
        image: "other".to_owned(),
        ..container("one")
    };
    let update = |paths: &[&str]| {
        request(api::UpdateContainerRequest {
            container: Some(change.clone()),
            update_mask: Some(FieldMask {
                paths: paths.iter().map(|&path| path.to_owned()).collect(),
            }),
        })
    };
    let updated = client.update(update(&["labels.new"])).await.unwrap().into_inner();
    let updated = updated.container.unwrap();
    assert_eq!(updated.labels.len(), 2);
    assert_eq!(updated.image, created.image);
    let updated = client.update(update(&[])).await.unwrap().into_inner();
    let updated = updated.container.unwrap();
    assert_eq!(updated.labels, change.labels);
    assert_eq!(updated.image, "other");
    assert_eq!(updated.created_at, created.created_at);
    let refused = client.update(update(&["runtime"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_large_spec_passes_and_a_larger_one_does_not() {
    let server = Server::start().await;
    let mut client = ContainersClient::new(server.channel.clone()).max_decoding_message_size(32 << 20);
    let large = |id: &str, bytes: usize| {
        let mut container = container(id);
        container.spec.as_mut().unwrap().value = vec![b' '; bytes];
        let mut client = client.clone();
        async move {
            let container = Some(container);
            client
                .create(request(api::CreateContainerRequest { container }))
                .await
        }
    };
    large("fits", 12 << 20).await.unwrap();
    assert_eq!(
        large("does-not", 17 << 20).await.unwrap_err().code(),
        Code::OutOfRange
    );
    let get = api::GetContainerRequest {
        id: "fits".to_owned(),
    };
    let got = client.get(request(get)).await.unwrap().into_inner();
    assert_eq!(got.container.unwrap().spec.unwrap().value.len(), 12 << 20);
}

#[tokio::test]
async fn namespaces_are_made_labelled_and_removed_when_empty() {
    let server = Server::start().await;
    let mut client = NamespacesClient::new(server.channel.clone());
    let namespace = |labels: &[(&str, &str)]| {
        Some(Namespace {
            name: "test".to_owned(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })
    };
    let create = || ns::CreateNamespaceRequest {
        namespace: namespace(&[("a", "1")]),
    };
    client.create(create()).await.unwrap();
    assert_eq!(
        client.create(create()).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    let update = ns::UpdateNamespaceRequest {
        namespace: namespace(&[("b", "2")]),
        update_mask: Some(FieldMask {
            paths: vec!["labels.b".to_owned()],
        }),
    };
    client.update(update).await.unwrap();
    let get = ns::GetNamespaceRequest {
        name: "test".to_owned(),
    };
    let got = client.get(get.clone()).await.unwrap().into_inner().namespace;
    assert_eq!(got, namespace(&[("a", "1"), ("b", "2")]));
    let mut containers = ContainersClient::new(server.channel.clone());
    self::create(&mut containers, "one").await;
    let delete = ns::DeleteNamespaceRequest {
        name: "test".to_owned(),
    };
    let full = client.delete(delete.clone()).await.unwrap_err();
    assert_eq!(full.code(), Code::FailedPrecondition);
    assert!(full.message().contains("containers"), "{full}");
    let one = api::DeleteContainerRequest { id: "one".to_owned() };
    containers.delete(request(one)).await.unwrap();
    client.delete(delete).await.unwrap();
    // One that is not there has no labels: Docker 20.10 asks for them before it has made anything.
    let none = client.get(get).await.unwrap().into_inner().namespace;
    assert_eq!(none, namespace(&[]));
    let list = client.list(ns::ListNamespacesRequest::default()).await;
    assert_eq!(list.unwrap().into_inner().namespaces, []);
}

#[tokio::test]
async fn the_server_tells_what_it_is() {
    let server = Server::start().await;
    let mut version = VersionClient::new(server.channel.clone());
    let version = version.version(Request::new(())).await.unwrap().into_inner();
    assert_eq!(
        (version.version.as_str(), version.revision.as_str()),
        ("v1.2.3", "abc")
    );
    let mut health = HealthClient::new(server.channel.clone());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    let unknown = HealthCheckRequest {
        service: "no.such".to_owned(),
    };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let mut introspection = IntrospectionClient::new(server.channel.clone());
    let itself = introspection.server(Request::new(())).await.unwrap().into_inner();
    assert_eq!(itself.pid, u64::from(std::process::id()));
    assert!(itself.uuid.len() == 36 && itself.pidns > 0, "{itself:?}");
    // What an engine looks for to learn whether a snapshotter is there.
    let filters = vec!["type==io.containerd.snapshotter.v1,id==overlayfs".to_owned()];
    let plugins = introspection.plugins(PluginsRequest { filters }).await.unwrap();
    let plugins = plugins.into_inner().plugins;
    assert_eq!(plugins.len(), 1, "{plugins:?}");
    assert!(
        plugins[0].exports["root"].ends_with("/root/snapshots")
            && plugins[0].platforms[0].os == "linux"
            && plugins[0].init_err.is_none(),
        "{plugins:?}"
    );
    let info = |id: &str| PluginInfoRequest {
        r#type: "io.containerd.runtime.v2".to_owned(),
        id: id.to_owned(),
        options: None,
    };
    introspection.plugin_info(info("task")).await.unwrap();
    let unknown = introspection.plugin_info(info("no")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}
