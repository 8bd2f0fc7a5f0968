//! The client towards servers that are slow, wrong, shy or far away.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Reply, Server};
use futures_util::future::BoxFuture;
use lighter_oci::{Descriptor, Digest, Reference, media_type};
use lighter_registry::{Blob, Client, Credential, Credentials, Error, Options, Result};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_millis(300),
        retry_pause: Duration::from_millis(5),
        ..Options::default()
    }
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

async fn resolve(options: Options, name: &str) -> Result<Descriptor> {
    let reference = reference(name);
    let repository = Client::new(options).repository(&reference)?;
    Ok(repository.resolve(&reference).await?.descriptor)
}

async fn drain(blob: &mut Blob) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    while let Some(part) = blob.next().await? {
        data.extend_from_slice(&part);
    }
    Ok(data)
}

async fn fetch(server: &Server, content: &[u8]) -> Result<Vec<u8>> {
    let repository = Client::new(options()).repository(&reference(&server.image("x")))?;
    let descriptor = Descriptor::new(
        media_type::OCI_LAYER,
        Digest::sha256(content),
        content.len() as u64,
    );
    drain(&mut repository.blob(&descriptor, 0).await?).await
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn a_tag_is_resolved_by_one_head() {
    let server = Server::start(|_| Reply::manifest(MANIFEST, media_type::OCI_INDEX));
    let found = resolve(options(), &server.image("a/b:t")).await.unwrap();
    assert_eq!(
        found,
        Descriptor::new(
            media_type::OCI_INDEX,
            Digest::sha256(MANIFEST),
            MANIFEST.len() as u64
        )
    );
    assert_eq!(server.log(), ["HEAD /v2/a/b/manifests/t"]);
    assert!(
        server.requests()[0]
            .header("accept")
            .contains(media_type::DOCKER_LIST)
    );
}

#[tokio::test]
async fn a_server_that_says_less_is_asked_for_the_manifest() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(405, ""),
        _ => Reply::new(200, MANIFEST).with("Content-Type", "application/json"),
    });
    let found = resolve(options(), &server.image("x")).await.unwrap();
    assert_eq!(
        (found.media_type.as_str(), found.digest),
        (media_type::OCI_INDEX, Digest::sha256(MANIFEST))
    );
}

#[tokio::test]
async fn errors_say_what_happened() {
    let check = async |status: u16, code: &str, words: &str| {
        let (code, expected) = (code.to_owned(), words.to_owned());
        let server = Server::start(move |_| Reply::error(status, &code, "that one"));
        let error = resolve(options(), &server.image("x")).await.unwrap_err();
        let text = lighter_stdx::error::chain(&error);
        assert!(text.contains(&expected), "{text}");
        error
    };
    assert!(matches!(
        check(404, "MANIFEST_UNKNOWN", "manifest unknown: that one").await,
        Error::NotFound { .. }
    ));
    assert!(
        check(401, "UNAUTHORIZED", "unauthorized: that one")
            .await
            .is_refused()
    );
    assert!(check(403, "DENIED", "denied: that one").await.is_refused());
    assert!(matches!(
        check(429, "TOOMANYREQUESTS", "that one").await,
        Error::TooMany { .. }
    ));
    assert!(matches!(
        check(500, "UNKNOWN", "unexpected status 500").await,
        Error::Status { status: 500, .. }
    ));
    let refused = resolve(options(), "127.0.0.1:1/x").await.unwrap_err();
    assert!(
        lighter_stdx::error::chain(&refused).contains("connection refused"),
        "{refused:?}"
    );
    let unknown = resolve(options(), "no-such-host.invalid/x").await.unwrap_err();
    assert!(
        lighter_stdx::error::chain(&unknown).contains("lookup"),
        "{unknown:?}"
    );
    let silent = Server::start(|_| Reply {
        stall: Some(0),
        ..Reply::new(200, "x")
    });
    // The head of the answer comes at once; the body never.
    let error = fetch(&silent, &content()).await.unwrap_err();
    assert!(matches!(error, Error::Cut { .. }), "{error:?}");
    let html = Server::start(|_| Reply::new(200, "<html>hello</html>"));
    assert!(matches!(
        resolve(options(), &html.image("x")).await,
        Err(Error::Answer { .. })
    ));
}

