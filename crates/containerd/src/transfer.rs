//! Images between places: registries, the store, archives, and other names.

mod archive;
mod names;
mod push;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lighter_content::lease::{EXPIRE_LABEL, Leases};
use lighter_images::{Event, Progress, Request, Rest, Stores, Unpack};
use lighter_meta::Db;
use lighter_oci::{Descriptor, Platform, Reference};
use lighter_registry::{Client, Credentials, Options};
use lighter_stdx::clock::Clock;
use tokio::sync::mpsc::UnboundedSender;

use crate::containers::Labels;
use crate::diff::LIMIT;
use crate::error::io;
use crate::images::Image;
use crate::{Error, Layer, Result};

pub use archive::{Export, Import};
pub use names::{Names, Prefix};
pub use push::Push;

/// How long what a pull brought is kept when we die before the image is named. Source: containerd's clients.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// The label of the leases that transfers make for themselves.
const LABEL: &str = "lighter.transfer";
/// How long what a transfer of a dead process brought is kept for the next try.
const RETRY: Duration = Duration::from_secs(10 * 60);

/// A pull.
#[derive(Debug)]
pub struct Pull {
    /// What to fetch: a reference as users write it.
    pub reference: String,
    /// A directory of directories, one a registry (containerd's `certs.d`).
    pub hosts: Option<PathBuf>,
    /// Whether registries without a directory are spoken to without TLS.
    pub plain_http: bool,
    /// Whom to ask for credentials.
    pub credentials: Arc<dyn Credentials>,
    /// The names that the image gets.
    pub names: Names,
    /// For what platforms; none: all that there are.
    pub platforms: Vec<Platform>,
    /// Whether the manifests and configs of other platforms are fetched, too.
    pub all_metadata: bool,
    /// What is unpacked: platform and snapshotter (empty: the default).
    pub unpacks: Vec<(Platform, String)>,
    /// The lease of the request, which then keeps what is brought.
    pub lease: Option<String>,
}

impl Layer {
    /// Fetches an image, unpacks it while it comes, and names it. Dropping the future gives it up: what no other image has then goes.
    pub async fn pull(
        &self,
        namespace: &str,
        pull: Pull,
        events: UnboundedSender<Event>,
    ) -> Result<Vec<Image>> {
        let reference = Reference::parse(&pull.reference)
            .map_err(|error| Error::invalid("reference", &pull.reference, error.to_string()))?;
        // Here nothing is meant that was not said: `latest` is added by the clients that want it. In containerd's words.
        if reference.is_name_only() {
            return Err(Error::invalid("reference", &pull.reference, "object required"));
        }
        let client = self
            .client(pull.hosts.as_deref(), pull.plain_http, &pull.credentials)
            .await;
        let lease = match &pull.lease {
            Some(id) => Held::given(namespace, id),
            None => Held::create(self, namespace).await?,
        };
        let pulled = self
            .pull_all(namespace, &client, &reference, &pull, lease.id(), events)
            .await;
        let named = match pulled {
            Ok(target) => self.name(namespace, &pull.names, target).await,
            Err(error) => Err(error),
        };
        lease.end().await;
        named
    }

    /// The image for each platform; gives the target.
    async fn pull_all(
        &self,
        namespace: &str,
        client: &Client,
        reference: &Reference,
        pull: &Pull,
        lease: &str,
        events: UnboundedSender<Event>,
    ) -> Result<Descriptor> {
        let progress = Progress::new(events);
        let mut platforms = pull.platforms.clone();
        if platforms.is_empty() {
            platforms.extend(pull.unpacks.iter().map(|(platform, _)| platform.clone()));
        }
        let mut target = None;
        for platform in platforms {
            let mut stores = Stores {
                content: self.content(namespace, Some(lease)),
                unpack: None,
            };
            let unpack = pull.unpacks.iter().find(|(wanted, _)| wanted.matches(&platform));
            if let Some((_, snapshotter)) = unpack {
                stores.unpack = Some(self.unpack(namespace, snapshotter, lease)?);
            }
            let request = Request {
                reference: pinned(reference, target.as_ref()),
                platform,
            };
            let pulled = lighter_images::pull(client, &stores, &request, &progress).await?;
            target.get_or_insert(pulled.target);
        }
        let rest = match (pull.platforms.is_empty(), pull.all_metadata) {
            (true, _) => Rest::All,
            (false, true) => Rest::Metadata,
            (false, false) => return target.ok_or(Error::Panicked),
        };
        let content = self.content(namespace, Some(lease));
        let reference = pinned(reference, target.as_ref());
        let pulled = lighter_images::pull_rest(client, &content, &reference, rest, &progress).await?;
        Ok(target.unwrap_or(pulled))
    }

