//! The whole of the layer: what its services work on.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lighter_content::gc::Collectible;
use lighter_content::lease::Leases;
use lighter_content::{Collected, Collector, ContentStore, LocalContent};
use lighter_meta::Db;
use lighter_snapshots::{Local, Snapshotter, Snapshotters, native, overlayfs};
use tokio::sync::Notify;

use crate::config::Config;
use crate::containers::Containers;
use crate::error::io;
use crate::events::Bus;
use crate::images::Images;
use crate::namespaces::Namespaces;
use crate::roots::Records;
use crate::sandboxes::{Controller, Sandboxes};
use crate::tasks::Tasks;
use crate::{Error, Result, told};

/// The number of the records' layout.
pub(crate) const FORMAT: u32 = 1;
/// The snapshotter of a request that names none.
pub const DEFAULT_SNAPSHOTTER: &str = "overlayfs";
/// How long after the first reason for it a collection in the background begins: further reasons join it.
const COLLECT_DELAY: Duration = Duration::from_millis(500);

/// The layer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Layer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    db: Db,
    content: LocalContent,
    snapshotters: Vec<Arc<dyn Snapshotters>>,
    collector: Collector,
    /// A reason to collect.
    litter: Arc<Notify>,
    bus: Bus,
    containers: Containers,
    images: Images,
    namespaces: Namespaces,
    tasks: Tasks,
    sandboxes: Sandboxes,
    controller: Controller,
    uuid: String,
    /// Held while we live: one layer to a state directory.
    _lock: File,
}

impl Layer {
    /// Opens root and state, and adopts the tasks that are there. Needs a tokio runtime.
    pub async fn open(config: Config) -> Result<Layer> {
        Layer::open_with(config, Vec::new()).await
    }

    /// The same with `further` snapshotters: those of others, behind a wire.
    pub async fn open_with(config: Config, further: Vec<Arc<dyn Snapshotters>>) -> Result<Layer> {
        // Nobody else has any business in the root (CVE-2024-25621: an older one may still be open to all); the state directory is passed
        // through by users who were given the socket.
        make_dir(&config.root, 0o700)?;
        make_private(&config.root)?;
        make_dir(&config.state, 0o711)?;
        make_dir(&config.state.join("s"), 0o711)?;
        let lock = lock(&config.state.join("lock"))?;
        let db = Db::open(&config.root.join("meta.db"), FORMAT)?;
        let clock = &config.clock;
        let (content, mended) = LocalContent::open(&config.root.join("content"), &db, clock)?;
        if !mended.files.is_empty() || !mended.records.is_empty() {
            tracing::warn!(files = ?mended.files, records = ?mended.records, "content mended");
        }
        let own = own_snapshotters(&config, &db)?;
        crate::transfer::end_of_the_dead(&db, clock)?;
        let bus = Bus::new(clock.clone());
        let containers = Containers::new(&db, clock, &bus);
        let mut stores: Vec<Arc<dyn Collectible>> = vec![Arc::new(content.clone())];
        stores.extend(
            own.iter()
                .map(|own| Arc::new(own.clone()) as Arc<dyn Collectible>),
        );
        let collector = Collector::new(&db, clock, stores, vec![Arc::new(Records)]);
        let sandboxes = Sandboxes::new(&db, clock);
        let own = own.into_iter().map(|own| Arc::new(own) as Arc<dyn Snapshotters>);
        let snapshotters = own.chain(further).collect();
        let layer = Layer(Arc::new(Inner {
            controller: Controller::new(config.clone(), bus.clone(), sandboxes.clone()),
            sandboxes,
            images: Images::new(&db, clock, &bus),
            namespaces: Namespaces::new(&db, &bus),
            tasks: Tasks::new(config.clone(), bus.clone(), containers.clone()),
            uuid: uuid(&config.root)?,
            snapshotters,
            litter: Arc::default(),
            config,
            db,
            content,
            collector,
            bus,
            containers,
            _lock: lock,
        }));
        layer.0.controller.adopt_all().await;
        layer.0.tasks.adopt_all().await?;
        tokio::spawn(collect_when_asked(Arc::downgrade(&layer.0)));
        // What the one before us did not come to.
        layer.collect_soon();
        Ok(layer)
    }

    /// What it was told at its start.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The blobs as `namespace` sees them; what is made is put under `lease`, if there is one.
    pub fn content(&self, namespace: &str, lease: Option<&str>) -> Arc<dyn ContentStore> {
        let store = self.0.content.namespace(namespace, lease);
        Arc::new(told::Content::new(store, &self.0.bus, namespace))
    }

    /// The snapshots of `snapshotter` (empty: the default) as `namespace` sees them.
    pub fn snapshotter(
        &self,
        snapshotter: &str,
        namespace: &str,
        lease: Option<&str>,
    ) -> Result<Arc<dyn Snapshotter>> {
        let name = if snapshotter.is_empty() {
            DEFAULT_SNAPSHOTTER
        } else {
            snapshotter
        };
        let found = self
            .0
            .snapshotters
            .iter()
            .find(|snapshotters| snapshotters.name() == name);
        let found = found.ok_or_else(|| Error::invalid("snapshotter", name, "it is not known"))?;
        let snapshots = found.namespace(namespace, lease);
        Ok(Arc::new(told::Snapshots::new(
            snapshots,
            found.name(),
            &self.0.bus,
            namespace,
        )))
    }