#[tokio::test]
async fn a_wrong_digest_is_an_error() {
    let other = Digest::sha256(b"other");
    let server = Server::start(|_| Reply::new(200, MANIFEST));
    let by_digest = server.image(&format!("x@{other}"));
    let error = resolve(options(), &by_digest).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    let said = Digest::sha256(MANIFEST);
    let liar = Server::start(move |_| Reply::new(200, "{}").with("Docker-Content-Digest", said.to_string()));
    assert!(matches!(
        resolve(options(), &liar.image("x")).await,
        Err(Error::Digest { .. })
    ));
}

#[tokio::test]
async fn a_cut_body_goes_on_where_it_was_cut() {
    let data = content();
    let served = data.clone();
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let server = Server::start(move |request| {
        // Seven cuts: more than the tries without progress, each with some.
        let number = count.fetch_add(1, Ordering::SeqCst);
        Reply {
            cut: (number < 7).then_some(100_000),
            ..Reply::blob(request, &served)
        }
    });
    assert_eq!(fetch(&server, &data).await.unwrap(), data);
    assert_eq!(tries.load(Ordering::SeqCst), 8);
    assert_eq!(server.requests()[7].range(), 700_000);
}

#[tokio::test]
async fn a_stalled_body_goes_on_too() {
    let data = content();
    let served = data.clone();
    let server = Server::start(move |request| {
        let stall = (request.range() == 0).then_some(50_000);
        Reply {
            stall,
            ..Reply::blob(request, &served)
        }
    });
    assert_eq!(fetch(&server, &data).await.unwrap(), data);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_again() {
    let data = content();
    let served = data.clone();
    let server = Server::start(move |request| Reply {
        cut: (request.range() == 0).then_some(50_000),
        ..Reply::new(200, served.clone())
    });
    assert_eq!(fetch(&server, &data).await.unwrap(), data);
}

#[tokio::test]
async fn a_body_that_stays_cut_or_is_too_long_is_an_error() {
    let data = content();
    let served = data.clone();
    let server = Server::start(move |request| Reply {
        cut: Some(50_000_usize.saturating_sub(request.range())),
        ..Reply::blob(request, &served)
    });
    match fetch(&server, &data).await {
        Err(Error::Cut { at: 50_000, size, .. }) => assert_eq!(size, data.len() as u64),
        other => panic!("{other:?}"),
    }
    let long = [data.as_slice(), b"more"].concat();
    let server = Server::start(move |_| Reply::new(200, long.clone()));
    assert!(matches!(fetch(&server, &data).await, Err(Error::Answer { .. })));
}

/// Credentials for one host, with a count of how often they were asked for.
#[derive(Debug)]
struct Only(String, Credential, AtomicUsize);

impl Credentials for Only {
    fn get<'a>(&'a self, host: &'a str, _: &'a str) -> BoxFuture<'a, Option<Credential>> {
        self.2.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { (host == self.0).then(|| self.1.clone()) })
    }
}

fn password() -> Credential {
    Credential::Password {
        user: "me".into(),
        password: "secret".into(),
    }
}

