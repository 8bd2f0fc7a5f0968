//! Running sandboxes: each is a shim that serves containerd.runtime.sandbox.v1.
//!
//! A sandbox's bundle is `<state>/io.containerd.sandbox.controller.v1.shim/<namespace>/<id>/`. What a restart needs lies in it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lighter_shim_api::service::SANDBOX;
use lighter_shim_api::{Message, sandbox as wire};
use lighter_snapshots::Mount;
use prost_types::Any;

use super::{CONTROLLER, Sandbox, Sandboxes};
use crate::config::Config;
use crate::event_types::{Event, SandboxCreate, SandboxExit, SandboxStart};
use crate::events::Bus;
use crate::tasks::{Bootstrap, Bundle, Exit, Shim, blocking, detached, kill_inhabitants, mount, shim};
use crate::{Error, Kind, Result, identifier, time};

/// The directory of all bundles, below the state directory. Containerd's name.
const BUNDLES: &str = "io.containerd.sandbox.controller.v1.shim";
/// How long a shim may take to answer what does not wait for anything.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a sandbox is made with, besides its record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Create {
    /// Its root, where its shim wants one.
    pub rootfs: Vec<Mount>,
    /// For the shim.
    pub options: Option<Any>,
    /// The network namespace that it is to have.
    pub netns: String,
    /// For the shim.
    pub annotations: BTreeMap<String, String>,
}

/// A sandbox that was started.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its first process; 0: it has none.
    pub pid: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where its shim listens: tasks of the sandbox go there.
    pub address: String,
    /// The shim protocol there.
    pub version: u32,
}

/// What a shim says of its sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Its first process; 0: it has none.
    pub pid: u32,
    /// The shim's word for it; empty: there is none.
    pub state: String,
    /// More about it, when that was asked for.
    pub info: HashMap<String, String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it ended.
    pub exited_at: Option<Timestamp>,
    /// More about it.
    pub extra: Option<Any>,
    /// Where its shim listens.
    pub address: String,
    /// The shim protocol there.
    pub version: u32,
}

/// Where a sandbox's containers run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub architecture: String,
    /// `v8`, or empty.
    pub variant: String,
}

/// Figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    /// When they were taken.
    pub timestamp: Option<Timestamp>,
    /// Of what.
    pub id: String,
    /// The figures.
    pub data: Option<Any>,
}

/// All running sandboxes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Controller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    bus: Bus,
    records: Sandboxes,
    table: Mutex<HashMap<Key, Slot>>,
}

type Key = (String, String);

#[derive(Debug, Clone)]
enum Slot {
    /// Being made or removed: the name is taken.
    Busy,
    Ready(Arc<Running>),
}

#[derive(Debug)]
struct Running {
    bundle: Bundle,
    bootstrap: Bootstrap,
    shim: Shim,
}

impl Controller {
    pub(crate) fn new(config: Config, bus: Bus, records: Sandboxes) -> Controller {
        Controller(Arc::new(Inner {
            config,
            bus,
            records,
            table: Mutex::default(),
        }))
    }

    /// Whether there is a controller of this name; an empty one is ours, so that `ctr sandboxes run` has one.
    pub fn check(name: &str) -> Result<()> {
        match name {
            "" | CONTROLLER => Ok(()),
            _ => Err(Error::not_found("sandbox controller", name)),
        }
    }

    /// Takes back the sandboxes whose shims still run; what else is found is removed.
    pub(crate) async fn adopt_all(&self) {
        let root = self.0.config.state.join(BUNDLES);
        for namespace in names(&root) {
            for id in names(&root.join(&namespace)) {
                let bundle = self.bundle(&namespace, &id);
                let bootstrap = bundle.read::<Bootstrap>("bootstrap.json");
                let binary = bundle.read_text("shim-binary-path").map(PathBuf::from);
                let running = bootstrap.filter(|_| binary.is_some()).and_then(|bootstrap| {
                    let shim = Shim::connect(&bundle, &bootstrap).ok()?;
                    Some(Running {
                        bundle: bundle.clone(),
                        bootstrap,
                        shim,
                    })
                });
                match running {
                    Some(running) => self.put(&namespace, &id, running),
                    None => {
                        if let Err(error) = self.clean(&bundle).await {
                            let error = lighter_stdx::error::chain(&error);
                            tracing::warn!(namespace, id, error, "left-over of a sandbox");
                        }
                    }
                }
            }
        }
    }

