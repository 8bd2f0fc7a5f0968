//! The engine about itself and the machine it runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lighter_engine_api::{
    API_VERSION, Commit, ComponentVersion, ContainerdInfo, ContainerdNamespaces, DiskUsage, FirewallInfo,
    IndexInfo, MIN_API_VERSION, PlatformName, PluginsInfo, RegistryServiceConfig, RuntimeInfo, SwarmInfo,
    SystemInfo, SystemVersion, go,
};
use lighter_oci::Platform;
use lighter_stdx::atomic::{self, Keep};

use crate::containers::ListOptions;
use crate::images::{ImageListOptions, SNAPSHOTTER};
use crate::layer::NAMESPACE;
use crate::{Engine, Result};

/// Our own version.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// The version that clients are told: Docker's whose behaviour is ours, with our own behind it. Clients compare it.
const VERSION: &str = concat!("28.5.2+lighter.", env!("CARGO_PKG_VERSION"));

/// The runtime of containers that name none.
pub const RUNTIME: &str = "lighter-runc";

impl Engine {
    /// Everything that clients print about an engine.
    pub async fn info(&self) -> Result<SystemInfo> {
        let containers = self.list(ListOptions {
            all: true,
            ..ListOptions::default()
        })?;
        let count = |states: &[&str]| {
            containers
                .iter()
                .filter(|container| states.contains(&container.state.as_str()))
                .count() as i64
        };
        let (running, paused) = (count(&["running", "restarting"]), count(&["paused"]));
        let images = self.images_here().await?.len() as i64;
        let config = self.config();
        let machine = Machine::look();
        let runtime = || RuntimeInfo {
            path: RUNTIME.into(),
            ..RuntimeInfo::default()
        };
        Ok(SystemInfo {
            id: engine_id(&config.data_root),
            containers: containers.len() as i64,
            containers_running: running,
            containers_paused: paused,
            containers_stopped: containers.len() as i64 - running - paused,
            images,
            driver: SNAPSHOTTER.into(),
            driver_status: vec![["driver-type".into(), "io.containerd.snapshotter.v1".into()]],
            plugins: PluginsInfo {
                volume: Some(vec!["local".into()]),
                network: Some(vec!["bridge".into(), "host".into(), "null".into()]),
                authorization: None,
                log: Some(vec!["json-file".into(), "none".into()]),
            },
            memory_limit: machine.has("memory"),
            swap_limit: machine.has("memory"),
            kernel_memory_tcp: machine.cgroup_version == 1,
            cpu_cfs_period: machine.has("cpu"),
            cpu_cfs_quota: machine.has("cpu"),
            cpu_shares: machine.has("cpu"),
            cpu_set: machine.has("cpuset"),
            pids_limit: machine.has("pids"),
            ipv4_forwarding: read("/proc/sys/net/ipv4/ip_forward") == "1",
            debug: config.debug,
            n_fd: fs::read_dir("/proc/self/fd").map_or(-1, |dir| dir.count() as i64),
            oom_kill_disable: machine.cgroup_version == 1 && machine.has("memory"),
            n_goroutines: fs::read_dir("/proc/self/task").map_or(-1, |dir| dir.count() as i64),
            system_time: go::time(config.clock.now()),
            logging_driver: "json-file".into(),
            cgroup_driver: "cgroupfs".into(),
            cgroup_version: machine.cgroup_version.to_string(),
            n_events_listener: self.inner.events.listeners() as i64,
            kernel_version: machine.kernel,
            operating_system: machine.system,
            os_version: machine.system_version,
            os_type: "linux".into(),
            architecture: machine.architecture,
            index_server_address: "https://index.docker.io/v1/".into(),
            registry_config: registries(&config.registry_mirrors, &config.insecure_registries),
            n_cpu: std::thread::available_parallelism().map_or(1, |count| count.get() as i64),
            mem_total: machine.memory,
            generic_resources: None,
            docker_root_dir: config.data_root.display().to_string(),
            name: machine.host,
            labels: config.labels.clone(),
            server_version: VERSION.into(),
            runtimes: BTreeMap::from([
                (RUNTIME.to_owned(), runtime()),
                ("runc".to_owned(), runtime()),
                ("io.containerd.runc.v2".to_owned(), runtime()),
            ]),
            default_runtime: RUNTIME.into(),
            swarm: SwarmInfo {
                local_node_state: "inactive".into(),
                ..SwarmInfo::default()
            },
            live_restore_enabled: true,
            init_binary: "lighter-init".into(),
            containerd_commit: Commit { id: OWN.into() },
            runc_commit: Commit { id: OWN.into() },
            init_commit: Commit { id: OWN.into() },
            security_options: security(machine.cgroup_version),
            firewall_backend: Some(FirewallInfo {
                driver: if config.iptables { "nftables" } else { "" }.into(),
                info: Vec::new(),
            }),
            containerd: Some(ContainerdInfo {
                address: self.layer().socket().display().to_string(),
                namespaces: ContainerdNamespaces {
                    containers: NAMESPACE.into(),
                    plugins: "plugins.moby".into(),
                },
            }),
            ..SystemInfo::default()
        })
    }

