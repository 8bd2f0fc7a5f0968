//! A name on the hosts that serve it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, header};
use hyper::body::Incoming;
use lighter_oci::{Descriptor, Digest, Reference, media_type};
use rustls::RootCertStore;

use crate::auth::{Auth, Credentials, NoCredentials};
use crate::blob::Blob;
use crate::challenge;
use crate::hosts::{self, HostConfig};
use crate::http::{Http, Payload, shown};
use crate::{Error, Result, tls};

/// Bytes that a manifest or an index may have: as many as registries themselves take.
const MOST_OF_MANIFEST: usize = 4 << 20;
const MOST_REDIRECTS: usize = 10;
/// Tries of a request that fails in passing.
const TRIES: u32 = 3;

/// How to reach registries.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory with a directory for each registry that is not reached in the plain way (containerd's `certs.d`).
    pub hosts: Option<PathBuf>,
    /// Whether a registry without such a directory is spoken to without TLS.
    pub plain_http: bool,
    /// The authorities to trust, PEM: the text of `/etc/ssl/certs/ca-certificates.crt`.
    pub authorities: Arc<[u8]>,
    /// Whom to ask for credentials.
    pub credentials: Arc<dyn Credentials>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer, or the next bytes of one, may take.
    pub stall_timeout: Duration,
    /// The pause before the second try of what failed in passing; it doubles with each.
    pub retry_pause: Duration,
    /// What we call ourselves.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            hosts: None,
            plain_http: false,
            authorities: Arc::default(),
            credentials: Arc::new(NoCredentials),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            retry_pause: Duration::from_millis(500),
            user_agent: concat!("lighter/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// A client of registries.
#[derive(Debug, Clone)]
pub struct Client {
    options: Options,
    roots: RootCertStore,
}

/// What a reference names now.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// Its bytes, checked, if they came along.
    pub body: Option<Bytes>,
}

/// A name on the hosts that serve it, mirrors first.
#[derive(Debug)]
pub struct Repository {
    pub(crate) name: String,
    domain: String,
    pub(crate) hosts: Vec<Arc<Host>>,
    pub(crate) retry_pause: Duration,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: HostConfig,
    pub(crate) http: Http,
    /// For the places that this host redirects to.
    elsewhere: Http,
    auth: Auth,
    namespace: Option<String>,
    scope: String,
    base: String,
    /// The scheme by which something answered at this authority: shared by the hosts that differ in nothing else.
    spoken: Arc<OnceLock<String>>,
}

impl Client {
    /// A client with these options.
    pub fn new(options: Options) -> Client {
        let roots = tls::roots(&options.authorities);
        Client { options, roots }
    }

    /// The repository of `reference`, on the hosts that are configured for it now.
    pub fn repository(&self, reference: &Reference) -> Result<Repository> {
        let options = &self.options;
        let http = |host: Option<&HostConfig>| {
            let tls = tls::config(&self.roots, host)?;
            Ok::<_, Error>(Http::new(
                tls,
                options.connect_timeout,
                options.stall_timeout,
                &options.user_agent,
            ))
        };
        let domain = reference.domain();
        let elsewhere = http(None)?;
        let mut hosts = hosts::hosts(options.hosts.as_deref(), domain)?;
        if options.plain_http && options.hosts.is_none() {
            hosts.iter_mut().for_each(|host| host.scheme = "http".into());
        }
        let hosts = hosts::without_repeats(hosts);
        let mut spoken: HashMap<String, Arc<OnceLock<String>>> = HashMap::new();
        let hosts = hosts.into_iter().map(|config| {
            Ok(Arc::new(Host {
                spoken: Arc::clone(spoken.entry(config.authority.clone()).or_default()),
                http: http(Some(&config))?,
                elsewhere: elsewhere.clone(),
                auth: Auth::new(Arc::clone(&options.credentials), &config.authority, domain),
                namespace: config.is_mirror.then(|| domain.to_owned()),
                scope: format!("repository:{}:pull", reference.path()),
                base: format!(
                    "{}://{}{}/{}",
                    config.scheme,
                    config.authority,
                    config.path,
                    reference.path()
                ),
                config,
            }))
        });
        Ok(Repository {
            name: reference.path().to_owned(),
            domain: domain.to_owned(),
            hosts: hosts.collect::<Result<_>>()?,
            retry_pause: options.retry_pause,
        })
    }
}

