//! Pulls through the socket, from a registry that wants a password.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use lighter_containerd_api::images::GetImageRequest;
use lighter_containerd_api::images::images_client::ImagesClient;
use lighter_containerd_api::streaming::StreamInit;
use lighter_containerd_api::streaming::streaming_client::StreamingClient;
use lighter_containerd_api::transfer::transfer_client::TransferClient;
use lighter_containerd_api::transfer::{TransferOptions, TransferRequest};
use lighter_containerd_api::transfer_types::{
    AuthRequest, AuthResponse, AuthType, ImageStore, OciRegistry, Progress, RegistryResolver,
    UnpackConfiguration,
};
use lighter_containerd_api::types::Platform;
use lighter_containerd_api::{Any, any};
use lighter_oci::Digest;
use serde_json::json;
use support::{Server, request};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// A registry with one image, `x:1`, for the user `me` with the password `secret`.
struct Registry {
    address: String,
    layer: Digest,
    /// Told when somebody wants the layer of a registry that never gives it.
    asked: Arc<Notify>,
}

struct Files {
    files: HashMap<String, (String, Vec<u8>)>,
    stuck: Option<String>,
    asked: Arc<Notify>,
}

impl Registry {
    async fn start(is_stuck: bool) -> Registry {
        // An empty tar archive, and as much after its end that it is worth a progress.
        let layer = vec![0; 1 << 20];
        let diff = Digest::sha256(&layer);
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]},
        });
        let config = config.to_string().into_bytes();
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::sha256(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff, "size": layer.len(),
            }],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut files = HashMap::new();
        for name in ["1".to_owned(), Digest::sha256(&manifest).to_string()] {
            let file = (manifest_type.to_owned(), manifest.clone());
            files.insert(format!("/v2/x/manifests/{name}"), file);
        }
        for blob in [config, layer] {
            let path = format!("/v2/x/blobs/{}", Digest::sha256(&blob));
            files.insert(path, ("application/octet-stream".to_owned(), blob));
        }
        let asked = Arc::new(Notify::new());
        let files = Arc::new(Files {
            files,
            stuck: is_stuck.then(|| format!("/v2/x/blobs/{diff}")),
            asked: Arc::clone(&asked),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&files)));
            }
        });
        Registry {
            address,
            layer: diff,
            asked,
        }
    }
}

/// One connection; each request has no body.
async fn serve(connection: TcpStream, files: Arc<Files>) {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut first, mut is_known) = (String::new(), false);
        loop {
            let mut line = String::new();
            match connection.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            // `me:secret`
            is_known |=
                line.to_ascii_lowercase().starts_with("authorization:") && line.contains("bWU6c2VjcmV0");
            match line.trim_end() {
                "" => break,
                text if first.is_empty() => text.clone_into(&mut first),
                _ => {}
            }
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        if is_known && files.stuck.as_ref() == Some(&path) {
            files.asked.notify_one();
            return std::future::pending().await;
        }
        let (head, body): (String, &[u8]) = match files.files.get(&path) {
            _ if !is_known => (
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"here\"".into(),
                b"",
            ),
            None => ("404 Not Found".into(), b""),
            Some((kind, body)) => (
                format!(
                    "200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {}",
                    Digest::sha256(body)
                ),
                body,
            ),
        };
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
        let body = if method == "HEAD" { b"" } else { body };
        let answer = [head.as_bytes(), body].concat();
        if connection.get_mut().write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Opens a stream: what we send, and what we hear.
async fn stream(server: &Server, id: &str) -> (mpsc::Sender<Any>, Streaming<Any>) {
    let (sender, messages) = mpsc::channel(4);
    let init = StreamInit { id: id.to_owned() };
    sender.send(any::pack(&init)).await.unwrap();
    let mut client = StreamingClient::new(server.channel.clone());
    let opened = client.stream(request(ReceiverStream::new(messages))).await;
    let mut heard = opened.unwrap().into_inner();
    assert_eq!(
        heard.message().await.unwrap().unwrap().type_url,
        "google.protobuf.Empty"
    );
    (sender, heard)
}

/// A pull of `x:1`: how it ended, and the words about its layer.
async fn pull(server: &Server, registry: &Registry, password: &str) -> (Result<(), Status>, Vec<String>) {
    let (_sender, mut progress) = stream(server, "progress").await;
    let (answers, mut questions) = stream(server, "auth").await;
    let (password, reference) = (password.to_owned(), format!("{}/x:1", registry.address));
    let (host, about) = (registry.address.clone(), reference.clone());
    let answering = tokio::spawn(async move {
        while let Ok(Some(question)) = questions.message().await {
            let question: AuthRequest = any::unpack(&question).unwrap().unwrap();
            assert_eq!((question.host, question.reference), (host.clone(), about.clone()));
            let answer = AuthResponse {
                auth_type: AuthType::Credentials.into(),
                username: "me".to_owned(),
                secret: password.clone(),
                expire_at: None,
            };
            answers.send(any::pack(&answer)).await.unwrap();
        }
    });
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        ..Default::default()
    };
    let source = OciRegistry {
        reference,
        resolver: Some(RegistryResolver {
            auth_stream: "auth".to_owned(),
            ..Default::default()
        }),
    };
    let destination = ImageStore {
        name: "pulled".to_owned(),
        platforms: vec![platform.clone()],
        unpacks: vec![UnpackConfiguration {
            platform: Some(platform),
            snapshotter: "overlayfs".to_owned(),
        }],
        ..Default::default()
    };
    let transfer = TransferRequest {
        source: Some(any::pack(&source)),
        destination: Some(any::pack(&destination)),
        options: Some(TransferOptions {
            progress_stream: "progress".to_owned(),
        }),
    };
    let mut client = TransferClient::new(server.channel.clone());
    let ended = client.transfer(request(transfer)).await.map(drop);
    // The streams end with the transfer.
    answering.await.unwrap();
    let mut words = Vec::new();
    while let Some(word) = progress.message().await.unwrap() {
        let word: Progress = any::unpack(&word).unwrap().unwrap();
        if word.name == registry.layer.as_str() && words.last() != Some(&word.event) {
            words.push(word.event);
        }
    }
    (ended, words)
}