    /// The versions of all parts. A layer that is away has none.
    pub async fn version(&self) -> SystemVersion {
        let platform = Platform::host();
        let machine = Machine::look();
        let details = |pairs: &[(&str, &str)]| {
            Some(
                pairs
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            )
        };
        let (layer_version, layer_revision) = match self.layer().version().version(()).await {
            Ok(found) => {
                let found = found.into_inner();
                (found.version, found.revision)
            }
            Err(_) => (String::new(), String::new()),
        };
        let component = |name: &str, version: &str, details| ComponentVersion {
            name: name.into(),
            version: version.into(),
            details,
        };
        SystemVersion {
            platform: PlatformName {
                name: format!("Lighter {OWN}"),
            },
            components: vec![
                component(
                    "Engine",
                    VERSION,
                    details(&[
                        ("ApiVersion", API_VERSION),
                        ("Arch", &platform.architecture),
                        ("Experimental", "false"),
                        ("KernelVersion", &machine.kernel),
                        ("MinAPIVersion", MIN_API_VERSION),
                        ("Os", &platform.os),
                    ]),
                ),
                component(
                    "containerd",
                    &layer_version,
                    details(&[("GitCommit", &layer_revision)]),
                ),
                component(RUNTIME, OWN, details(&[("GitCommit", "")])),
                component("lighter-init", OWN, details(&[("GitCommit", "")])),
            ],
            version: VERSION.into(),
            api_version: API_VERSION.into(),
            min_api_version: MIN_API_VERSION.into(),
            os: platform.os.clone(),
            arch: platform.architecture.clone(),
            kernel_version: machine.kernel.clone(),
            ..SystemVersion::default()
        }
    }

    /// What takes how much room.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let options = ImageListOptions {
            all: true,
            shared_size: true,
            ..ImageListOptions::default()
        };
        let images = self.image_list(options).await?;
        let containers = self.list(ListOptions {
            all: true,
            size: true,
            ..ListOptions::default()
        })?;
        let mut counted = BTreeSet::new();
        let mut layers_size = 0;
        for (image, _) in self.images_here().await? {
            let sizes = self.inner.images.layer_sizes(&image).await?;
            for (chain, size) in lighter_oci::chain_ids(&image.config.rootfs.diff_ids)
                .into_iter()
                .zip(sizes)
            {
                if counted.insert(chain.to_string()) {
                    layers_size += size;
                }
            }
        }
        Ok(DiskUsage {
            layers_size,
            images,
            containers,
            ..DiskUsage::default()
        })
    }
}

/// What the machine is.
#[derive(Debug)]
struct Machine {
    kernel: String,
    architecture: String,
    host: String,
    system: String,
    system_version: String,
    /// Bytes.
    memory: i64,
    cgroup_version: u8,
    controllers: BTreeSet<String>,
}