    /// Starts the sandbox's shim and has it make the sandbox. `record`: in place of the one that is kept.
    pub async fn create(
        &self,
        namespace: &str,
        id: &str,
        create: Create,
        record: Option<Sandbox>,
    ) -> Result<()> {
        identifier::check("namespace", namespace)?;
        identifier::check("sandbox", id)?;
        let record = match record {
            Some(record) => record,
            None => self.0.records.get(namespace, id)?,
        };
        let (own, key) = (self.clone(), (namespace.to_owned(), id.to_owned()));
        detached(async move {
            own.reserve(&key)?;
            match own.make(&key.0, &key.1, create, record).await {
                Ok(running) => {
                    own.put(&key.0, &key.1, running);
                    let sandbox_id = key.1;
                    own.tell(&key.0, &SandboxCreate { sandbox_id });
                    Ok(())
                }
                Err(error) => {
                    own.table().remove(&key);
                    Err(error)
                }
            }
        })
        .await
    }

    async fn make(&self, namespace: &str, id: &str, create: Create, record: Sandbox) -> Result<Running> {
        let config = &self.0.config;
        let binary = shim::find(config, &record.runtime, "")?;
        let bundle = self.bundle(namespace, id);
        if bundle.path.exists() {
            self.clean(&bundle).await?;
        }
        let made = async {
            bundle.create(&record.spec.unwrap_or_default().value)?;
            bundle.write_text("shim-binary-path", &binary.to_string_lossy())?;
            shim::serve_log(&bundle, &binary)?;
            let bootstrap = shim::start(config, &bundle, &binary, record.options.as_ref()).await?;
            bundle.write("bootstrap.json", &bootstrap)?;
            let shim = Shim::connect(&bundle, &bootstrap)?;
            let request = wire::CreateRequest {
                sandbox_id: id.to_owned(),
                bundle_path: bundle.path.to_string_lossy().into_owned(),
                rootfs: create.rootfs.iter().map(mount).collect(),
                options: create.options,
                netns_path: create.netns,
                annotations: create.annotations.into_iter().collect(),
            };
            let answer: Result<()> = shim.call_service(SANDBOX, "CreateSandbox", &request, None).await;
            answer.map_err(|error| error.about(&format!("create sandbox {id}")))?;
            Ok((bootstrap, shim))
        };
        match made.await {
            Ok((bootstrap, shim)) => Ok(Running {
                bundle,
                bootstrap,
                shim,
            }),
            Err(error) => {
                if let Err(error) = self.clean(&bundle).await {
                    tracing::warn!(id, error = %lighter_stdx::error::chain(&error), "a sandbox that failed is not removed");
                }
                Err(error)
            }
        }
    }

