//! Pushes to servers that have things already, ask for tokens, fail in passing, or point elsewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Reply, Request, Server};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use lighter_oci::{Descriptor, Digest, media_type};
use lighter_registry::{Client, Credential, Credentials, Error, Options, Parts, Pushed, Result};

const BLOB: &str = "a blob of some bytes";

fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_millis(300),
        retry_pause: Duration::from_millis(5),
        ..Options::default()
    }
}

fn descriptor() -> Descriptor {
    let digest = Digest::sha256(BLOB.as_bytes());
    Descriptor::new(media_type::OCI_LAYER, digest, BLOB.len() as u64)
}

fn open() -> Parts {
    // In two parts, so that it is put together.
    let (one, two) = BLOB.as_bytes().split_at(7);
    futures_util::stream::iter([Ok(Bytes::from_static(one)), Ok(Bytes::from_static(two))]).boxed()
}

async fn push_with(options: Options, server: &Server, from: Option<&str>) -> Result<Pushed> {
    let reference = server.image("a/b").parse().unwrap();
    let repository = Client::new(options).repository(&reference)?;
    repository.push_blob(&descriptor(), from, &open).await
}

async fn push(server: &Server, from: Option<&str>) -> Result<Pushed> {
    push_with(options(), server, from).await
}

/// A registry without the blob, which takes uploads.
fn registry(request: &Request) -> Reply {
    match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        "POST" => Reply::new(202, "").with("Location", "/upload/1?state=x%3D"),
        "PUT" => Reply::new(201, ""),
        _ => Reply::new(400, ""),
    }
}

#[tokio::test]
async fn a_blob_is_sent_whole_to_where_the_registry_says() {
    let server = Server::start(registry);
    assert_eq!(push(&server, None).await.unwrap(), Pushed::Sent);
    let digest = Digest::sha256(BLOB.as_bytes());
    let log = [
        format!("HEAD /v2/a/b/blobs/{digest}"),
        "POST /v2/a/b/blobs/uploads/".to_owned(),
        format!("PUT /upload/1?state=x%3D&digest={digest}"),
    ];
    assert_eq!(server.log(), log);
    let put = &server.requests()[2];
    assert_eq!(
        (put.body.as_str(), put.header("content-type")),
        (BLOB, "application/octet-stream")
    );
}

#[tokio::test]
async fn what_is_there_is_not_sent() {
    let server = Server::start(|_| Reply::new(200, ""));
    assert_eq!(push(&server, Some("c/d")).await.unwrap(), Pushed::Exists);
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let server = Server::start(|request| match request.path.contains("from=c/d") {
        true => Reply::new(201, ""),
        false => registry(request),
    });
    assert_eq!(push(&server, Some("c/d")).await.unwrap(), Pushed::Mounted);
    let digest = Digest::sha256(BLOB.as_bytes());
    let mount = format!("POST /v2/a/b/blobs/uploads/?mount={digest}&from=c/d");
    assert_eq!(server.log()[1..], [mount]);
}

#[tokio::test]
async fn what_cannot_be_mounted_is_sent() {
    // The registry begins an upload at once, or refuses the other repository.
    for refused in [202, 401, 404] {
        let server = Server::start(move |request| match request.path.contains("from=c/d") {
            true if refused != 202 => Reply::new(refused, ""),
            _ => registry(request),
        });
        let pushed = push(&server, Some("c/d")).await;
        assert_eq!(pushed.unwrap(), Pushed::Sent, "{refused}");
        let posts = server
            .log()
            .iter()
            .filter(|line| line.starts_with("POST"))
            .count();
        assert_eq!(posts, if refused == 202 { 1 } else { 2 }, "{refused}");
    }
}

#[tokio::test]
async fn what_fails_in_passing_is_sent_again_from_the_start() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.method.as_str() {
        "PUT" if tries.fetch_add(1, Ordering::SeqCst) == 0 => Reply::new(503, ""),
        _ => registry(request),
    });
    assert_eq!(push(&server, None).await.unwrap(), Pushed::Sent);
    assert_eq!(server.requests().last().unwrap().body, BLOB);
}

