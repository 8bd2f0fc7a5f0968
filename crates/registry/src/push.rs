//! Giving blobs and manifests to a registry.
//!
//! Source: OCI distribution-spec, "Push" (POST then PUT, "Mounting a blob from another repository", "Pushing Manifests").

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use lighter_oci::{Descriptor, Digest};

use crate::http::{Parts, Payload, shown};
use crate::repository::{Host, Repository, location};
use crate::{Error, Result};

/// How something came to be in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Exists,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

impl Repository {
    /// Gives a blob, unless it is there. `from`: a repository of the same registry that may have it. `open` gives its bytes from the start;
    /// it is called again when a try fails in passing.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        from: Option<&str>,
        open: &(dyn Fn() -> Parts + Send + Sync),
    ) -> Result<Pushed> {
        self.each_host(self.may_push(), |host| async move {
            let push = Push::new(&host, &self.name, from);
            push.blob(blob, from, open).await
        })
        .await
    }

    /// Gives a manifest or an index, whose parts are there, the name `tag`; without one it is known by its digest alone.
    pub async fn push_manifest(
        &self,
        manifest: &Descriptor,
        body: &Bytes,
        tag: Option<&str>,
    ) -> Result<Pushed> {
        self.each_host(self.may_push(), |host| async move {
            let push = Push::new(&host, &self.name, None);
            push.manifest(manifest, body, tag).await
        })
        .await
    }

    /// The first host that takes what is pushed, by whichever protocol it speaks: a push is not spread over several.
    fn may_push(&self) -> impl Fn(&Host) -> bool {
        let first = self.hosts.iter().find(|host| host.config.push);
        let first = first.map(|host| host.config.authority.clone());
        move |host| host.config.push && first.as_ref() == Some(&host.config.authority)
    }
}

/// A push to one host.
struct Push<'a> {
    host: &'a Host,
    /// What credentials are asked for.
    own: String,
    /// With the right to read where it may be mounted from.
    with_from: String,
}

impl Push<'_> {
    fn new<'a>(host: &'a Host, name: &str, from: Option<&str>) -> Push<'a> {
        let own = format!("repository:{name}:pull,push");
        let with_from = match from {
            Some(from) => format!("{own} repository:{from}:pull"),
            None => own.clone(),
        };
        Push { host, own, with_from }
    }

    async fn blob(
        &self,
        blob: &Descriptor,
        from: Option<&str>,
        open: &(dyn Fn() -> Parts + Send + Sync),
    ) -> Result<Pushed> {
        let path = format!("blobs/{}", blob.digest);
        if self.head(&path, "*/*").await?.is_some() {
            return Ok(Pushed::Exists);
        }
        let (uri, begun) = match self.mount(blob, from).await? {
            Some((_, answer)) if answer.status() == StatusCode::CREATED => return Ok(Pushed::Mounted),
            Some(begun) => begun,
            None => self.post("blobs/uploads/", &self.own).await?,
        };
        let upload = with_digest(&location(&uri, &begun)?, &blob.digest)?;
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, kind);
        let payload = Payload::Stream(blob.size, open);
        let put = self
            .host
            .exchange(Method::PUT, &upload, &headers, &payload, &self.own);
        check(put.await?, &blob.digest)
    }

    /// Asks the registry to take the blob from another of its repositories. When it does not, an upload may have begun; `None` if not.
    async fn mount(
        &self,
        blob: &Descriptor,
        from: Option<&str>,
    ) -> Result<Option<(Uri, Response<Incoming>)>> {
        let Some(from) = from else {
            return Ok(None);
        };
        let path = format!("blobs/uploads/?mount={}&from={from}", blob.digest);
        match self.post(&path, &self.with_from).await {
            Ok(answer) => Ok(Some(answer)),
            // The other may be gone, or closed to this user: then it is sent.
            Err(
                Error::Unauthorized { .. }
                | Error::Denied { .. }
                | Error::NotFound { .. }
                | Error::Status { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, manifest: &Descriptor, body: &Bytes, tag: Option<&str>) -> Result<Pushed> {
        let path = format!("manifests/{}", tag.unwrap_or(manifest.digest.as_str()));
        let accept = format!("{}, */*", manifest.media_type);
        if let Some(answer) = self.head(&path, &accept).await?
            && (tag.is_none() || said(&answer).as_ref() == Some(&manifest.digest))
        {
            return Ok(Pushed::Exists);
        }
        let mut headers = HeaderMap::new();
        if let Ok(kind) = HeaderValue::try_from(&manifest.media_type) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        let (uri, payload) = (self.host.uri(&path)?, Payload::Bytes(body.clone()));
        let put = self
            .host
            .exchange(Method::PUT, &uri, &headers, &payload, &self.own);
        check(put.await?, &manifest.digest)
    }

    /// Whether something is there. A refusal is not told: the answer to HEAD has no words, that to what follows has.
    async fn head(&self, path: &str, accept: &str) -> Result<Option<Response<Incoming>>> {
        let mut headers = HeaderMap::new();
        if let Ok(accept) = HeaderValue::try_from(accept) {
            headers.insert(header::ACCEPT, accept);
        }
        let (uri, nothing) = (self.host.uri(path)?, Payload::empty());
        let head = self
            .host
            .exchange(Method::HEAD, &uri, &headers, &nothing, &self.own);
        match head.await {
            Ok((_, answer)) => Ok(Some(answer)),
            Err(Error::NotFound { .. } | Error::Unauthorized { .. } | Error::Denied { .. }) => Ok(None),
            Err(Error::Status { status, .. }) if status < 500 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn post(&self, path: &str, scope: &str) -> Result<(Uri, Response<Incoming>)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let (uri, nothing) = (self.host.uri(path)?, Payload::empty());
        let post = self.host.exchange(Method::POST, &uri, &headers, &nothing, scope);
        post.await
    }
}

/// The address to send a blob to: the query that the registry gave is kept.
fn with_digest(upload: &Uri, digest: &Digest) -> Result<Uri> {
    let joint = if upload.query().is_some() { '&' } else { '?' };
    let text = format!("{upload}{joint}digest={digest}");
    text.parse().map_err(|_| Error::Answer {
        url: shown(upload),
        why: "an upload to no address".into(),
    })
}

/// The digest that the answer tells.
fn said(answer: &Response<Incoming>) -> Option<Digest> {
    let said = answer.headers().get("docker-content-digest")?;
    said.to_str().ok()?.parse().ok()
}

/// What was taken must be what was meant, as far as the answer says.
fn check((uri, answer): (Uri, Response<Incoming>), expected: &Digest) -> Result<Pushed> {
    match said(&answer) {
        Some(actual) if actual != *expected => Err(Error::Digest {
            url: shown(&uri),
            actual,
            expected: expected.clone(),
        }),
        _ => Ok(Pushed::Sent),
    }
}