    /// Starts a sandbox. One that has a record and was not made yet is made first: `ctr sandboxes run` asks for no more.
    pub async fn start(&self, namespace: &str, id: &str) -> Result<Instance> {
        if self.get(namespace, id).is_err() {
            self.create(namespace, id, Create::default(), None).await?;
        }
        let running = self.get(namespace, id)?;
        let started: Result<wire::StartResponse> = running.ask("StartSandbox", &named(id), None).await;
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                if let Err(error) = self.shutdown(namespace, id).await {
                    tracing::warn!(id, error = %lighter_stdx::error::chain(&error), "a sandbox that did not start stays");
                }
                return Err(error.about(&format!("start sandbox {id}")));
            }
        };
        let sandbox_id = id.to_owned();
        self.tell(namespace, &SandboxStart { sandbox_id });
        Ok(Instance {
            pid: started.pid,
            created_at: started
                .created_at
                .as_ref()
                .map_or_else(|| self.0.config.clock.now(), time::from_wire),
            address: running.bootstrap.address.clone(),
            version: running.bootstrap.version,
        })
    }

    /// Where its containers run.
    pub async fn platform(&self, namespace: &str, id: &str) -> Result<Platform> {
        let running = self.get(namespace, id)?;
        let answer: wire::PlatformResponse = running.ask("Platform", &named(id), Some(TIMEOUT)).await?;
        let platform = answer.platform.unwrap_or_default();
        Ok(Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
        })
    }

    /// Has it stop within `seconds` (0: as its shim thinks best). One that is gone is stopped.
    pub async fn stop(&self, namespace: &str, id: &str, seconds: u32) -> Result<()> {
        let running = match self.get(namespace, id) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            other => other?,
        };
        let request = wire::StopRequest {
            sandbox_id: id.to_owned(),
            timeout_secs: seconds,
        };
        match running.ask::<_, ()>("StopSandbox", &request, None).await {
            Err(error) if !matches!(error.kind(), Kind::NotFound | Kind::Unavailable) => {
                Err(error.about("stop sandbox"))
            }
            _ => Ok(()),
        }
    }

    /// Waits for its end.
    pub async fn wait(&self, namespace: &str, id: &str) -> Result<Exit> {
        let running = self.get(namespace, id)?;
        let answer: Result<wire::WaitResponse> = running.ask("WaitSandbox", &named(id), None).await;
        let answer = answer.map_err(|error| error.about(&format!("wait sandbox {id}")))?;
        let exit = shim::exit(answer.exit_status, answer.exited_at.as_ref());
        let event = SandboxExit {
            sandbox_id: id.to_owned(),
            exit_status: exit.status,
            exited_at: Some(time::to_wire(exit.at)),
        };
        self.tell(namespace, &event);
        Ok(exit)
    }

    /// What its shim says of it; one that is gone has ended.
    pub async fn status(&self, namespace: &str, id: &str, verbose: bool) -> Result<State> {
        let running = match self.get(namespace, id) {
            Err(error) if error.kind() == Kind::NotFound => {
                return Ok(State {
                    exited_at: Some(self.0.config.clock.now()),
                    ..State::default()
                });
            }
            other => other?,
        };
        let request = wire::StatusRequest {
            sandbox_id: id.to_owned(),
            verbose,
        };
        let answer: wire::StatusResponse = running.ask("SandboxStatus", &request, Some(TIMEOUT)).await?;
        Ok(State {
            pid: answer.pid,
            state: answer.state,
            info: answer.info,
            created_at: answer.created_at.as_ref().map(time::from_wire),
            exited_at: answer.exited_at.as_ref().map(time::from_wire),
            extra: answer.extra,
            address: running.bootstrap.address.clone(),
            version: running.bootstrap.version,
        })
    }

    /// Its figures.
    pub async fn metrics(&self, namespace: &str, id: &str) -> Result<Metric> {
        let running = self.get(namespace, id)?;
        let answer: wire::MetricsResponse = running.ask("SandboxMetrics", &named(id), Some(TIMEOUT)).await?;
        let metric = answer.metrics.unwrap_or_default();
        Ok(Metric {
            timestamp: metric.timestamp.as_ref().map(time::from_wire),
            id: metric.id,
            data: metric.data,
        })
    }

    /// Ends its shim and removes what it had here; its record stays.
    pub async fn shutdown(&self, namespace: &str, id: &str) -> Result<()> {
        let running = match self.get(namespace, id) {
            // One that did not start has nothing to end, and can be removed.
            Err(_) if self.0.records.get(namespace, id).is_ok() => return Ok(()),
            other => other?,
        };
        let (own, key) = (self.clone(), (namespace.to_owned(), id.to_owned()));
        detached(async move {
            own.table().insert(key.clone(), Slot::Busy);
            let asked: Result<()> = running
                .ask("ShutdownSandbox", &named(&key.1), Some(TIMEOUT))
                .await;
            if let Err(error) = &asked {
                tracing::debug!(id = key.1, %error, "shutdown of a sandbox");
            }
            running.shim.shutdown().await;
            let cleaned = own.clean(&running.bundle).await;
            own.table().remove(&key);
            cleaned
        })
        .await
    }

    /// Ends the shim, lets its program remove what is left, then removes the bundle.
    async fn clean(&self, bundle: &Bundle) -> Result<()> {
        for bootstrap in shim::addresses(&self.0.config, bundle) {
            if let Ok(shim) = Shim::connect(bundle, &bootstrap) {
                shim.shutdown().await;
                break;
            }
        }
        kill_inhabitants(&bundle.path);
        if let Some(binary) = bundle.read_text("shim-binary-path").map(PathBuf::from)
            && let Err(error) = shim::delete(&self.0.config, bundle, &binary).await
        {
            tracing::debug!(id = bundle.id, error = %lighter_stdx::error::chain(&error), "delete of a sandbox's shim");
        }
        let (config, bundle) = (self.0.config.clone(), bundle.clone());
        blocking(move || {
            shim::remove_sockets(&config, &bundle);
            bundle.remove()
        })
        .await
    }

    fn bundle(&self, namespace: &str, id: &str) -> Bundle {
        Bundle {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            path: self.0.config.state.join(BUNDLES).join(namespace).join(id),
        }
    }

    fn tell<E: Event>(&self, namespace: &str, event: &E) {
        self.0.bus.publish(namespace, E::TOPIC, event.to_any());
    }

    fn get(&self, namespace: &str, id: &str) -> Result<Arc<Running>> {
        match self.table().get(&(namespace.to_owned(), id.to_owned())) {
            Some(Slot::Ready(running)) => Ok(running.clone()),
            _ => Err(Error::not_found("sandbox", id)),
        }
    }

    fn put(&self, namespace: &str, id: &str, running: Running) {
        let key = (namespace.to_owned(), id.to_owned());
        self.table().insert(key, Slot::Ready(Arc::new(running)));
    }

    fn reserve(&self, key: &Key) -> Result<()> {
        let mut table = self.table();
        if table.contains_key(key) {
            return Err(Error::AlreadyExists {
                what: "sandbox",
                name: key.1.clone(),
            });
        }
        table.insert(key.clone(), Slot::Busy);
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    async fn ask<Q: Message, A: Message + Default>(
        &self,
        method: &'static str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        self.shim.call_service(SANDBOX, method, request, timeout).await
    }
}

fn named(id: &str) -> wire::Named {
    wire::Named {
        sandbox_id: id.to_owned(),
    }
}

/// The names in a directory; none in one that is not there.
fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}
