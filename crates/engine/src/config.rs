//! How an engine is set up: the command line's flags and `daemon.json`, merged as dockerd merges them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lighter_stdx::clock::Clock;
use serde::Deserialize;

/// Where the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP address, without TLS.
    Tcp(SocketAddr),
}

/// Everything an engine needs to know to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API is served.
    pub hosts: Vec<Listen>,
    /// What survives the machine's restart.
    pub data_root: PathBuf,
    /// What does not.
    pub exec_root: PathBuf,
    /// Written with our pid while we run.
    pub pidfile: Option<PathBuf>,
    /// The socket of a layer that runs already; without it we start and keep our own.
    pub containerd: Option<PathBuf>,
    /// URLs that are asked before the public hub.
    pub registry_mirrors: Vec<String>,
    /// Hosts and CIDRs reached by plain HTTP or without a known certificate.
    pub insecure_registries: Vec<String>,
    /// Address and prefix of the default bridge.
    pub bip: Option<ipnet::Ipv4Net>,
    /// Whether firewall rules are ours to write.
    pub iptables: bool,
    /// Whether containers reach out under the host's address.
    pub ip_masq: bool,
    /// Whether published ports are also served by the userland proxy.
    pub userland_proxy: bool,
    /// The cgroup under which containers get theirs.
    pub cgroup_parent: String,
    /// `debug`, `info`, `warn`, `error` or `fatal`.
    pub log_level: String,
    /// Whether `-D` was given.
    pub debug: bool,
    /// Labels of the engine, as `info` shows them.
    pub labels: Vec<String>,
    /// Directories in which the sister programs are looked for, in order.
    pub programs: Vec<PathBuf>,
    /// Further words for the first start of our own layer; tests have it die at a chosen step by them.
    pub layer_flags: Vec<String>,
    /// The time.
    pub clock: Clock,
}

impl Config {
    /// Where the container's files are: `<data-root>/containers/<id>`.
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.data_root.join("containers").join(id)
    }

    /// Where the output of a process is served to those who attach to it; `id` is a container's or an exec's.
    pub fn attach_socket(&self, id: &str) -> PathBuf {
        self.exec_root.join("attach").join(id)
    }

    /// The first executable of that name in [`Config::programs`].
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
    }
}

/// What flags and `daemon.json` may say; both have this shape.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[expect(
    missing_docs,
    reason = "named as the keys of daemon.json, documented by Docker"
)]
pub struct Settings {
    pub hosts: Option<Vec<String>>,
    pub data_root: Option<PathBuf>,
    pub exec_root: Option<PathBuf>,
    pub pidfile: Option<PathBuf>,
    pub containerd: Option<PathBuf>,
    pub registry_mirrors: Option<Vec<String>>,
    pub insecure_registries: Option<Vec<String>>,
    pub bip: Option<String>,
    pub iptables: Option<bool>,
    pub ip_masq: Option<bool>,
    pub userland_proxy: Option<bool>,
    pub cgroup_parent: Option<String>,
    pub log_level: Option<String>,
    pub debug: Option<bool>,
    pub labels: Option<Vec<String>>,
    /// On always: containers outlive the engine. Accepted so that a file that says so is not refused.
    pub live_restore: Option<bool>,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("unable to configure the Docker daemon with file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what JSON or a key's type allows.
    #[error("unable to configure the Docker daemon with file {path}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file has keys that mean nothing to us.
    #[error(
        "unable to configure the Docker daemon with file {path}: the following directives don't match any configuration option: {keys}"
    )]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// The keys, joined by `, `.
        keys: String,
    },
    /// A key is set twice.
    #[error(
        "unable to configure the Docker daemon with file {path}: the following directives are specified both as a flag and in the configuration file: {keys}"
    )]
    Both {
        /// The file.
        path: PathBuf,
        /// The keys with both values, joined by `, `.
        keys: String,
    },
    /// A value that cannot be used.
    #[error("{0}")]
    Value(String),
}

const KEYS: &[&str] = &[
    "hosts",
    "data-root",
    "exec-root",
    "pidfile",
    "containerd",
    "registry-mirrors",
    "insecure-registries",
    "bip",
    "iptables",
    "ip-masq",
    "userland-proxy",
    "cgroup-parent",
    "log-level",
    "debug",
    "labels",
    "live-restore",
];

/// Reads a `daemon.json`. `required` is whether the user named it: the default file may be absent.
pub fn read_file(path: &Path, required: bool) -> Result<Settings, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
            return Ok(Settings::default());
        }
        Err(source) => {
            return Err(Error::Read {
                path: path.into(),
                source,
            });
        }
    };
    if text.trim().is_empty() {
        return Ok(Settings::default());
    }
    let json = |source| Error::Json {
        path: path.into(),
        source,
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(json)?;
    let unknown: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .filter(|key| !KEYS.contains(key))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::UnknownKeys {
            path: path.into(),
            keys: unknown.join(", "),
        });
    }
    serde_json::from_value(value).map_err(json)
}

