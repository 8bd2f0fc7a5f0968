//! Credentials for a transfer: its client is asked over a stream.

use std::fmt;

use futures_util::future::{BoxFuture, FutureExt as _};
use lighter_containerd_api::any;
use lighter_containerd_api::transfer_types::{AuthRequest, AuthResponse, AuthType};
use lighter_registry::{Credential, Credentials};
use tokio::sync::Mutex;

use crate::streaming::Link;

/// Asks a client; one question at a time.
pub(crate) struct Asking {
    link: Mutex<Link>,
    reference: String,
}

impl Asking {
    pub(crate) fn new(link: Link, reference: &str) -> Asking {
        Asking {
            link: Mutex::new(link),
            reference: reference.to_owned(),
        }
    }

    async fn ask(&self, host: &str) -> Option<Credential> {
        let question = AuthRequest {
            host: host.to_owned(),
            reference: self.reference.clone(),
            wwwauthenticate: Vec::new(),
        };
        let mut link = self.link.lock().await;
        if !link.send(any::pack(&question)).await {
            return None;
        }
        let answer = link.receive().await.ok().flatten()?;
        let answer = any::unpack::<AuthResponse>(&answer)?.ok()?;
        let secret = answer.secret.clone();
        match answer.auth_type() {
            AuthType::None => None,
            AuthType::Credentials => Some(Credential::Password {
                user: answer.username,
                password: secret,
            }),
            AuthType::Refresh => Some(Credential::Refresh(secret)),
            // A whole header; only bearer tokens make sense as such.
            AuthType::Header => {
                let token = secret.strip_prefix("Bearer ").map(str::to_owned);
                Some(Credential::Bearer(token.unwrap_or(secret)))
            }
        }
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking")
            .field("reference", &self.reference)
            .finish()
    }
}

impl Credentials for Asking {
    fn get<'a>(&'a self, host: &'a str, _: &'a str) -> BoxFuture<'a, Option<Credential>> {
        self.ask(host).boxed()
    }
}
