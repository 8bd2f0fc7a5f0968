//! Deaths and replacements of the data plane's processes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lighter_netd::{Client, Port, Proto};
use support::*;

const ROOT: &str = "/run/netd";

fn port(id: &str, host: &str, host_port: u16) -> Port {
    Port {
        id: id.into(),
        proto: Proto::Tcp,
        host_ip: ip(host),
        host_port,
        container_ip: ip("127.0.0.1"),
        container_port: 7000,
        reserve: false,
    }
}

fn client() -> Client {
    Client::new(env!("CARGO_BIN_EXE_lighter-netd"), ROOT)
}

fn worker() -> u32 {
    let mut found = vec![];
    wait_until("one worker", || {
        found = netd_processes("worker");
        found.len() == 1
    });
    found[0]
}

/// Connects to loopback and is served; what the kernel answered instead.
fn ask() -> std::io::Result<()> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0; 10])
}

#[test]
fn a_killed_worker_refuses_nobody() {
    private_host("a_killed_worker_refuses_nobody", || {
        serve_tcp(&here(), "127.0.0.1:7000");
        assert_eq!(client().sync(&[port("a", "0.0.0.0", 8080)]).unwrap(), []);
        let (stop, mut served, mut cut, mut waits) = (AtomicBool::new(false), 0, 0, vec![]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match ask() {
                        Ok(()) => served += 1,
                        // It was in the dead worker's hands.
                        Err(error) if was_cut(&error) => cut += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            for _ in 0..20 {
                let old = worker();
                kill_9(old);
                let start = Instant::now();
                // The first that is served, or cut because the old one was not quite dead, is followed by one that is served.
                wait_until("an answer of another worker", || match ask() {
                    Ok(()) => netd_processes("worker").iter().any(|new| *new != old),
                    Err(error) if was_cut(&error) => false,
                    Err(error) => panic!("{error}"),
                });
                waits.push(start.elapsed());
            }
            stop.store(true, Ordering::Relaxed);
        });
        waits.sort();
        eprintln!(
            "20 kills: {served} served, {cut} cut off; wait {:?}, longest {:?}",
            waits[10], waits[19]
        );
        assert!(served > 20 && cut <= 20, "served {served}, cut {cut}");
        assert!(waits[10] < Duration::from_millis(100), "{waits:?}");
    });
}

fn was_cut(error: &std::io::Error) -> bool {
    [
        ErrorKind::ConnectionReset,
        ErrorKind::UnexpectedEof,
        ErrorKind::BrokenPipe,
    ]
    .contains(&error.kind())
}

#[test]
fn a_killed_keeper_is_replaced_and_binds_again() {
    private_host("a_killed_keeper_is_replaced_and_binds_again", || {
        runtime().block_on(async {
            let network = network(config(), &[]).await;
            let web = network
                .setup(request("web", vec![tcp(80, None, 8080)]))
                .await
                .unwrap();
            serve_tcp(&web.netns, "0.0.0.0:80");
            for _ in 0..5 {
                let old = netd_processes("--root");
                assert_eq!(old.len(), 1);
                kill_9(old[0]);
                wait_until("another keeper", || {
                    netd_processes("--root").iter().any(|new| *new != old[0])
                });
                wait_until("an answer", || ask_tcp(&here(), "127.0.0.1:8080").is_ok());
            }
            assert_eq!(
                worker(),
                netd_processes("worker")[0],
                "the old keeper's worker went with it"
            );
            wait_until("all are reaped", || !run("ps -eo stat").contains('Z'));
        });
    });
}

#[test]
fn the_worker_can_do_nothing_but_carry() {
    private_host("the_worker_can_do_nothing_but_carry", || {
        assert_eq!(client().sync(&[port("a", "0.0.0.0", 8080)]).unwrap(), []);
        let pid = worker();
        let line = |name: &str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
                .to_owned()
        };
        wait_until("privileges dropped", || line("NoNewPrivs:") == "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(line(set), "0000000000000000", "{set}");
        }
        assert_eq!(line("Uid:"), "65534\t65534\t65534\t65534");
        assert_eq!(line("Threads:"), "1");
    });
}