/// Joins what the flags and the file at `path` say; a key that both set is refused.
pub fn merge(flags: Settings, file: Settings, path: &Path) -> Result<Settings, Error> {
    let mut both = Vec::new();
    macro_rules! join {
        ($($field:ident),*) => {
            Settings { $($field: match (flags.$field, file.$field) {
                (Some(flag), Some(file)) => {
                    let key = stringify!($field).replace('_', "-");
                    both.push(format!("{key}: (from flag: {}, from file: {})", show(&flag), show(&file)));
                    None
                }
                (flag, file) => flag.or(file),
            },)* }
        };
    }
    let joined = join!(
        hosts,
        data_root,
        exec_root,
        pidfile,
        containerd,
        registry_mirrors,
        insecure_registries,
        bip,
        iptables,
        ip_masq,
        userland_proxy,
        cgroup_parent,
        log_level,
        debug,
        labels,
        live_restore
    );
    if both.is_empty() {
        Ok(joined)
    } else {
        Err(Error::Both {
            path: path.into(),
            keys: both.join(", "),
        })
    }
}

/// A value as Go prints it: lists as `[a b]`, text without quotes.
fn show(value: &dyn std::fmt::Debug) -> String {
    format!("{value:?}").replace("\", \"", " ").replace('"', "")
}

impl Settings {
    /// The configuration with every default filled in.
    pub fn resolve(self, programs: Vec<PathBuf>, clock: Clock) -> Result<Config, Error> {
        let hosts = self.hosts.unwrap_or_default();
        let hosts = match hosts.as_slice() {
            [] => vec![Listen::Unix("/var/run/docker.sock".into())],
            hosts => hosts.iter().map(|host| listen(host)).collect::<Result<_, _>>()?,
        };
        let bip = match self.bip.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Error::Value(format!(
                    "invalid argument \"{text}\" for \"--bip\" flag: invalid CIDR address: {text}"
                ))
            })?),
        };
        let log_level = self.log_level.unwrap_or_else(|| "info".to_owned());
        if !["debug", "info", "warn", "error", "fatal"].contains(&log_level.as_str()) {
            return Err(Error::Value(format!("invalid logging level: {log_level}")));
        }
        Ok(Config {
            hosts,
            data_root: absolute(self.data_root.unwrap_or_else(|| "/var/lib/lighter".into()))?,
            exec_root: absolute(self.exec_root.unwrap_or_else(|| "/var/run/lighter".into()))?,
            pidfile: Some(self.pidfile.unwrap_or_else(|| "/var/run/docker.pid".into())),
            containerd: self.containerd.map(|path| {
                path.to_str()
                    .and_then(|text| text.strip_prefix("unix://"))
                    .map(PathBuf::from)
                    .unwrap_or(path)
            }),
            registry_mirrors: self.registry_mirrors.unwrap_or_default(),
            insecure_registries: self.insecure_registries.unwrap_or_default(),
            bip,
            iptables: self.iptables.unwrap_or(true),
            ip_masq: self.ip_masq.unwrap_or(true),
            userland_proxy: self.userland_proxy.unwrap_or(true),
            cgroup_parent: self
                .cgroup_parent
                .filter(|parent| !parent.is_empty())
                .unwrap_or_else(|| "/docker".to_owned()),
            log_level,
            debug: self.debug.unwrap_or(false),
            labels: self.labels.unwrap_or_default(),
            programs,
            layer_flags: Vec::new(),
            clock,
        })
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, Error> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Error::Value(format!(
            "{} is not an absolute path",
            path.display()
        )))
    }
}

/// Parses a value of `-H`.
fn listen(host: &str) -> Result<Listen, Error> {
    if let Some(path) = host.strip_prefix("unix://") {
        return match path {
            "" => Ok(Listen::Unix("/var/run/docker.sock".into())),
            path => Ok(Listen::Unix(path.into())),
        };
    }
    if let Some(address) = host.strip_prefix("tcp://") {
        let address = if address.contains(':') {
            address.to_owned()
        } else {
            format!("{address}:2375")
        };
        let address = address.replace("localhost:", "127.0.0.1:");
        let parsed: SocketAddr = address
            .parse()
            .map_err(|_| Error::Value(format!("invalid bind address ({host}): not an address")))?;
        if !parsed.ip().is_loopback() {
            return Err(Error::Value(format!(
                "invalid bind address ({host}): without TLS only a loopback address is served"
            )));
        }
        return Ok(Listen::Tcp(parsed));
    }
    if host.starts_with("fd://") {
        return Err(Error::Value(format!(
            "invalid bind address ({host}): sockets handed over by systemd are not supported yet"
        )));
    }
    Err(Error::Value(format!(
        "invalid bind address ({host}): unsupported proto"
    )))
}
