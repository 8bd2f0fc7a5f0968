//! Who we are, towards whom.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::challenge::Challenge;
use crate::http::{Http, shown};
use crate::{Error, Result};

/// What a user has for a host.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An identity token (OAuth 2 refresh token).
    Refresh(String),
    /// A token that the registry takes as it is.
    Bearer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// Where credentials come from.
pub trait Credentials: fmt::Debug + Send + Sync {
    /// What there is for `host` (name and port of the host that is asked: `registry-1.docker.io`, a mirror), which serves the
    /// registry `domain`. Asked once a host, and only when the host wants to know.
    fn get<'a>(&'a self, host: &'a str, domain: &'a str) -> BoxFuture<'a, Option<Credential>>;
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn get<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Option<Credential>> {
        Box::pin(async { None })
    }
}

/// What was learnt about getting into one host.
#[derive(Debug)]
pub(crate) struct Auth {
    credentials: Arc<dyn Credentials>,
    host: String,
    domain: String,
    /// The header to send for each scope.
    known: Mutex<HashMap<String, HeaderValue>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Auth {
    pub(crate) fn new(credentials: Arc<dyn Credentials>, host: &str, domain: &str) -> Auth {
        Auth {
            credentials,
            host: host.into(),
            domain: domain.into(),
            known: Mutex::default(),
        }
    }

    /// What to send with a request for `scope`, as far as is known.
    pub(crate) async fn header(&self, scope: &str) -> Option<HeaderValue> {
        self.known.lock().await.get(scope).cloned()
    }

    /// Answers the challenges of a host that refused `sent`. False when there is nothing (else) to say. Requests that come at the same
    /// time wait for the one token.
    pub(crate) async fn answer(
        &self,
        http: &Http,
        uri: &Uri,
        scope: &str,
        challenges: &[Challenge],
        sent: Option<&HeaderValue>,
    ) -> Result<bool> {
        let mut known = self.known.lock().await;
        if known.get(scope).is_some_and(|header| Some(header) != sent) {
            // Another request was faster.
            return Ok(true);
        }
        let credential = self.credentials.get(&self.host, &self.domain).await;
        let mut header = None;
        for challenge in challenges {
            header = match (challenge, &credential) {
                (_, Some(Credential::Bearer(token))) => Some(format!("Bearer {token}")),
                (
                    Challenge::Bearer {
                        realm,
                        service,
                        scope: wanted,
                    },
                    _,
                ) => {
                    let scope = wanted.as_deref().unwrap_or(scope);
                    let token =
                        fetch(http, uri, realm, service.as_deref(), scope, credential.as_ref()).await?;
                    Some(format!("Bearer {token}"))
                }
                (Challenge::Basic, Some(Credential::Password { user, password })) => {
                    Some(basic(user, password))
                }
                (Challenge::Basic, _) => None,
            };
            if header.is_some() {
                break;
            }
        }
        let header = header.and_then(|text| HeaderValue::try_from(text).ok());
        match header {
            Some(mut header) if Some(&header) != sent => {
                header.set_sensitive(true);
                known.insert(scope.into(), header);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Gets a token. Source: distribution's docs "Token Authentication Specification" and "OAuth2 Token Authentication".
async fn fetch(
    http: &Http,
    asked: &Uri,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<String> {
    let bad = |why: &str| Error::Answer {
        url: shown(asked),
        why: format!("{why}: {realm:?}"),
    };
    let realm_uri: Uri = realm.parse().map_err(|_| bad("the realm is no address"))?;
    let secure = realm_uri.scheme_str() == Some("https") || asked.scheme_str() == Some("http");
    if !secure && credential.is_some() {
        return Err(bad("credentials are not sent without TLS to the realm"));
    }
    // One scope each: not all servers know lists.
    let mut query: Vec<_> = scope.split(' ').map(|scope| ("scope", scope)).collect();
    query.extend(service.map(|service| ("service", service)));
    let mut headers = HeaderMap::new();
    let answer = if let Some(Credential::Refresh(token)) = credential {
        // In a form it is one list.
        query.retain(|(name, _)| *name != "scope");
        query.extend([
            ("scope", scope),
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", "lighter"),
        ]);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        http.send(Method::POST, &realm_uri, &headers, Bytes::from(form(&query)))
            .await?
    } else {
        if let Some(Credential::Password { user, password }) = credential {
            query.push(("account", user));
            if let Ok(mut value) = HeaderValue::try_from(basic(user, password)) {
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
        }
        let joint = if realm.contains('?') { '&' } else { '?' };
        let full: Uri = format!("{realm}{joint}{}", form(&query))
            .parse()
            .map_err(|_| bad("the realm is no address"))?;
        http.send(Method::GET, &full, &headers, Bytes::new()).await?
    };
    if !answer.status().is_success() {
        return Err(http.error(answer, &realm_uri).await);
    }
    let body = http.body(answer, &realm_uri, 1 << 20).await?;
    let token: Token = serde_json::from_slice(&body).map_err(|_| bad("the realm gave no token"))?;
    let token = if token.token.is_empty() {
        token.access_token
    } else {
        token.token
    };
    match token.is_empty() {
        true => Err(bad("the realm gave no token")),
        false => Ok(token),
    }
}

/// `a=b&c=d`, percent-encoded.
fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        let mut encoded = String::new();
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    encoded.push(byte.into())
                }
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        encoded
    };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    pairs.join("&")
}
