//! The network of an engine: drivers, records, ports and firewall together.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lighter_netd::Client;

use crate::bridge::{self, Bridge};
use crate::config::{Config, Endpoint, EndpointRequest, Kind, NetworkInfo, PortBinding, Protocol};
use crate::conntrack;
use crate::endpoints::{self, Records};
use crate::error::{Error, Result, gather};
use crate::firewall::{Firewall, Forward};
use crate::netns;
use crate::ports::Ports;

/// After a keeper that does not start, before the next try; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The network of one engine. Cloned freely. Operations on different containers run side by side.
#[derive(Debug, Clone)]
pub struct Network(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    bridge: Bridge,
    firewall: Firewall,
    ports: Ports,
    records: Records,
    netns: PathBuf,
    /// By container. A reader never waits for a setup.
    endpoints: RwLock<HashMap<String, Arc<Endpoint>>>,
}

impl Network {
    /// Makes or adopts the bridge and reads the records of an earlier engine; [`Network::restore`] is to follow. Blocks for a
    /// millisecond or two.
    pub fn open(config: Config) -> Result<Self> {
        let root = config.exec_root.join("network");
        let netns = config.exec_root.join("netns");
        for dir in [&root, &netns] {
            fs::create_dir_all(dir).map_err(|source| Error::Record {
                path: dir.clone(),
                source,
            })?;
        }
        let records = Records::open(root.join("endpoints"))?;
        let bridge = Bridge::open(&config, &root.join("bridge.json"))?;
        let client = config
            .netd
            .as_ref()
            .map(|program| Client::new(program, config.exec_root.join("netd")));
        let endpoints = records.load()?;
        for link in endpoints.iter().filter_map(|endpoint| endpoint.link.as_ref()) {
            bridge.adopt(link);
        }
        let endpoints = endpoints
            .into_iter()
            .map(|endpoint| (endpoint.container_id.clone(), Arc::new(endpoint)));
        Ok(Self(Arc::new(Inner {
            firewall: Firewall::new(vec![bridge.rules()]),
            bridge,
            ports: Ports::new(client, config.userland_proxy),
            records,
            netns,
            endpoints: RwLock::new(endpoints.collect()),
            config,
        })))
    }

    /// After [`Network::open`]: keeps the endpoints of the containers in `live`, removes all others and namespaces that belong to
    /// nobody, and makes firewall and proxy agree with what is left. Goes on after errors and reports them all.
    pub async fn restore(&self, live: HashSet<String>) -> Result<()> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let restored = inner.restore(&live);
            inner.watch();
            restored
        })
        .await
    }

    /// Gives a container a namespace on the bridge, with its ports published. All or nothing.
    pub async fn setup(&self, request: EndpointRequest) -> Result<Arc<Endpoint>> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.setup(&request, Kind::Bridge)).await
    }

    /// Gives a container a namespace with nothing but loopback.
    pub async fn setup_none(&self, container_id: &str, name: &str) -> Result<Arc<Endpoint>> {
        let inner = Arc::clone(&self.0);
        let request = EndpointRequest {
            container_id: container_id.to_owned(),
            name: name.to_owned(),
            ..EndpointRequest::default()
        };
        blocking(move || inner.setup(&request, Kind::None)).await
    }

    /// Takes everything of a container away. No endpoint is no error. Goes on after errors and reports them all.
    pub async fn teardown(&self, container_id: &str) -> Result<()> {
        let inner = Arc::clone(&self.0);
        let container_id = container_id.to_owned();
        blocking(move || inner.teardown(&container_id)).await
    }

    /// At shutdown: when no endpoint is left, removes table, proxy and bridge. Returns whether it did.
    pub async fn flush(&self) -> Result<bool> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.flush()).await
    }

    /// A container's endpoint.
    pub fn endpoint(&self, container_id: &str) -> Option<Arc<Endpoint>> {
        self.0.read().get(container_id).cloned()
    }

    /// All endpoints, in no order.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.0.read().values().cloned().collect()
    }

    /// The default network.
    pub fn info(&self) -> NetworkInfo {
        let Inner { bridge, config, .. } = &*self.0;
        NetworkInfo {
            id: bridge.record.id.clone(),
            name: "bridge".to_owned(),
            bridge: config.bridge.clone(),
            subnet: bridge.address().trunc(),
            gateway: bridge.address().addr(),
            mtu: config.mtu,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(client) = self.ports.client() {
            client.close();
        }
    }
}

