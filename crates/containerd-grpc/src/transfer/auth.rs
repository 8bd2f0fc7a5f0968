//! Credentials that are asked of the client.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lighter_containerd_api::any;
use lighter_containerd_api::transfer_types::{AuthRequest, AuthResponse, AuthType};
use lighter_registry::{Credential, Credentials};
use tokio::sync::Mutex;

use crate::streaming::Both;

/// How long a client may think. containerd's own say nothing when they do not know.
const ANSWER: Duration = Duration::from_secs(30);

/// A client that answers on a stream, one question after the other.
#[derive(Debug)]
pub(super) struct Asked {
    stream: Mutex<Both>,
    reference: String,
}

impl Asked {
    pub(super) fn on(stream: Both, reference: &str) -> Asked {
        Asked {
            stream: Mutex::new(stream),
            reference: reference.to_owned(),
        }
    }

    async fn ask(&self, host: &str) -> Option<Credential> {
        let question = AuthRequest {
            host: host.to_owned(),
            reference: self.reference.clone(),
            wwwauthenticate: Vec::new(),
        };
        let mut stream = self.stream.lock().await;
        stream.to.send(Ok(any::pack(&question))).await.ok()?;
        let answer = tokio::time::timeout(ANSWER, stream.from.message()).await;
        let Ok(Ok(Some(answer))) = answer else {
            tracing::debug!(host, "a client did not say who it is");
            return None;
        };
        credential(any::unpack::<AuthResponse>(&answer)?.ok()?)
    }
}

impl Credentials for Asked {
    fn get<'a>(&'a self, host: &'a str, _: &'a str) -> BoxFuture<'a, Option<Credential>> {
        self.ask(host).boxed()
    }
}

/// What an answer gives us; clients that have nothing give empty ones too.
fn credential(answer: AuthResponse) -> Option<Credential> {
    let kind = answer.auth_type();
    let AuthResponse { secret, username, .. } = answer;
    match kind {
        AuthType::None => None,
        _ if secret.is_empty() => None,
        AuthType::Credentials => Some(Credential::Password {
            user: username,
            password: secret,
        }),
        AuthType::Refresh => Some(Credential::Refresh(secret)),
        AuthType::Header => match secret.strip_prefix("Bearer ") {
            Some(token) => Some(Credential::Bearer(token.trim().to_owned())),
            None => {
                tracing::debug!("a client gave a header that is no bearer token");
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_credentials_or_nothing() {
        let check = |kind: AuthType, username: &str, secret: &str, expected: Option<Credential>| {
            let answer = AuthResponse {
                auth_type: kind.into(),
                secret: secret.into(),
                username: username.into(),
                expire_at: None,
            };
            assert!(credential(answer) == expected, "{kind:?} {username} {secret}");
        };
        let password = Credential::Password {
            user: "me".into(),
            password: "pw".into(),
        };
        check(AuthType::Credentials, "me", "pw", Some(password));
        check(
            AuthType::Refresh,
            "",
            "token",
            Some(Credential::Refresh("token".into())),
        );
        check(
            AuthType::Header,
            "",
            "Bearer abc",
            Some(Credential::Bearer("abc".into())),
        );
        check(AuthType::Header, "", "Digest abc", None);
        check(AuthType::Refresh, "", "", None);
        check(AuthType::None, "me", "pw", None);
    }
}