#[tokio::test]
async fn basic_credentials_are_sent_when_asked_for() {
    let server = Server::start(|request| match request.header("authorization") {
        "Basic bWU6c2VjcmV0" => Reply::manifest(MANIFEST, media_type::OCI_INDEX),
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let credentials = Arc::new(Only(server.address.to_string(), password(), AtomicUsize::new(0)));
    let asked = Options {
        credentials: credentials.clone(),
        ..options()
    };
    resolve(asked, &server.image("x")).await.unwrap();
    assert_eq!(server.requests()[0].header("authorization"), "");
    assert_eq!(credentials.2.load(Ordering::SeqCst), 1);
    // Nobody, or the wrong one: one clear error.
    assert!(
        resolve(options(), &server.image("x"))
            .await
            .unwrap_err()
            .is_refused()
    );
    let wrong = Credential::Password {
        user: "me".into(),
        password: "guess".into(),
    };
    let wrong = Options {
        credentials: Arc::new(Only(server.address.to_string(), wrong, AtomicUsize::new(0))),
        ..options()
    };
    assert!(resolve(wrong, &server.image("x")).await.unwrap_err().is_refused());
}

#[tokio::test]
async fn tokens_are_fetched_once_and_credentials_stay_with_the_realm() {
    let realm = Server::start(
        |request| match (request.method.as_str(), request.header("authorization")) {
            ("POST", _) if request.body.contains("refresh_token=r%2Fs") => {
                Reply::new(200, r#"{"access_token":"refreshed"}"#)
            }
            ("GET", "") => Reply::new(200, r#"{"token":"anonymous"}"#),
            ("GET", "Basic bWU6c2VjcmV0") => Reply::new(200, r#"{"token":"mine"}"#),
            _ => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
        },
    );
    let storage = Server::start(|request| Reply::blob(request, b"blob"));
    let (at, elsewhere) = (realm.address, storage.address);
    let server = Server::start(move |request| {
        match (request.header("authorization"), request.path.contains("/blobs/")) {
            ("", _) => {
                let challenge =
                    format!("Bearer realm=\"http://{at}/token\",service=\"s v\",scope=\"repository:x:pull\"");
                Reply::new(401, "").with("WWW-Authenticate", challenge)
            }
            (_, true) => Reply::new(307, "").with("Location", format!("http://{elsewhere}/signed?secret=1")),
            _ => Reply::manifest(MANIFEST, media_type::OCI_INDEX),
        }
    });
    let host = server.address.to_string();
    for (credential, token) in [
        (None, "anonymous"),
        (Some(password()), "mine"),
        (Some(Credential::Refresh("r/s".into())), "refreshed"),
    ] {
        let mut options = options();
        if let Some(credential) = credential {
            options.credentials = Arc::new(Only(host.clone(), credential, AtomicUsize::new(0)));
        }
        let reference = reference(&server.image("x"));
        let repository = Client::new(options).repository(&reference).unwrap();
        let before = realm.requests().len();
        repository.resolve(&reference).await.unwrap();
        let descriptor = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(b"blob"), 4);
        assert_eq!(
            drain(&mut repository.blob(&descriptor, 0).await.unwrap())
                .await
                .unwrap(),
            b"blob"
        );
        assert_eq!(realm.requests().len(), before + 1);
        assert_eq!(
            server.requests().last().unwrap().header("authorization"),
            format!("Bearer {token}")
        );
    }
    assert!(
        realm.log()[0].contains("scope=repository%3Ax%3Apull") && realm.log()[0].contains("service=s%20v")
    );
    assert!(
        storage
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_empty())
    );
    let wrong = Credential::Password {
        user: "me".into(),
        password: "guess".into(),
    };
    let wrong = Options {
        credentials: Arc::new(Only(host, wrong, AtomicUsize::new(0))),
        ..options()
    };
    let error = resolve(wrong, &server.image("x")).await.unwrap_err();
    assert!(
        error.to_string().contains("incorrect username or password"),
        "{error}"
    );
    assert!(!error.to_string().contains("secret"));
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_has_the_last_word() {
    let mirror = Server::start(|request| match request.path.as_str() {
        "/v2/library/ubuntu/manifests/latest?ns=docker.io" => {
            Reply::manifest(MANIFEST, media_type::OCI_INDEX)
        }
        _ => Reply::error(404, "MANIFEST_UNKNOWN", "not on the mirror"),
    });
    let hub = Server::start(|request| match request.path.as_str() {
        "/v2/library/debian/manifests/latest" => Reply::manifest(MANIFEST, media_type::OCI_INDEX),
        _ => Reply::error(404, "MANIFEST_UNKNOWN", "not on the hub"),
    });
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("docker.io")).unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://127.0.0.1:1\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        hub.address, mirror.address
    );
    std::fs::write(root.path().join("docker.io/hosts.toml"), text).unwrap();
    let with = || Options {
        hosts: Some(root.path().to_owned()),
        ..options()
    };
    resolve(with(), "ubuntu").await.unwrap();
    assert!(hub.log().is_empty());
    resolve(with(), "debian").await.unwrap();
    let error = resolve(with(), "absent").await.unwrap_err();
    assert!(error.to_string().contains("not on the hub"), "{error}");
}

/// A directory that says of `domain` what an engine writes of a registry that need not be trusted: TLS with any certificate, or none.
fn insecure(root: &std::path::Path, domain: &str) -> Options {
    std::fs::create_dir(root.join(domain)).unwrap();
    let text = format!(
        "server = \"https://{domain}\"\n[host.\"https://{domain}\"]\nskip_verify = true\n[host.\"http://{domain}\"]\n"
    );
    std::fs::write(root.join(domain).join("hosts.toml"), text).unwrap();
    Options {
        hosts: Some(root.to_owned()),
        // A single pause would take longer than the test may.
        retry_pause: Duration::from_secs(60),
        ..options()
    }
}

#[tokio::test]
async fn a_server_without_tls_is_spoken_to_plainly_at_once() {
    let server = Server::start(|request| match request.path.as_str() {
        path if path.starts_with("/v2/x/manifests/") => Reply::manifest(MANIFEST, media_type::OCI_INDEX),
        _ => Reply::error(404, "MANIFEST_UNKNOWN", "not here"),
    });
    let root = tempfile::tempdir().unwrap();
    let options = insecure(root.path(), &server.address.to_string());
    let pulls = async {
        let name = reference(&server.image("x"));
        let repository = Client::new(options.clone()).repository(&name).unwrap();
        let found = repository.resolve(&name).await.unwrap().descriptor;
        assert_eq!(repository.manifest(&found).await.unwrap(), MANIFEST);
        let absent = resolve(options, &server.image("absent")).await.unwrap_err();
        assert!(matches!(absent, Error::NotFound { .. }), "{absent:?}");
        assert!(absent.to_string().contains("not here"), "{absent}");
    };
    tokio::time::timeout(Duration::from_secs(20), pulls)
        .await
        .unwrap();
    // What is not a request of the protocol is the beginning of TLS: tried once a repository, not with each request.
    let log = server.log();
    let of = |start: &str| log.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(of("HEAD /v2/x/manifests/latest"), 1, "{log:?}");
    assert_eq!(of("GET /v2/x/manifests/sha256:"), 1, "{log:?}");
    assert_eq!(of("GET /v2/absent/manifests/latest"), 1, "{log:?}");
    assert_eq!(server.strangers(), 2);
}

#[tokio::test]
async fn what_is_called_something_else_than_a_manifest_is_refused() {
    let check = async |body: &'static str, kind: &str, words: &str| {
        let kind = kind.to_owned();
        let server = Server::start(move |_| Reply::manifest(body.as_bytes(), &kind));
        let name = reference(&server.image("x"));
        let repository = Client::new(options()).repository(&name).unwrap();
        // By its tag, as far as the answer's head tells, and by its digest.
        let resolved = repository.resolve(&name).await;
        let descriptor = Descriptor::new("", Digest::sha256(body.as_bytes()), body.len() as u64);
        let error = repository.manifest(&descriptor).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        resolved
    };
    let words = "unsupported manifest media type and no default available: application/x-bad";
    let plain = r#"{"schemaVersion":2,"manifests":[]}"#;
    let odd = r#"{"schemaVersion":2,"mediaType":"application/x-bad","manifests":[]}"#;
    assert!(matches!(
        check(plain, "application/x-bad; charset=utf-8", words).await,
        Err(Error::MediaType { .. })
    ));
    assert!(check(odd, "application/x-bad", words).await.is_err());
    check(odd, "application/json", words).await.unwrap_err();
    let words =
        "mediaType in manifest should be 'application/vnd.oci.image.index.v1+json' not 'application/x-bad'";
    check(odd, media_type::OCI_INDEX, words).await.unwrap();
    check(plain, media_type::OCI_MANIFEST, "is none").await.unwrap();
}

#[tokio::test]
async fn a_blob_that_is_missing_is_no_missing_manifest() {
    let server = Server::start(|_| Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"));
    let error = fetch(&server, b"blob").await.unwrap_err();
    assert!(matches!(error, Error::NoBlob { .. }), "{error:?}");
    assert!(error.to_string().contains(": unknown blob: "), "{error}");
}