#[test]
fn one_request_says_which_ports_failed_and_binds_the_others() {
    private_host("one_request_says_which_ports_failed_and_binds_the_others", || {
        serve_tcp(&here(), "127.0.0.1:7000");
        let taken = std::net::TcpListener::bind("0.0.0.0:8081").unwrap();
        let ports = [
            port("a", "0.0.0.0", 8080),
            port("b", "0.0.0.0", 8081),
            port("c", "10.1.2.3", 8082),
        ];
        let failed = client().sync(&ports).unwrap();
        let failed: Vec<_> = failed
            .iter()
            .map(|failed| (failed.id.as_str(), failed.errno))
            .collect();
        assert_eq!(failed, [("b", 98), ("c", 99)]);
        ask().unwrap();
        // A port changes hands in one request: from one container to another, and to another program.
        drop(taken);
        let moved = [
            Port {
                id: "d".into(),
                ..port("", "0.0.0.0", 8080)
            },
            port("b", "0.0.0.0", 8081),
        ];
        assert_eq!(client().sync(&moved).unwrap(), []);
        ask().unwrap();
        for _ in 0..20 {
            assert_eq!(client().sync(&[]).unwrap(), []);
            drop(std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
            assert_eq!(client().sync(&moved).unwrap(), []);
            ask().unwrap();
        }
        assert!(
            client()
                .quit()
                .unwrap_err()
                .to_string()
                .contains("ports are open")
        );
    });
}

#[test]
fn a_keeper_executes_its_program_anew_and_its_sockets_stay() {
    private_host("a_keeper_executes_its_program_anew_and_its_sockets_stay", || {
        serve_tcp(&here(), "127.0.0.1:7000");
        let program = "/run/lighter-netd";
        std::fs::copy(env!("CARGO_BIN_EXE_lighter-netd"), program).unwrap();
        let client = Client::new(program, ROOT);
        // More than one message of the handover.
        let mut ports: Vec<_> = (0..70)
            .map(|n| port(&format!("p{n}"), "127.0.0.1", 9000 + n))
            .collect();
        ports.push(port("a", "0.0.0.0", 8080));
        assert_eq!(client.sync(&ports).unwrap(), []);
        let keeper = netd_processes("--root");
        let before = std::fs::metadata(format!("/proc/{}/exe", keeper[0])).unwrap();
        // An upgrade: the file is replaced, then the keeper is told.
        std::fs::copy(env!("CARGO_BIN_EXE_lighter-netd"), "/run/new").unwrap();
        std::fs::rename("/run/new", program).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match TcpStream::connect("127.0.0.1:8080") {
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => panic!("{error}"),
                        _ => {}
                    }
                }
            });
            client.reexec().unwrap();
            wait_until("the new file", || {
                use std::os::unix::fs::MetadataExt;
                std::fs::metadata(format!("/proc/{}/exe", keeper[0]))
                    .is_ok_and(|now| now.ino() != before.ino())
            });
            wait_until("an answer", || ask().is_ok());
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(netd_processes("--root"), keeper, "the same process");
        assert_eq!(
            client.sync(&ports).unwrap(),
            [],
            "nothing to bind: nothing was lost"
        );
        assert_eq!(client.sync(&[]).unwrap(), []);
        client.quit().unwrap();
        wait_until("the end", || {
            netd_processes("--root").is_empty() && netd_processes("worker").is_empty()
        });
        assert!(!std::path::Path::new(ROOT).join("control.sock").exists());
    });
}

#[test]
fn many_clients_start_one_keeper() {
    private_host("many_clients_start_one_keeper", || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| client().ensure_running().unwrap());
            }
        });
        wait_until("one", || netd_processes("--root").len() == 1);
        let start = Instant::now();
        client().ensure_running().unwrap();
        eprintln!("a keeper that is there answers after {:?}", start.elapsed());
    });
}

#[test]
fn half_closed_connections_and_large_answers_pass() {
    private_host("half_closed_connections_and_large_answers_pass", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:7000").unwrap();
        const SIZE: usize = 32 << 20;
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                stream.read_to_end(&mut request).unwrap();
                stream.write_all(&request).unwrap();
                stream.write_all(&vec![7; SIZE]).unwrap();
            }
        });
        assert_eq!(client().sync(&[port("a", "0.0.0.0", 8080)]).unwrap(), []);
        let start = Instant::now();
        let mut stream = TcpStream::connect("127.0.0.1:8080").unwrap();
        stream.write_all(b"request").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), SIZE + 7);
        assert!(answer.starts_with(b"request"));
        eprintln!("32 MiB through the proxy in {:?}", start.elapsed());
    });
}
