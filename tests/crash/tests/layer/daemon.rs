//! The layer on a host of its own, with a registry, and a connection to it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use lighter_containerd_api::NAMESPACE_HEADER;
use lighter_containerd_api::version::version_client::VersionClient;
use lighter_harness::{Host, Machine, Registry, within};
use tokio::runtime::Runtime;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::faulty::{Faults, Injector};

/// Where the API is served, in the host.
pub(crate) const SOCKET: &str = "/run/lighter/containerd/containerd.sock";
/// The namespace of everything here.
pub(crate) const NAMESPACE: &str = "crash";
/// How long a start may take.
const START: Duration = Duration::from_secs(10);

/// A lighter-containerd that runs. Dropping it ends it with its host.
pub(crate) struct Daemon {
    child: Option<Child>,
    /// Where calls go. A new one after each start.
    pub(crate) channel: Channel,
    pub(crate) runtime: Runtime,
    pub(crate) root: PathBuf,
    _registry: Registry,
    pub(crate) host: Host,
}

impl Daemon {
    pub(crate) fn start() -> Daemon {
        let host = Host::new();
        let registry = Registry::start(&host);
        let root = host.dir().join("root");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let channel = {
            let _inside = runtime.enter();
            Endpoint::from_static("http://[::1]:1").connect_lazy()
        };
        let mut daemon = Daemon {
            child: None,
            channel,
            runtime,
            root,
            _registry: registry,
            host,
        };
        daemon.restart();
        daemon
    }

    /// Starts it, without any help for what an earlier one left.
    pub(crate) fn restart(&mut self) {
        self.child = Some(command(&self.host).spawn().expect("starting the layer"));
        self.connect();
    }

    /// Starts it with system calls that can be made to fail.
    pub(crate) fn restart_with(&mut self, faults: Faults) -> Injector {
        let mut command = command(&self.host);
        let prefix = self.root.clone();
        let (child, injector) = Injector::spawn(prefix, faults, move || command.spawn());
        self.child = Some(child);
        self.connect();
        injector
    }

    fn connect(&mut self) {
        let path = self.host.path(SOCKET);
        let endpoint = Endpoint::try_from(format!("unix://{}", path.display())).expect("a socket's address");
        let child = self.child.as_mut().expect("it was started");
        let (runtime, host) = (&self.runtime, &self.host);
        self.channel = within(START, "the layer answers", || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the layer ended at its start: {status}\n{}", log(host));
            }
            runtime.block_on(async {
                let channel = endpoint.connect().await.ok()?;
                VersionClient::new(channel.clone()).version(()).await.ok()?;
                Some(channel)
            })
        });
    }

    /// Its process, as this one numbers it.
    pub(crate) fn pid(&self) -> u32 {
        let nsenter = self.child.as_ref().map_or(0, Child::id);
        let children = std::fs::read_to_string(format!("/proc/{nsenter}/task/{nsenter}/children"));
        let children = children.unwrap_or_default();
        let pid = children.split_whitespace().next();
        pid.and_then(|pid| pid.parse().ok()).expect("the layer runs")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL)
            .expect("killing the layer");
        self.wait();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("waiting for the layer");
        }
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        log(&self.host)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            for line in lines.iter().rev() {
                println!("layer: {line}");
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn log(host: &Host) -> String {
    std::fs::read_to_string(host.dir().join("layer.log")).unwrap_or_default()
}

fn command(host: &Host) -> std::process::Command {
    let program = lighter_harness::dist().join("lighter-containerd");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(host.dir().join("layer.log"))
        .expect("opening the layer's log");
    let mut command = host.command(Machine::Host, &[&program.display().to_string()]);
    command
        .arg("--root")
        .arg(host.dir().join("root"))
        .args(["--state", "/run/lighter/containerd", "--address", SOCKET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// A request in the suite's namespace.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let namespace = NAMESPACE.parse().expect("a name is a header's value");
    request.metadata_mut().insert(NAMESPACE_HEADER, namespace);
    request
}