async fn leases(server: &Server) -> usize {
    server.layer.leases("test").list(&[]).unwrap().len()
}

#[tokio::test]
async fn an_image_is_pulled_with_a_password_and_its_progress_told() {
    let server = Server::start().await;
    let registry = Registry::start(false).await;
    let (ended, words) = pull(&server, &registry, "secret").await;
    ended.unwrap();
    let [first, .., last] = words.as_slice() else {
        panic!("{words:?}");
    };
    assert_eq!(
        (first.as_str(), last.as_str()),
        ("waiting", "complete"),
        "{words:?}"
    );
    assert!(words.contains(&"downloading".to_owned()), "{words:?}");
    let mut images = ImagesClient::new(server.channel.clone());
    let get = || {
        request(GetImageRequest {
            name: "pulled".into(),
        })
    };
    let target = images
        .get(get())
        .await
        .unwrap()
        .into_inner()
        .image
        .unwrap()
        .target;
    assert!(target.unwrap().media_type.ends_with("manifest.v1+json"));
    // What the image needs stays without a lease.
    assert_eq!(leases(&server).await, 0);
    server.layer.collect().await.unwrap();
    let snapshots = server.layer.snapshotter("overlayfs", "test", None).unwrap();
    assert!(snapshots.stat(registry.layer.as_str()).await.is_ok());
    let (again, words) = pull(&server, &registry, "secret").await;
    again.unwrap();
    assert_eq!(words, ["exists"]);
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() {
    let server = Server::start().await;
    let registry = Registry::start(false).await;
    let (ended, words) = pull(&server, &registry, "guess").await;
    let error = ended.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "{error}");
    assert!(words.is_empty() && leases(&server).await == 0, "{words:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_pull_along() {
    let server = Server::start().await;
    let registry = Registry::start(true).await;
    tokio::select! {
        (ended, _) = pull(&server, &registry, "secret") => panic!("{ended:?}"),
        () = registry.asked.notified() => {}
    }
    // The server hears of the end when it hears of it.
    while leases(&server).await > 0 {
        tokio::task::yield_now().await;
    }
    let mut images = ImagesClient::new(server.channel.clone());
    let get = images
        .get(request(GetImageRequest {
            name: "pulled".into(),
        }))
        .await;
    assert_eq!(get.unwrap_err().code(), Code::NotFound);
}
