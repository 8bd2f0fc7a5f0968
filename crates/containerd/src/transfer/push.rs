//! From the store to a registry.

use std::path::PathBuf;
use std::sync::Arc;

use lighter_images::{Event, Progress};
use lighter_oci::Reference;
use lighter_registry::Credentials;
use tokio::sync::mpsc::UnboundedSender;

use crate::images::Image;
use crate::{Error, Layer, Result};

/// A push.
#[derive(Debug)]
pub struct Push {
    /// The image in the store.
    pub image: Image,
    /// Where to: a reference as users write it.
    pub reference: String,
    /// A directory of directories, one a registry (containerd's `certs.d`).
    pub hosts: Option<PathBuf>,
    /// Whether registries without a directory are spoken to without TLS.
    pub plain_http: bool,
    /// Whom to ask for credentials.
    pub credentials: Arc<dyn Credentials>,
}

impl Layer {
    /// Sends an image, with all that it leads to, to a registry. Dropping the future gives it up; what was sent stays there.
    pub async fn push(&self, namespace: &str, push: Push, events: UnboundedSender<Event>) -> Result<()> {
        let reference = Reference::parse(&push.reference)
            .map_err(|error| Error::invalid("reference", &push.reference, error.to_string()))?;
        let client = self
            .client(push.hosts.as_deref(), push.plain_http, &push.credentials)
            .await;
        let what = lighter_images::Push {
            reference,
            target: push.image.target,
            name: push.image.name,
        };
        let content = self.content(namespace, None);
        let progress = Progress::new(events);
        Ok(lighter_images::push(&client, &content, &what, &progress).await?)
    }
}