    fn unpack(&self, namespace: &str, snapshotter: &str, lease: &str) -> Result<Unpack> {
        let name = match snapshotter {
            "" => crate::layer::DEFAULT_SNAPSHOTTER,
            name => name,
        };
        Ok(Unpack {
            name: name.to_owned(),
            snapshots: self.snapshotter(name, namespace, Some(lease))?,
            limit: LIMIT,
        })
    }

    /// Gives the image `source` other names as well.
    pub async fn tag(&self, namespace: &str, source: &str, names: &Names) -> Result<Vec<Image>> {
        let target = self.images().get(namespace, source)?.target;
        self.name(namespace, names, target).await
    }

    async fn client(
        &self,
        hosts: Option<&Path>,
        plain_http: bool,
        credentials: &Arc<dyn Credentials>,
    ) -> Client {
        Client::new(Options {
            hosts: hosts.map(Path::to_owned),
            plain_http,
            authorities: self.authorities().await,
            credentials: Arc::clone(credentials),
            ..Options::default()
        })
    }

    async fn authorities(&self) -> Arc<[u8]> {
        let path = &self.config().authorities;
        match tokio::fs::read(path).await {
            Ok(bundle) => bundle.into(),
            Err(error) => {
                // Registries of this machine, and those with authorities of their own, are still reached.
                let error = io("read certificates", path)(error);
                tracing::warn!(error = %lighter_stdx::error::chain(&error), "no authority is trusted");
                Arc::default()
            }
        }
    }
}

/// The name may move between two requests; the image is one.
fn pinned(reference: &Reference, target: Option<&Descriptor>) -> Reference {
    match target {
        Some(target) => reference.without_version().with_digest(target.digest.clone()),
        None => reference.clone(),
    }
}

/// Lets the leases of the transfers of an earlier process end soon: nobody else does it.
pub(crate) fn end_of_the_dead(db: &Db, clock: &Clock) -> Result<()> {
    let ended = lighter_content::lease::shorten(db, LABEL, clock.now() + RETRY)?;
    if ended > 0 {
        tracing::info!(
            ended,
            "transfers were cut off; what they brought is kept for ten minutes"
        );
    }
    Ok(())
}

/// A lease for as long as this lives; also when whoever holds it is dropped.
struct Held {
    id: String,
    own: Option<(Layer, Leases)>,
    namespace: String,
}

impl Held {
    fn given(namespace: &str, id: &str) -> Held {
        Held {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            own: None,
        }
    }

    async fn create(layer: &Layer, namespace: &str) -> Result<Held> {
        let leases = layer.leases(namespace);
        let id = format!("transfer-{:016x}", rand::random::<u64>());
        let end = layer.config().clock.now() + LEASE;
        let labels = Labels::from([
            (EXPIRE_LABEL.to_owned(), end.to_string()),
            (LABEL.to_owned(), "true".to_owned()),
        ]);
        leases.create(&id, labels).await?;
        let own = Some((layer.clone(), leases));
        Ok(Held {
            id,
            own,
            namespace: namespace.to_owned(),
        })
    }

    fn id(&self) -> &str {
        &self.id
    }

    async fn end(mut self) {
        if let Some((layer, leases)) = self.own.take() {
            let_go(layer, leases, std::mem::take(&mut self.id)).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((layer, leases)) = self.own.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // The pull was given up half-way.
            let content = layer.content(&self.namespace, None);
            let ended = let_go(layer, leases, std::mem::take(&mut self.id));
            runtime.spawn(async move {
                ended.await;
                lighter_images::discard_empty(content.as_ref()).await;
            });
        }
    }
}

async fn let_go(layer: Layer, leases: Leases, id: String) {
    if let Err(error) = leases.delete(&id).await {
        // It ends by itself after a day.
        tracing::warn!(id, error = %lighter_stdx::error::chain(&error), "a lease stays");
    }
    layer.collect_soon();
}