#[tokio::test]
async fn a_registry_that_stores_something_else_is_found_out() {
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" => Reply::new(201, "").with("Docker-Content-Digest", Digest::sha256(b"else").to_string()),
        _ => registry(request),
    });
    assert!(matches!(push(&server, None).await, Err(Error::Digest { .. })));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_registry_s_words() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        _ => Reply::error(403, "DENIED", "not for you"),
    });
    let error = push(&server, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::Denied { message, .. } if message == "denied: not for you"),
        "{error}"
    );
}

#[derive(Debug)]
struct Me;

impl Credentials for Me {
    fn get<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Option<Credential>> {
        let credential = Credential::Password {
            user: "me".into(),
            password: "pw".into(),
        };
        Box::pin(async { Some(credential) })
    }
}

#[tokio::test]
async fn a_token_that_ends_on_the_way_is_renewed() {
    // Each token is good for two requests.
    let (given, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            used.store(0, Ordering::SeqCst);
            return Reply::new(200, format!("{{\"token\":\"t{number}\"}}"));
        }
        let expected = format!("Bearer t{}", given.load(Ordering::SeqCst));
        if request.header("authorization") != expected || used.fetch_add(1, Ordering::SeqCst) >= 2 {
            let realm = format!("http://{}/token", request.header("host"));
            return Reply::new(401, "").with(
                "WWW-Authenticate",
                format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:a/b:pull,push repository:c/d:pull\""),
            );
        }
        registry(request)
    });
    let options = Options {
        credentials: std::sync::Arc::new(Me),
        ..options()
    };
    let pushed = push_with(options, &server, Some("c/d")).await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    let log = server.log();
    let tokens: Vec<_> = log.iter().filter(|line| line.contains("/token")).collect();
    assert!(tokens.len() > 1, "{log:?}");
    // A scope each.
    assert!(
        tokens[0].contains("scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull"),
        "{tokens:?}"
    );
    assert_eq!(server.requests().last().unwrap().body, BLOB);
}

#[tokio::test]
async fn an_upload_to_another_server_has_no_credentials_of_this_one() {
    let storage = Server::start(|_| Reply::new(201, ""));
    let address = storage.address;
    let server = Server::start(move |request| match request.method.as_str() {
        _ if request.header("authorization").is_empty() => {
            Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\"")
        }
        "POST" => Reply::new(202, "").with("Location", format!("http://{address}/put?sig=1")),
        _ => registry(request),
    });
    let options = Options {
        credentials: std::sync::Arc::new(Me),
        ..options()
    };
    assert_eq!(push_with(options, &server, None).await.unwrap(), Pushed::Sent);
    let put = &storage.requests()[0];
    assert_eq!((put.header("authorization"), put.body.as_str()), ("", BLOB));
}

#[tokio::test]
async fn a_manifest_gets_its_tag_unless_it_has_it() {
    let body = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let descriptor = Descriptor::new(media_type::OCI_INDEX, Digest::sha256(&body), body.len() as u64);
    let check = async |has: Option<Digest>, tag: Option<&str>, expected: Pushed, path: String| {
        let server = Server::start(move |request| match (request.method.as_str(), &has) {
            ("HEAD", Some(digest)) => Reply::new(200, "").with("Docker-Content-Digest", digest.to_string()),
            _ => registry(request),
        });
        let reference = server.image("a/b").parse().unwrap();
        let repository = Client::new(options()).repository(&reference).unwrap();
        let pushed = repository.push_manifest(&descriptor, &body, tag).await;
        assert_eq!(pushed.unwrap(), expected);
        let last = server.log().last().unwrap().clone();
        assert_eq!(last, path);
        if expected == Pushed::Sent {
            assert_eq!(
                server.requests().last().unwrap().header("content-type"),
                media_type::OCI_INDEX
            );
        }
    };
    let own = descriptor.digest.clone();
    let by_digest = |method: &str| format!("{method} /v2/a/b/manifests/{}", descriptor.digest);
    check(None, Some("t"), Pushed::Sent, "PUT /v2/a/b/manifests/t".into()).await;
    check(None, None, Pushed::Sent, by_digest("PUT")).await;
    let tagged = "HEAD /v2/a/b/manifests/t".to_owned();
    check(Some(own.clone()), Some("t"), Pushed::Exists, tagged).await;
    check(Some(own), None, Pushed::Exists, by_digest("HEAD")).await;
    // The tag is another image's until now.
    let other = Some(Digest::sha256(b"other"));
    check(other, Some("t"), Pushed::Sent, "PUT /v2/a/b/manifests/t".into()).await;
}
