//! A private host for each test, a machine on its wire, and talkers in any namespace.
//!
//! Needs root; says so and fails without it.

#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lighter_network::{Config, EndpointRequest, Network, PortRequest, Protocol};

const INSIDE: &str = "LIGHTER_TEST_PRIVATE_HOST";
pub(crate) const EXEC_ROOT: &str = "/run/lighter";
/// The host's address on the wire, and the other machine's.
pub(crate) const HOST: &str = "10.99.0.1";
pub(crate) const OTHER: &str = "10.99.0.2";

/// Runs `body` as the test `name` in a host of its own: namespaces for mounts, network, processes, names and IPC, with a tmpfs on
/// `/run` and loopback up. Everything is gone with it.
pub(crate) fn private_host(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let script = r#"mount -t tmpfs tmpfs /run && ip link set lo up && "$@" & wait $!"#;
    let status = Command::new("unshare")
        .args([
            "-mnpuif",
            "--propagation",
            "private",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
            script,
            "bash",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(
        status.success(),
        "in the private host (root, unshare, iproute2 and nftables are needed): {status}"
    );
}

/// Runs a program and returns its output; fails with it when the program fails.
pub(crate) fn run(line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn config() -> Config {
    Config {
        netd: Some(env!("CARGO_BIN_EXE_lighter-netd").into()),
        ..Config::new(EXEC_ROOT)
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// An engine's network, opened and restored as after a start with `live` containers.
pub(crate) async fn network(config: Config, live: &[&str]) -> Network {
    let network = Network::open(config).unwrap();
    network
        .restore(live.iter().map(ToString::to_string).collect::<HashSet<_>>())
        .await
        .unwrap();
    network
}

pub(crate) fn tcp(container_port: u16, host_ip: Option<&str>, host_port: u16) -> PortRequest {
    PortRequest {
        protocol: Protocol::Tcp,
        container_port,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_ports: Some((host_port, host_port)),
    }
}

pub(crate) fn request(id: &str, ports: Vec<PortRequest>) -> EndpointRequest {
    EndpointRequest {
        container_id: id.into(),
        name: format!("name-of-{id}"),
        ports,
        ..EndpointRequest::default()
    }
}

/// Another machine: a namespace with a link to the host.
pub(crate) struct Machine(Child);

impl Machine {
    pub(crate) fn on_the_wire() -> Self {
        let child = Command::new("unshare")
            .args(["-n", "sleep", "infinity"])
            .spawn()
            .unwrap();
        let machine = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_until("another namespace", || {
            std::fs::read_link(machine.path()).is_ok_and(|other| other != own)
                && std::fs::read_to_string(format!("/proc/{}/comm", machine.0.id()))
                    .is_ok_and(|comm| comm == "sleep\n")
        });
        let pid = machine.0.id();
        run(&format!(
            "ip link add wire0 type veth peer name eth0 netns {pid} && ip addr add {HOST}/24 dev wire0 && ip link set wire0 up && \
             nsenter -t {pid} -n bash -c 'ip link set lo up; ip addr add {OTHER}/24 dev eth0; ip link set eth0 up'"
        ));
        machine
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs `body` in a network namespace.
pub(crate) fn inside<T: Send>(namespace: &Path, body: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(namespace).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            lighter_sys::namespace::join(namespace.as_fd(), lighter_sys::namespace::NETWORK).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

/// Serves TCP in a namespace for the rest of the test: each client is told its own address, then gets its bytes back.
pub(crate) fn serve_tcp(namespace: &Path, at: &str) {
    let at = at.to_owned();
    let listener = inside(namespace, move || TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || {
                let (mut client, mut buffer) = (client.unwrap(), [0; 4096]);
                let peer = client.peer_addr().unwrap();
                let _ = client.write_all(format!("{}\n", peer.ip()).as_bytes());
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    if client.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Serves UDP likewise: each datagram is answered with the client's address.
pub(crate) fn serve_udp(namespace: &Path, at: &str) {
    let at = at.to_owned();
    let socket = inside(namespace, move || UdpSocket::bind(at).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(client.ip().to_string().as_bytes(), client);
        }
    });
}

/// The address as which a server of [`serve_tcp`] sees a client in `namespace`; and bytes come back.
pub(crate) fn ask_tcp(namespace: &Path, at: &str) -> std::io::Result<IpAddr> {
    let at: SocketAddr = at.parse().unwrap();
    inside(namespace, || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"hello")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || std::io::Error::other(format!("answer {answer:?}"));
        let (ip, echo) = answer.split_once('\n').ok_or_else(broken)?;
        if echo != "hello" {
            return Err(broken());
        }
        ip.parse().map_err(|_| broken())
    })
}

/// As [`ask_tcp`], of [`serve_udp`].
pub(crate) fn ask_udp(namespace: &Path, at: &str) -> std::io::Result<IpAddr> {
    let at: SocketAddr = at.parse().unwrap();
    inside(namespace, || {
        let any = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(at)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send(b"hello")?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        String::from_utf8_lossy(&buffer[..length])
            .parse()
            .map_err(std::io::Error::other)
    })
}

pub(crate) fn here() -> PathBuf {
    "/proc/self/ns/net".into()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// For what no event tells: fails after ten seconds.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processes whose command line begins with the program's name.
pub(crate) fn netd_processes(argument: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        if words[0].ends_with("lighter-netd") && words.get(1).is_some_and(|word| word == argument) {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn kill_9(pid: u32) {
    run(&format!("kill -9 {pid}"));
}

/// A quiet child.
pub(crate) fn spawn(line: &str) -> Child {
    Command::new("bash")
        .args(["-c", line])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