/// A UDP flow that goes on keeps the translation, or the lack of it, that it began with: it must begin anew.
fn forget_flows(forwards: &[Forward]) {
    let ports: Vec<_> = forwards
        .iter()
        .filter(|forward| forward.protocol == Protocol::Udp)
        .map(|forward| forward.port)
        .collect();
    if !ports.is_empty()
        && let Err(error) = conntrack::forget_udp(&ports)
    {
        tracing::warn!(%error, "UDP flows to published ports may go on as they were");
    }
}

/// Runs blocking work on tokio's threads for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Worker)?
}

impl Inner {
    fn setup(&self, request: &EndpointRequest, kind: Kind) -> Result<Arc<Endpoint>> {
        let id = &request.container_id;
        if id.is_empty() || id.starts_with('.') || id.contains('/') || self.read().contains_key(id) {
            return Err(Error::Exists(id.clone()));
        }
        let mut endpoint = Endpoint {
            version: endpoints::VERSION,
            container_id: id.clone(),
            name: request.name.clone(),
            kind,
            endpoint_id: bridge::random_id(),
            network_id: self.bridge.record.id.clone(),
            netns: self.netns.join(id),
            link: None,
            ports: Vec::new(),
        };
        if kind == Kind::Bridge {
            self.bridge.validate(request)?;
            endpoint.link = Some(self.bridge.reserve(request)?);
        }
        match self.make(&mut endpoint, request) {
            Ok(()) => {
                let endpoint = Arc::new(endpoint);
                self.write().insert(id.clone(), Arc::clone(&endpoint));
                Ok(endpoint)
            }
            Err(error) => {
                if let Err(left) = self.undo(&endpoint) {
                    tracing::warn!(error = lighter_stdx::error::chain(&left), "after a failed setup");
                }
                Err(error)
            }
        }
    }

    fn make(&self, endpoint: &mut Endpoint, request: &EndpointRequest) -> Result<()> {
        let publish = |source| Error::Publish {
            name: request.name.clone(),
            endpoint_id: endpoint.endpoint_id.clone(),
            source,
        };
        if let Some(link) = &endpoint.link {
            let ports = self
                .ports
                .publish(&request.container_id, link.ipv4.addr(), &request.ports);
            endpoint.ports = ports.map_err(publish)?;
        }
        // Recorded before it is there: after a crash, restore knows what to look for.
        self.records.write(endpoint)?;
        lighter_stdx::failpoint::hit("network.setup.recorded");
        match &mut endpoint.link {
            Some(link) => {
                let name = link.host_interface.clone();
                self.bridge
                    .setup(link, &endpoint.netns, !endpoint.ports.is_empty())?;
                if link.host_interface != name {
                    self.records.write(endpoint)?;
                }
            }
            None => netns::make(&endpoint.netns, |_| Ok(()))?,
        }
        lighter_stdx::failpoint::hit("network.setup.wired");
        if self.config.iptables {
            let forwards = self.forwards(endpoint);
            self.firewall.add(&forwards)?;
            forget_flows(&forwards);
        }
        Ok(())
    }

    fn teardown(&self, container_id: &str) -> Result<()> {
        let endpoint = self.read().get(container_id).cloned();
        let Some(endpoint) = endpoint else { return Ok(()) };
        let undone = self.undo(&endpoint);
        self.write().remove(container_id);
        undone
    }

    /// Takes away whatever there is of an endpoint: the record last, so that a crash on the way leaves something to go on from.
    fn undo(&self, endpoint: &Endpoint) -> Result<()> {
        let mut errors = Vec::new();
        if self.config.iptables {
            let forwards = self.forwards(endpoint);
            errors.extend(self.firewall.remove(&forwards).err());
            forget_flows(&forwards);
        }
        errors.extend(netns::unpin(&endpoint.netns).err());
        lighter_stdx::failpoint::hit("network.teardown.unpinned");
        errors.extend(
            self.ports
                .withdraw(&endpoint.container_id)
                .err()
                .map(|source| Error::Publish {
                    name: endpoint.name.clone(),
                    endpoint_id: endpoint.endpoint_id.clone(),
                    source,
                }),
        );
        errors.extend(self.records.remove(&endpoint.container_id).err());
        if let Some(link) = &endpoint.link {
            self.bridge.release(link);
        }
        gather(errors)
    }