impl Repository {
    /// The path within the registry: `library/ubuntu`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The registry's name as users write it: `docker.io`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What the tag or digest of `reference` names. With a digest only that very content is accepted.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        let reference = reference.clone().or_latest();
        let by_digest = reference.digest().cloned();
        let object = match (&by_digest, reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.unwrap_or(lighter_oci::DEFAULT_TAG),
        };
        let may = |host: &Host| {
            if by_digest.is_some() {
                host.config.pull
            } else {
                host.config.resolve
            }
        };
        let expected = by_digest.as_ref();
        self.each_host(may, |host| async move { host.head(object, expected).await })
            .await
    }

    /// The manifest or index that `descriptor` points at, checked.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let pull = |host: &Host| host.config.pull;
        self.each_host(pull, |host| async move {
            let (digest, headers) = (&descriptor.digest, manifest_headers(Some(&descriptor.media_type)));
            let (uri, answer) = host.get("manifests", digest.as_str(), &headers).await?;
            let kind = said_media_type(&uri, &answer)?;
            let body = host.http.body(answer, &uri, MOST_OF_MANIFEST).await?;
            check(&uri, &body, digest)?;
            check_media_type(&uri, kind.as_deref(), &body).map(|_| body)
        })
        .await
    }

    /// Begins to read the blob that `descriptor` points at from byte `offset`. What comes is not checked yet.
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Blob> {
        let pull = |host: &Host| host.config.pull;
        self.each_host(pull, |host| {
            Blob::open(host, descriptor.clone(), offset, self.retry_pause)
        })
        .await
    }

    /// Asks one host after the other. The last one's failure is told, which is the registry's own; but what a server answered in one
    /// protocol is not hidden by its not speaking another. What fails in passing is tried again, but not on a mirror: the next
    /// host may have it. A server that is configured by two protocols is asked at once by the second when it does not speak the first;
    /// as soon as it has answered by one, the other is not tried any more.
    pub(crate) async fn each_host<T, F: Future<Output = Result<T>>>(
        &self,
        may: impl Fn(&Host) -> bool,
        ask: impl Fn(Arc<Host>) -> F,
    ) -> Result<T> {
        let is_not_spoken =
            |error: &Error| matches!(error, Error::Connect { .. } | Error::Status { status: 400, .. });
        let mut failure = None;
        let mut failed = "";
        for (at, host) in self.hosts.iter().enumerate() {
            let is_other_protocol = failure.as_ref().is_some_and(is_not_spoken);
            let is_spoken = match host.spoken.get() {
                Some(scheme) => *scheme == host.config.scheme,
                None => !host.config.is_fallback || is_other_protocol,
            };
            if !may(host) || !is_spoken {
                continue;
            }
            let has_other_protocol = self.hosts[at + 1..]
                .iter()
                .any(|next| next.is_same_server(host) && !next.config.is_fallback && may(next));
            let mut pause = self.retry_pause;
            for attempt in 1.. {
                let result = ask(Arc::clone(host)).await;
                if result.as_ref().err().is_none_or(|error| host.has_answered(error)) {
                    // Another request may have been first, with the same.
                    let _ = host.spoken.set(host.config.scheme.clone());
                }
                let error = match result {
                    Ok(found) => return Ok(found),
                    Err(error) => error,
                };
                tracing::debug!(host = host.config.authority, error = %lighter_stdx::error::chain(&error), "registry host failed");
                let may_speak_other = has_other_protocol && host.spoken.get().is_none();
                let is_worth_it =
                    error.is_passing() && !error.is_nobody() && !host.config.is_mirror && !may_speak_other;
                if !is_worth_it || attempt >= TRIES {
                    // A host that does not speak the second protocol either: the first failure tells more.
                    let is_less = host.config.is_fallback && matches!(error, Error::Connect { .. })
                        || failed == host.config.authority
                            && is_not_spoken(&error)
                            && failure.as_ref().is_some_and(|first| !is_not_spoken(first));
                    if !is_less {
                        failure = Some(error);
                        failed = &host.config.authority;
                    }
                    break;
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Err(failure.unwrap_or_else(|| Error::NoHost(self.domain.clone())))
    }
}

impl Host {
    /// The same server by another protocol.
    fn is_same_server(&self, other: &Host) -> bool {
        self.config.authority == other.config.authority && self.config.scheme != other.config.scheme
    }

    /// Whether `error` shows that this host speaks its protocol. A 400 is what servers of one say to the other.
    fn has_answered(&self, error: &Error) -> bool {
        match error {
            // It may have pointed elsewhere, at a server of tokens or of blobs, which failed.
            Error::Connect { url, .. } | Error::Stalled { url, .. } => {
                let own = format!("{}://{}/", self.config.scheme, self.config.authority);
                !url.starts_with(&own)
            }
            Error::Hosts { .. } | Error::Tls(_) | Error::NoHost(_) | Error::Status { status: 400, .. } => {
                false
            }
            _ => true,
        }
    }

    /// Resolves by HEAD, which hubs do not count; by GET where the answer does not say enough.
    async fn head(&self, object: &str, expected: Option<&Digest>) -> Result<Resolved> {
        let headers = manifest_headers(None);
        let (uri, answer) = match self.request(Method::HEAD, "manifests", object, &headers).await {
            // An answer to HEAD has no body that would say what is wrong; nor do all servers know it.
            Err(
                Error::NotFound { .. }
                | Error::Unauthorized { .. }
                | Error::Status { .. }
                | Error::Denied { .. }
                | Error::TooMany { .. },
            ) => return self.get_manifest(object, expected).await,
            result => result?,
        };
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let digest = text("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        let size = text("content-length").and_then(|size| size.parse().ok());
        // One that is called wrong is asked for whole: some servers know only how to answer GET.
        let kind = said_media_type(&uri, &answer).ok().flatten();
        match (digest, size, kind) {
            (Some(digest), Some(size), Some(kind)) => {
                if let Some(expected) = expected.filter(|expected| **expected != digest) {
                    return Err(Error::Digest {
                        url: shown(&uri),
                        actual: digest,
                        expected: expected.clone(),
                    });
                }
                Ok(Resolved {
                    descriptor: Descriptor::new(kind, digest, size),
                    body: None,
                })
            }
            _ => self.get_manifest(object, expected).await,
        }
    }

    async fn get_manifest(&self, object: &str, expected: Option<&Digest>) -> Result<Resolved> {
        let (uri, answer) = self.get("manifests", object, &manifest_headers(None)).await?;
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let said = text("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        let kind = said_media_type(&uri, &answer)?;
        let body = self.http.body(answer, &uri, MOST_OF_MANIFEST).await?;
        let digest = match expected.or(said.as_ref()) {
            Some(digest) => digest.clone(),
            None => Digest::sha256(&body),
        };
        check(&uri, &body, &digest)?;
        let kind = check_media_type(&uri, kind.as_deref(), &body)?;
        Ok(Resolved {
            descriptor: Descriptor::new(kind, digest, body.len() as u64),
            body: Some(body),
        })
    }

    pub(crate) async fn get(
        &self,
        kind: &str,
        object: &str,
        headers: &HeaderMap,
    ) -> Result<(Uri, Response<Incoming>)> {
        self.request(Method::GET, kind, object, headers).await
    }

    async fn request(
        &self,
        method: Method,
        kind: &str,
        object: &str,
        headers: &HeaderMap,
    ) -> Result<(Uri, Response<Incoming>)> {
        let query = self
            .namespace
            .as_ref()
            .map(|domain| format!("?ns={domain}"))
            .unwrap_or_default();
        let uri = self.uri(&format!("{kind}/{object}{query}"))?;
        self.exchange(method, &uri, headers, &Payload::empty(), &self.scope)
            .await
    }

    /// The address of something below the repository.
    pub(crate) fn uri(&self, below: &str) -> Result<Uri> {
        let text = format!("{}/{below}", self.base);
        text.parse().map_err(|_| Error::Answer {
            url: text.clone(),
            why: "not an address".into(),
        })
    }

    /// Sends a request, answers what the host asks back, and follows where it points. Only a success is a success.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        payload: &Payload<'_>,
        scope: &str,
    ) -> Result<(Uri, Response<Incoming>)> {
        let mut may_ask = 2;
        loop {
            let mut all = headers.clone();
            all.extend(
                self.config
                    .headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
            let sent = self.auth.header(scope).await;
            if let Some(header) = &sent {
                all.insert(header::AUTHORIZATION, header.clone());
            }
            let (at, answer) = self.follow(method.clone(), uri.clone(), all, payload).await?;
            if answer.status().is_success() {
                return Ok((at, answer));
            }
            // Another server that it pointed to is told nothing.
            if answer.status() == http::StatusCode::UNAUTHORIZED && may_ask > 0 && self.is_here(&at) {
                may_ask -= 1;
                let values = answer.headers().get_all(header::WWW_AUTHENTICATE);
                let challenges: Vec<_> = values
                    .iter()
                    .filter_map(|value| value.to_str().ok())
                    .flat_map(challenge::parse)
                    .collect();
                if self
                    .auth
                    .answer(&self.http, uri, scope, &challenges, sent.as_ref())
                    .await?
                {
                    continue;
                }
            }
            return Err(self.http.error(answer, &at).await);
        }
    }

    /// Whether an address is this host's.
    fn is_here(&self, uri: &Uri) -> bool {
        let authority = uri.authority();
        authority.is_some_and(|authority| authority.as_str() == self.config.authority)
            && uri.scheme_str() == Some(&self.config.scheme)
    }

    /// Sends a request and follows redirections. What is for this host (credentials, its headers) is not sent to another.
    async fn follow(
        &self,
        method: Method,
        mut uri: Uri,
        mut headers: HeaderMap,
        payload: &Payload<'_>,
    ) -> Result<(Uri, Response<Incoming>)> {
        let reads = matches!(method, Method::GET | Method::HEAD);
        for _ in 0..=MOST_REDIRECTS {
            let is_here = self.is_here(&uri);
            if !is_here {
                headers.remove(header::AUTHORIZATION);
                self.config
                    .headers
                    .keys()
                    .for_each(|name| drop(headers.remove(name)));
            }
            let http = if is_here { &self.http } else { &self.elsewhere };
            let answer = http.send_payload(method.clone(), &uri, &headers, payload).await?;
            // What writes is sent on only where it is meant to be sent again as it is.
            let is_redirection = match answer.status().as_u16() {
                301..=303 => reads,
                307 | 308 => true,
                _ => false,
            };
            if !is_redirection {
                return Ok((uri, answer));
            }
            uri = location(&uri, &answer)?;
        }
        Err(Error::Answer {
            url: shown(&uri),
            why: "too many redirections".into(),
        })
    }
}

/// Where the answer to a request of `uri` points.
pub(crate) fn location(uri: &Uri, answer: &Response<Incoming>) -> Result<Uri> {
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let bad = |why: &str| Error::Answer {
        url: shown(uri),
        why: why.into(),
    };
    join(uri, location.ok_or_else(|| bad("a redirection to nowhere"))?)
        .ok_or_else(|| bad("a redirection to no address"))
}

/// The address that `location` means at `base`.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}").parse().ok();
    }
    let directory = base
        .path()
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    format!("{scheme}://{authority}{directory}/{location}")
        .parse()
        .ok()
}

fn manifest_headers(first: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut kinds: Vec<&str> = first.into_iter().filter(|kind| !kind.is_empty()).collect();
    kinds.extend(media_type::MANIFESTS);
    kinds.push("*/*");
    if let Ok(value) = HeaderValue::try_from(kinds.join(", ")) {
        headers.insert(header::ACCEPT, value);
    }
    headers
}

pub(crate) fn check(uri: &Uri, body: &[u8], expected: &Digest) -> Result<()> {
    let mut hasher = expected.algorithm().hasher();
    hasher.update(body);
    let actual = hasher.finish();
    match actual == *expected {
        true => Ok(()),
        false => Err(Error::Digest {
            url: shown(uri),
            actual,
            expected: expected.clone(),
        }),
    }
}

/// What the answer says that the manifest is: a manifest or an index; none if it says nothing of it, as plain file servers do.
fn said_media_type(uri: &Uri, answer: &Response<Incoming>) -> Result<Option<String>> {
    let said = answer.headers().get(header::CONTENT_TYPE);
    let kind = said.and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "application/octet-stream" | "text/plain" => Ok(None),
        kind if media_type::is_index(kind) || media_type::is_manifest(kind) => Ok(Some(kind.to_owned())),
        kind => Err(Error::MediaType {
            url: shown(uri),
            media_type: kind.to_owned(),
        }),
    }
}

/// What a manifest is, by what was said of it and by what it says itself; they must not differ.
fn check_media_type(uri: &Uri, said: Option<&str>, body: &[u8]) -> Result<String> {
    let bad = |why| Error::Answer { url: shown(uri), why };
    let document =
        lighter_oci::Document::parse(body).map_err(|error| bad(format!("bad manifest: {error}")))?;
    let (own, default, is_one): (_, _, fn(&str) -> bool) = match document {
        lighter_oci::Document::Index(index) => {
            (index.media_type, media_type::OCI_INDEX, media_type::is_index)
        }
        lighter_oci::Document::Manifest(manifest) => (
            manifest.media_type,
            media_type::OCI_MANIFEST,
            media_type::is_manifest,
        ),
    };
    let own = own.filter(|own| !own.is_empty());
    match (said, own) {
        (Some(said), Some(own)) if said != own => Err(bad(format!(
            "mediaType in manifest should be '{said}' not '{own}'"
        ))),
        (Some(said), _) if !is_one(said) => Err(bad(format!("it is called {said}, and is none"))),
        (Some(said), _) => Ok(said.to_owned()),
        (None, Some(own)) if !is_one(&own) => Err(Error::MediaType {
            url: shown(uri),
            media_type: own,
        }),
        (None, own) => Ok(own.unwrap_or_else(|| default.to_owned())),
    }
}
