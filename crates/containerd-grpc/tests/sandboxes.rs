//! Records of sandboxes, their controller's refusals, and reflection, through the socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;

use lighter_containerd_api::reflection::server_reflection_client::ServerReflectionClient;
use lighter_containerd_api::reflection::server_reflection_request::MessageRequest;
use lighter_containerd_api::reflection::server_reflection_response::MessageResponse;
use lighter_containerd_api::reflection::{ServerReflectionRequest, ServerReflectionResponse};
use lighter_containerd_api::sandbox::controller_client::ControllerClient;
use lighter_containerd_api::sandbox::store_client::StoreClient;
use lighter_containerd_api::sandbox::{self as api};
use lighter_containerd_api::types::{Sandbox, sandbox::Runtime};
use prost::Message as _;
use prost_types::{Any, FileDescriptorProto};
use support::{Server, request, request_in};
use tonic::Code;

fn sandbox(id: &str, labels: &[(&str, &str)]) -> Sandbox {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(Runtime {
            name: "io.containerd.none.v1".to_owned(),
            options: None,
        }),
        spec: Some(Any {
            type_url: "x".to_owned(),
            value: vec![0, 159, 146, 150],
        }),
        labels: labels.iter().map(own).collect(),
        extensions: HashMap::from([("a.b".to_owned(), Any::default())]),
        sandboxer: "shim".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_record_is_kept_found_changed_and_removed_in_its_namespace() {
    let server = Server::start().await;
    let mut store = StoreClient::new(server.channel.clone());
    let create = |sandbox: Sandbox| {
        let sandbox = Some(sandbox);
        request(api::StoreCreateRequest { sandbox })
    };
    let made = store
        .create(create(sandbox("one", &[("tier", "web")])))
        .await
        .unwrap();
    let made = made.into_inner().sandbox.unwrap();
    let expected = Sandbox {
        created_at: made.created_at,
        updated_at: made.created_at,
        ..sandbox("one", &[("tier", "web")])
    };
    assert_eq!(made, expected);
    let twice = store.create(create(sandbox("one", &[]))).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    let bad = store.create(create(sandbox("../x", &[]))).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    let get = |id: &str| api::StoreGetRequest {
        sandbox_id: id.to_owned(),
    };
    let got = store.get(request(get("one"))).await.unwrap().into_inner();
    assert_eq!(got.sandbox.as_ref(), Some(&made));
    let elsewhere = store.get(request_in("other", get("one"))).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::NotFound);
    // One label by its name; a runtime never by the way.
    let update = |sandbox: Sandbox, fields: &[&str]| {
        request(api::StoreUpdateRequest {
            sandbox: Some(sandbox),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        })
    };
    let change = sandbox("one", &[("zone", "a"), ("tier", "no")]);
    let now = store
        .update(update(change, &["labels.zone"]))
        .await
        .unwrap()
        .into_inner();
    let labels = now.sandbox.unwrap().labels;
    assert_eq!((labels["zone"].as_str(), labels["tier"].as_str()), ("a", "web"));
    let mut other = sandbox("one", &[]);
    other.runtime = None;
    for (sandbox, fields) in [(other, &[][..]), (sandbox("one", &[]), &["created_at"][..])] {
        let refused = store.update(update(sandbox, fields)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    store.create(create(sandbox("two", &[]))).await.unwrap();
    let list = |filters: &[&str]| {
        request(api::StoreListRequest {
            filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
        })
    };
    for (filters, expected) in [
        (&[][..], 2),
        (&["id==two"], 1),
        (&["labels.zone==a"], 1),
        (&["runtime.name==x"], 0),
    ] {
        let found = store.list(list(filters)).await.unwrap().into_inner().list;
        assert_eq!(found.len(), expected, "{filters:?}");
    }
    let delete = |id: &str| {
        request(api::StoreDeleteRequest {
            sandbox_id: id.to_owned(),
        })
    };
    store.delete(delete("one")).await.unwrap();
    assert_eq!(
        store.delete(delete("one")).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_sandbox_that_does_not_run_is_stopped_and_one_that_cannot_is_refused() {
    let server = Server::start().await;
    let mut store = StoreClient::new(server.channel.clone());
    let one = Some(sandbox("one", &[]));
    store
        .create(request(api::StoreCreateRequest { sandbox: one }))
        .await
        .unwrap();
    let mut controller = ControllerClient::new(server.channel.clone());
    let start = |id: &str, sandboxer: &str| {
        request(api::ControllerStartRequest {
            sandbox_id: id.to_owned(),
            sandboxer: sandboxer.to_owned(),
        })
    };
    let no_shim = controller.start(start("one", "shim")).await.unwrap_err();
    assert_eq!(no_shim.code(), Code::InvalidArgument);
    assert!(no_shim.message().contains("containerd-shim-none-v1"), "{no_shim}");
    let unknown = controller.start(start("two", "shim")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let other = controller.start(start("one", "podsandbox")).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    let stop = api::ControllerStopRequest {
        sandbox_id: "one".to_owned(),
        ..Default::default()
    };
    controller.stop(request(stop)).await.unwrap();
    let status = api::ControllerStatusRequest {
        sandbox_id: "one".to_owned(),
        ..Default::default()
    };
    let status = controller.status(request(status)).await.unwrap().into_inner();
    assert!(
        status.exited_at.is_some() && status.state.is_empty(),
        "{status:?}"
    );
    let wait = api::ControllerWaitRequest {
        sandbox_id: "one".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        controller.wait(request(wait)).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn reflection_tells_every_service_and_its_messages() {
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let asked = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("containerd.services.tasks.v1.Tasks".to_owned()),
        MessageRequest::FileContainingSymbol("containerd.services.tasks.v1.Nothing".to_owned()),
    ];
    let asked = asked.map(|message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    });
    let answers = client.server_reflection_info(tokio_stream::iter(asked)).await;
    let mut answers = answers.unwrap().into_inner();
    let mut next = async || {
        let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
        answer.message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("a list");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "tasks.v1.Tasks",
        "content.v1.Content",
        "sandbox.v1.Store",
        "transfer.v1.Transfer",
    ] {
        let full = format!("containerd.services.{name}");
        assert!(names.contains(&full.as_str()), "{names:?}");
    }
    let MessageResponse::FileDescriptorResponse(files) = next().await else {
        panic!("files");
    };
    let files = files.file_descriptor_proto.iter();
    let files: Vec<_> = files
        .map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap())
        .collect();
    assert_eq!(files[0].service[0].name(), "Tasks");
    // All that it needs is there, so that a client can build its messages.
    for need in files.iter().flat_map(|file| &file.dependency) {
        assert!(files.iter().any(|file| file.name() == need), "{need}");
    }
    assert!(matches!(next().await, MessageResponse::ErrorResponse(error) if error.error_code == 5));
}