    fn restore(&self, live: &HashSet<String>) -> Result<()> {
        let mut errors = Vec::new();
        let known: Vec<_> = self.read().values().cloned().collect();
        let (kept, gone): (Vec<_>, Vec<_>) = known
            .into_iter()
            .partition(|endpoint| live.contains(&endpoint.container_id) && netns::is_pinned(&endpoint.netns));
        let ports: Vec<(String, Ipv4Addr, Vec<PortBinding>)> = kept
            .iter()
            .filter_map(|endpoint| {
                let address = endpoint.link.as_ref()?.ipv4.addr();
                Some((endpoint.container_id.clone(), address, endpoint.ports.clone()))
            })
            .collect();
        match self.ports.restore(&ports) {
            Err(error) => tracing::warn!(error = lighter_stdx::error::chain(&error), "port proxy"),
            Ok(failed) => {
                for error in failed {
                    tracing::warn!(
                        error = lighter_stdx::error::chain(&error),
                        "a published port was lost"
                    );
                }
            }
        }
        for endpoint in &gone {
            self.write().remove(&endpoint.container_id);
            errors.extend(netns::unpin(&endpoint.netns).err());
            errors.extend(self.records.remove(&endpoint.container_id).err());
            if let Some(link) = &endpoint.link {
                self.bridge.release(link);
            }
        }
        match fs::read_dir(&self.netns) {
            Err(source) => errors.push(Error::Record {
                path: self.netns.clone(),
                source,
            }),
            Ok(entries) => {
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    if name.to_str().is_none_or(|name| !self.read().contains_key(name)) {
                        errors.extend(netns::unpin(&entry.path()).err());
                    }
                }
            }
        }
        errors.extend(match self.config.iptables {
            true => self
                .firewall
                .replace(kept.iter().flat_map(|endpoint| self.forwards(endpoint)).collect())
                .err(),
            false => {
                // From an engine that made rules. A kernel without nf_tables has none.
                let _ = self.firewall.clear();
                None
            }
        });
        gather(errors)
    }

    fn flush(&self) -> Result<bool> {
        if !self.read().is_empty() {
            return Ok(false);
        }
        let mut errors = Vec::new();
        if self.config.iptables {
            errors.extend(self.firewall.clear().err());
        }
        if let Some(client) = self.ports.client()
            && let Err(error) = client.quit()
        {
            tracing::warn!(error = lighter_stdx::error::chain(&error), "port proxy");
        }
        errors.extend(self.bridge.remove().err());
        gather(errors).map(|()| true)
    }

    fn forwards(&self, endpoint: &Endpoint) -> Vec<Forward> {
        let Some(link) = &endpoint.link else {
            return Vec::new();
        };
        let loopback = !self.config.userland_proxy;
        endpoint
            .ports
            .iter()
            .filter_map(|binding| Forward::of(binding, link.ipv4.addr(), loopback))
            .collect()
    }

    /// Once: a thread that puts a new keeper in the place of one that died. It ends with the network.
    fn watch(self: &Arc<Self>) {
        let Some(client) = self.ports.client().cloned() else {
            return;
        };
        let inner = Arc::downgrade(self);
        let watcher = move || {
            while let Ok(()) = client.wait_death() {
                let mut pause = PAUSE;
                loop {
                    let Some(inner) = inner.upgrade() else { return };
                    let Err(error) = inner.ports.heal() else { break };
                    tracing::error!(
                        error = lighter_stdx::error::chain(&error),
                        "port proxy died; trying again"
                    );
                    drop(inner);
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("netd-watch".to_owned())
            .spawn(watcher)
        {
            tracing::warn!(%error, "nobody watches the port proxy");
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Endpoint>>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Endpoint>>> {
        self.endpoints.write().unwrap_or_else(PoisonError::into_inner)
    }
}