    /// The names of the snapshotters.
    pub fn snapshotters(&self) -> impl Iterator<Item = &'static str> {
        self.0.snapshotters.iter().map(|snapshotters| snapshotters.name())
    }

    /// Where a snapshotter is served, if it is another program's.
    pub fn snapshotter_address(&self, name: &str) -> Option<&str> {
        let mut all = self.0.snapshotters.iter();
        all.find(|snapshotters| snapshotters.name() == name)?.address()
    }

    /// Where a snapshotter keeps its trees, if they are on this machine.
    pub fn snapshotter_root(&self, name: &str) -> Option<&Path> {
        let mut all = self.0.snapshotters.iter();
        all.find(|snapshotters| snapshotters.name() == name)?.root()
    }

    /// The leases of a namespace.
    pub fn leases(&self, namespace: &str) -> Leases {
        Leases::new(&self.0.db, &self.0.config.clock, namespace)
    }

    /// Namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.0.namespaces
    }

    /// Container records.
    pub fn containers(&self) -> &Containers {
        &self.0.containers
    }

    /// Image records.
    pub fn images(&self) -> &Images {
        &self.0.images
    }

    /// Tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Sandbox records.
    pub fn sandboxes(&self) -> &Sandboxes {
        &self.0.sandboxes
    }

    /// Running sandboxes.
    pub fn sandbox_controller(&self) -> &Controller {
        &self.0.controller
    }

    /// The event bus.
    pub fn events(&self) -> &Bus {
        &self.0.bus
    }

    /// A name of this root that no other has.
    pub fn uuid(&self) -> &str {
        &self.0.uuid
    }

    /// Collects now what nothing refers to.
    pub async fn collect(&self) -> Result<Collected> {
        self.0.collect().await
    }

    /// Has it collected soon.
    pub fn collect_soon(&self) {
        self.0.litter.notify_one();
    }
}

/// The snapshotters of this machine, the default one first.
fn own_snapshotters(config: &Config, db: &Db) -> Result<Vec<Local>> {
    let opened = [
        overlayfs::open(&config.root.join("snapshots"), db, &config.clock)?,
        native::open(&config.root.join("native"), db, &config.clock)?,
    ];
    let own = opened.into_iter().map(|(local, mended)| {
        if !mended.is_empty() {
            tracing::warn!(snapshotter = local.name(), ?mended, "snapshots mended");
        }
        local
    });
    Ok(own.collect())
}

impl Inner {
    async fn collect(&self) -> Result<Collected> {
        let collected = self.collector.collect().await?;
        told::removed(&self.bus, &collected.removed);
        if collected.again {
            self.litter.notify_one();
        }
        Ok(collected)
    }
}

async fn collect_when_asked(layer: std::sync::Weak<Inner>) {
    let Some(litter) = layer.upgrade().map(|layer| layer.litter.clone()) else {
        return;
    };
    loop {
        // The layer is not kept alive by the wait. Leases end while nobody does anything.
        let waited = tokio::time::timeout(Duration::from_secs(900), litter.notified()).await;
        tokio::time::sleep(COLLECT_DELAY).await;
        let Some(inner) = layer.upgrade() else { return };
        match inner.collect().await {
            Ok(collected) if collected.removed.is_empty() && collected.expired.is_empty() => {}
            Ok(collected) => {
                let (removed, expired) = (collected.removed.len(), collected.expired.len());
                tracing::debug!(removed, expired, asked = waited.is_ok(), "collected");
            }
            Err(error) => tracing::warn!(error = %lighter_stdx::error::chain(&error), "collection"),
        }
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(io("create directory", path))
}

fn make_private(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io("set the mode of", path))
}

fn lock(path: &Path) -> Result<File> {
    let file = lighter_sys::flock::open(path).map_err(io("open", path))?;
    match lighter_sys::flock::try_exclusive(&file).map_err(io("lock", path))? {
        true => Ok(file),
        false => Err(Error::Precondition(format!(
            "another lighter-containerd works on {}",
            path.parent().unwrap_or(path).display()
        ))),
    }
}

fn uuid(root: &Path) -> Result<String> {
    let path = root.join("uuid");
    if let Ok(text) = fs::read_to_string(&path)
        && text.trim().len() == 36
    {
        return Ok(text.trim().to_owned());
    }
    let mut bytes: [u8; 16] = rand::random();
    // Version 4, variant 1 of RFC 9562.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    let uuid = format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    );
    lighter_stdx::atomic::write(&path, uuid.as_bytes(), 0o644, lighter_stdx::atomic::Keep::Kill)
        .map_err(io("write", &path))?;
    Ok(uuid)
}