impl Machine {
    fn look() -> Self {
        let names = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let release = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let (cgroup_version, controllers) = controllers(Path::new("/sys/fs/cgroup"));
        Self {
            kernel: text(names.release()),
            architecture: text(names.machine()),
            host: text(names.nodename()),
            system: field(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".into()),
            system_version: field(&release, "VERSION_ID").unwrap_or_default(),
            memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            cgroup_version,
            controllers,
        }
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.contains(controller)
    }
}

/// The version of the cgroup file system and the controllers that it has.
fn controllers(root: &Path) -> (u8, BTreeSet<String>) {
    match fs::read_to_string(root.join("cgroup.controllers")) {
        Ok(list) => (2, list.split_whitespace().map(str::to_owned).collect()),
        Err(_) => {
            let entries = fs::read_dir(root).into_iter().flatten().flatten();
            (
                1,
                entries
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect(),
            )
        }
    }
}

fn security(cgroup_version: u8) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if cgroup_version == 2 {
        options.push("name=cgroupns".into());
    }
    options
}

/// A value of an os-release file, without its quotes.
fn field(release: &str, key: &str) -> Option<String> {
    release
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']).to_owned())
}

/// The machine's memory in bytes, from /proc/meminfo.
fn memory(meminfo: &str) -> i64 {
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<i64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// An id that an engine keeps for as long as its data root; made when it is first asked for.
fn engine_id(data_root: &Path) -> String {
    let path = data_root.join("engine-id");
    if let Ok(found) = fs::read_to_string(&path) {
        return found.trim().to_owned();
    }
    let digits = hex::encode(rand::random::<[u8; 16]>());
    let id = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-");
    if let Err(error) = atomic::write(&path, id.as_bytes(), 0o600, Keep::Kill) {
        tracing::warn!(%error, path = %path.display(), "the engine's id could not be kept");
    }
    id
}

fn registries(mirrors: &[String], insecure: &[String]) -> RegistryServiceConfig {
    let mirrors: Vec<String> = mirrors
        .iter()
        .map(|mirror| format!("{}/", mirror.trim_end_matches('/')))
        .collect();
    let hub = IndexInfo {
        name: "docker.io".into(),
        mirrors: mirrors.clone(),
        official: true,
        secure: true,
    };
    let mut index_configs = BTreeMap::from([(hub.name.clone(), hub)]);
    let (mut ranges, mut named) = (Vec::new(), Vec::new());
    for registry in insecure {
        if registry.parse::<ipnet::IpNet>().is_ok() {
            &mut ranges
        } else {
            &mut named
        }
        .push(registry.clone());
    }
    for name in named {
        index_configs.insert(
            name.clone(),
            IndexInfo {
                name,
                ..IndexInfo::default()
            },
        );
    }
    ranges.extend(["::1/128".to_owned(), "127.0.0.0/8".to_owned()]);
    RegistryServiceConfig {
        index_configs,
        insecure_registry_cidrs: ranges,
        mirrors: Some(mirrors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_its_files() {
        assert_eq!(
            memory("MemTotal:       24683656 kB\nMemFree: 1 kB\n"),
            24_683_656 * 1024
        );
        let release = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID='12'\n";
        assert_eq!(
            field(release, "PRETTY_NAME").as_deref(),
            Some("Debian GNU/Linux 12")
        );
        assert_eq!(field(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(field(release, "ID"), None);
        let machine = Machine::look();
        assert!(machine.memory > 0 && !machine.kernel.is_empty());
    }

    #[test]
    fn registries_are_told_apart() {
        let config = registries(&["http://m:1".into()], &["10.0.0.0/8".into(), "reg:5000".into()]);
        assert_eq!(config.mirrors, Some(vec!["http://m:1/".to_owned()]));
        assert_eq!(
            config.insecure_registry_cidrs,
            ["10.0.0.0/8", "::1/128", "127.0.0.0/8"]
        );
        assert!(!config.index_configs["reg:5000"].secure && config.index_configs["docker.io"].secure);
    }

    #[test]
    fn an_engine_keeps_its_id() {
        let dir = std::env::temp_dir().join(format!("engine-id-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let id = engine_id(&dir);
        assert_eq!((engine_id(&dir), id.len()), (id.clone(), 36));
        fs::remove_dir_all(&dir).unwrap();
    }
}
