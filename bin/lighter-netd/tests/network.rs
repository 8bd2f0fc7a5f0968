//! Endpoints on the default bridge, as the host, the container and another machine see them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

mod support;

use std::time::Instant;

use lighter_network::{Config, EndpointRequest, Kind, PortRequest, Protocol};
use support::*;

#[test]
fn a_container_has_an_address_a_route_and_its_own_loopback() {
    private_host("a_container_has_an_address_a_route_and_its_own_loopback", || {
        runtime().block_on(async {
            let network = network(config(), &[]).await;
            let endpoint = network.setup(request("one", vec![])).await.unwrap();
            let link = endpoint.link.clone().unwrap();
            assert_eq!(link.ipv4.to_string(), "172.17.0.2/16");
            assert_eq!(link.gateway.to_string(), "172.17.0.1");
            assert_eq!(link.mac.to_string(), "02:42:ac:11:00:02");
            let inside = |line: &str| run(&format!("nsenter --net={} {line}", endpoint.netns.display()));
            let addresses = inside("ip -br addr");
            assert!(
                addresses.contains("172.17.0.2/16") && addresses.contains("127.0.0.1/8"),
                "{addresses}"
            );
            assert!(
                !addresses.contains("fe80"),
                "no IPv6 on an IPv4 network: {addresses}"
            );
            assert!(
                addresses.contains("::1/128"),
                "loopback keeps its own: {addresses}"
            );
            assert_eq!(
                inside("ip route show default").trim(),
                "default via 172.17.0.1 dev eth0"
            );
            inside("busybox ping -c1 -W2 172.17.0.1");
            assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
            assert!(link.host_interface.starts_with("veth") && link.host_interface.len() == 11);

            let none = network.setup_none("two", "none").await.unwrap();
            assert_eq!((none.kind, &none.link), (Kind::None, &None));
            let links = run(&format!("nsenter --net={} ip -br link", none.netns.display()));
            assert!(links.starts_with("lo") && links.lines().count() == 1, "{links}");
        });
    });
}

#[test]
fn a_published_port_answers_everywhere_and_the_source_is_kept() {
    private_host(
        "a_published_port_answers_everywhere_and_the_source_is_kept",
        || {
            runtime().block_on(async {
                let other = Machine::on_the_wire();
                let network = network(config(), &[]).await;
                let udp = PortRequest {
                    protocol: Protocol::Udp,
                    ..tcp(53, None, 5353)
                };
                let web = network
                    .setup(request("web", vec![tcp(80, None, 8080), udp]))
                    .await
                    .unwrap();
                let client = network.setup(request("client", vec![])).await.unwrap();
                assert_eq!(web.ports.len(), 4, "IPv4 and IPv6 of each: {:?}", web.ports);
                serve_tcp(&web.netns, "0.0.0.0:80");
                serve_udp(&web.netns, "0.0.0.0:53");

                // From elsewhere and from the host's own addresses: by the kernel, source kept.
                assert_eq!(ask_tcp(&other.path(), "10.99.0.1:8080").unwrap(), ip(OTHER));
                assert_eq!(ask_tcp(&here(), "10.99.0.1:8080").unwrap(), ip(HOST));
                assert_eq!(ask_udp(&other.path(), "10.99.0.1:5353").unwrap(), ip(OTHER));
                // From loopback: by the proxy.
                for address in ["127.0.0.1:8080", "[::1]:8080"] {
                    assert_eq!(ask_tcp(&here(), address).unwrap(), ip("172.17.0.1"), "{address}");
                }
                for address in ["127.0.0.1:5353", "[::1]:5353"] {
                    assert_eq!(ask_udp(&here(), address).unwrap(), ip("172.17.0.1"), "{address}");
                }
                // Hairpin: from another container and from itself, through the host's addresses.
                for from in [&client.netns, &web.netns] {
                    for to in ["10.99.0.1:8080", "172.17.0.1:8080"] {
                        assert_eq!(ask_tcp(from, to).unwrap(), ip("172.17.0.1"), "{to}");
                    }
                }
                // Container to container, directly.
                assert_eq!(ask_tcp(&client.netns, "172.17.0.2:80").unwrap(), ip("172.17.0.3"));

                network.teardown("web").await.unwrap();
                assert!(ask_tcp(&here(), "127.0.0.1:8080").is_err());
                assert!(ask_tcp(&other.path(), "10.99.0.1:8080").is_err());
            });
        },
    );
}

#[test]
fn what_is_not_published_is_not_reachable_from_the_wire() {
    private_host("what_is_not_published_is_not_reachable_from_the_wire", || {
        runtime().block_on(async {
            let other = Machine::on_the_wire();
            let network = network(config(), &[]).await;
            let web = network
                .setup(request("web", vec![tcp(80, Some("127.0.0.1"), 8080), tcp(81, Some(HOST), 8081)]))
                .await
                .unwrap();
            for port in [80, 81, 82] {
                serve_tcp(&web.netns, &format!("0.0.0.0:{port}"));
            }
            assert!(ask_tcp(&here(), "127.0.0.1:8080").is_ok());
            assert_eq!(ask_tcp(&other.path(), "10.99.0.1:8081").unwrap(), ip(OTHER));
            assert!(ask_tcp(&here(), "127.0.0.1:8081").is_err(), "published on one address only");
            // By way of the host's routes to its inner addresses, as a neighbour may try.
            let pid = other.path().to_string_lossy().replace("/proc/", "").replace("/ns/net", "");
            run(&format!("nsenter -t {pid} -n bash -c 'ip route add 172.17.0.0/16 via {HOST}; ip link set lo down; \
                 echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet; ip route add 127.0.0.1 via {HOST} dev eth0'"));
            for address in ["10.99.0.1:8080", "172.17.0.2:80", "172.17.0.2:81", "172.17.0.2:82", "127.0.0.1:8080"] {
                assert!(ask_tcp(&other.path(), address).is_err(), "{address}");
            }
        });
    });
}

#[test]
fn containers_reach_out_under_the_hosts_address() {
    private_host("containers_reach_out_under_the_hosts_address", || {
        runtime().block_on(async {
            let other = Machine::on_the_wire();
            serve_tcp(&other.path(), "10.99.0.2:9000");
            let network = network(config(), &[]).await;
            let one = network.setup(request("one", vec![])).await.unwrap();
            assert_eq!(ask_tcp(&one.netns, "10.99.0.2:9000").unwrap(), ip(HOST));
        });
    });
}

#[test]
fn without_iptables_the_proxy_does_it_all_and_there_is_no_table() {
    private_host(
        "without_iptables_the_proxy_does_it_all_and_there_is_no_table",
        || {
            runtime().block_on(async {
                let other = Machine::on_the_wire();
                let network = network(
                    Config {
                        iptables: false,
                        ..config()
                    },
                    &[],
                )
                .await;
                let web = network
                    .setup(request("web", vec![tcp(80, None, 8080)]))
                    .await
                    .unwrap();
                serve_tcp(&web.netns, "0.0.0.0:80");
                assert_eq!(
                    ask_tcp(&other.path(), "10.99.0.1:8080").unwrap(),
                    ip("172.17.0.1")
                );
                assert_eq!(run("nft list ruleset"), "");
            });
        },
    );
}

#[test]
fn without_the_proxy_the_kernel_serves_loopback_too() {
    private_host("without_the_proxy_the_kernel_serves_loopback_too", || {
        runtime().block_on(async {
            let other = Machine::on_the_wire();
            let network = network(Config { userland_proxy: false, ..config() }, &[]).await;
            let ports = vec![tcp(80, None, 8080), tcp(81, Some("127.0.0.1"), 8081)];
            let web = network.setup(request("web", ports)).await.unwrap();
            serve_tcp(&web.netns, "0.0.0.0:80");
            serve_tcp(&web.netns, "0.0.0.0:81");
            assert_eq!(ask_tcp(&other.path(), "10.99.0.1:8080").unwrap(), ip(OTHER));
            assert_eq!(ask_tcp(&here(), "127.0.0.1:8080").unwrap(), ip("172.17.0.1"));
            assert_eq!(ask_tcp(&here(), "127.0.0.1:8081").unwrap(), ip("172.17.0.1"));
            // The host's loopback is not the container's, although the bridge routes it now.
            serve_tcp(&here(), "127.0.0.1:7000");
            run(&format!("nsenter --net={} bash -c 'ip link set lo down; ip route add 127.0.0.1 via 172.17.0.1 dev eth0; \
                 echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet'", web.netns.display()));
            assert!(ask_tcp(&web.netns, "127.0.0.1:7000").is_err());
            let error = network.setup(request("again", vec![tcp(80, None, 8080)])).await.unwrap_err();
            assert!(text(&error).contains("port is already allocated"), "{}", text(&error));
            assert!(std::net::TcpListener::bind("0.0.0.0:8080").is_err(), "the port is held");
            assert!(netd_processes("worker").is_empty(), "nothing to serve");
        });
    });
}

#[test]
fn a_conflict_is_reported_before_anything_is_made() {
    private_host("a_conflict_is_reported_before_anything_is_made", || {
        runtime().block_on(async {
            let network = network(config(), &[]).await;
            let taken = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
            let error = network
                .setup(request("web", vec![tcp(79, None, 7900), tcp(80, None, 8080)]))
                .await
                .unwrap_err();
            let said = text(&error);
            let (start, end) = said.split_once(" (").unwrap();
            assert_eq!(
                start,
                "driver failed programming external connectivity on endpoint name-of-web"
            );
            let (id, end) = end.split_once("): ").unwrap();
            assert_eq!(id.len(), 64);
            assert_eq!(
                end,
                "failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use"
            );
            assert_eq!(std::fs::read_dir("/run/lighter/netns").unwrap().count(), 0);
            assert!(
                std::net::TcpListener::bind("0.0.0.0:7900").is_ok(),
                "the other port was given back"
            );
            drop(taken);
            network
                .setup(request("web", vec![tcp(80, None, 8080)]))
                .await
                .unwrap();
            let error = network
                .setup(request("two", vec![tcp(80, Some("127.0.0.1"), 8080)]))
                .await
                .unwrap_err();
            assert!(text(&error).ends_with(": Bind for 127.0.0.1:8080 failed: port is already allocated"));
        });
    });
}

fn text(error: &lighter_network::Error) -> String {
    use std::error::Error;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn a_random_port_is_free_and_a_range_takes_the_next_free_one() {
    private_host(
        "a_random_port_is_free_and_a_range_takes_the_next_free_one",
        || {
            runtime().block_on(async {
                let first: u16 = run("cut -f1 /proc/sys/net/ipv4/ip_local_port_range")
                    .trim()
                    .parse()
                    .unwrap();
                let _taken = std::net::TcpListener::bind(("0.0.0.0", first)).unwrap();
                let _ranged = std::net::TcpListener::bind("0.0.0.0:9000").unwrap();
                let network = network(config(), &[]).await;
                let any = PortRequest {
                    host_ports: None,
                    ..tcp(80, None, 0)
                };
                let range = PortRequest {
                    host_ports: Some((9000, 9001)),
                    ..tcp(81, None, 0)
                };
                let web = network
                    .setup(request("web", vec![any, range.clone()]))
                    .await
                    .unwrap();
                assert!(web.ports[0].host_port > first, "{:?}", web.ports);
                assert_eq!(web.ports[0].host_port, web.ports[1].host_port);
                assert_eq!(web.ports[2].host_port, 9001);
                let error = network.setup(request("two", vec![range])).await.unwrap_err();
                assert!(
                    text(&error).ends_with(": all ports are allocated"),
                    "{}",
                    text(&error)
                );
            });
        },
    );
}

#[test]
fn two_hundred_come_and_go_and_nothing_is_left() {
    private_host("two_hundred_come_and_go_and_nothing_is_left", || {
        runtime().block_on(async {
            let network = network(config(), &[]).await;
            let start = Instant::now();
            for number in 0..200_u16 {
                let ports = vec![tcp(80, None, 20000 + number)];
                network
                    .setup(request(&format!("c{number}"), ports))
                    .await
                    .unwrap();
            }
            let made = start.elapsed();
            let start = Instant::now();
            for number in 0..200 {
                network.teardown(&format!("c{number}")).await.unwrap();
            }
            let gone = start.elapsed();
            eprintln!("200 endpoints with a port each: setup {made:?}, teardown {gone:?}");
            assert_eq!(network.endpoints().len(), 0);
            assert_eq!(std::fs::read_dir("/run/lighter/netns").unwrap().count(), 0);
            assert_eq!(
                std::fs::read_dir("/run/lighter/network/endpoints")
                    .unwrap()
                    .count(),
                0
            );
            assert!(!run("nft list ruleset").contains("elements"));
            assert!(!run("cat /proc/self/mountinfo").contains("nsfs"));
            wait_until("links die with their namespaces", || {
                !run("ip -br link").contains("veth")
            });
            let again = network.setup(request("again", vec![])).await.unwrap();
            assert_eq!(again.link.as_ref().unwrap().ipv4.to_string(), "172.17.0.2/16");
            network.teardown("again").await.unwrap();
            assert!(network.flush().await.unwrap());
            assert_eq!(run("nft list ruleset"), "");
            assert!(!run("ip -br link").contains("docker0"));
            wait_until("the keeper ends", || {
                netd_processes("--root").is_empty() && netd_processes("worker").is_empty()
            });
        });
    });
}

#[test]
fn the_cost_of_an_endpoint() {
    private_host("the_cost_of_an_endpoint", || {
        runtime().block_on(async {
            let network = network(config(), &[]).await;
            for (what, ports) in [("no port", vec![]), ("a port", vec![tcp(80, None, 8080)])] {
                let (mut made, mut gone) = (Vec::new(), Vec::new());
                for number in 0..30 {
                    let request = EndpointRequest {
                        container_id: format!("c{number}"),
                        ..request("", ports.clone())
                    };
                    let start = Instant::now();
                    let endpoint = network.setup(request).await.unwrap();
                    made.push(start.elapsed());
                    let start = Instant::now();
                    network.teardown(&endpoint.container_id).await.unwrap();
                    gone.push(start.elapsed());
                }
                made.sort();
                gone.sort();
                eprintln!(
                    "{what}: setup {:?} (best {:?}), teardown {:?}",
                    made[15], made[0], gone[15]
                );
            }
        });
    });
}

#[test]
fn an_engine_that_was_killed_finds_its_endpoints_again() {
    private_host("an_engine_that_was_killed_finds_its_endpoints_again", || {
        runtime().block_on(async {
            let other = Machine::on_the_wire();
            let first = network(config(), &[]).await;
            let web = first
                .setup(request("web", vec![tcp(80, None, 8080)]))
                .await
                .unwrap();
            let dead = first
                .setup(request("dead", vec![tcp(80, None, 8081)]))
                .await
                .unwrap();
            serve_tcp(&web.netns, "0.0.0.0:80");
            // As kill -9 leaves it: nothing is torn down. And a namespace that was pinned but not recorded.
            std::mem::forget(first);
            run("touch /run/lighter/netns/half && mount --bind /proc/self/ns/net /run/lighter/netns/half");
            run("nft delete table ip lighter; nft add table ip theirs");

            let second = network(config(), &["web", "not-ours"]).await;
            assert_eq!(second.endpoint("web").unwrap(), web);
            assert!(second.endpoint("dead").is_none() && !dead.netns.exists());
            assert!(!std::path::Path::new("/run/lighter/netns/half").exists());
            assert_eq!(ask_tcp(&other.path(), "10.99.0.1:8080").unwrap(), ip(OTHER));
            assert!(ask_tcp(&here(), "127.0.0.1:8080").is_ok());
            assert!(ask_tcp(&here(), "127.0.0.1:8081").is_err());
            let next = second.setup(request("next", vec![])).await.unwrap();
            assert_ne!(next.link.as_ref().unwrap().ipv4, web.link.as_ref().unwrap().ipv4);
            assert_eq!(second.info().id, web.network_id);
            for id in ["web", "next"] {
                second.teardown(id).await.unwrap();
            }
            assert!(second.flush().await.unwrap());
            assert_eq!(
                run("nft list ruleset"),
                "table ip theirs {\n}\n",
                "others' tables are theirs"
            );
        });
    });
}

#[test]
fn a_udp_flow_follows_the_container_that_has_the_port() {
    private_host("a_udp_flow_follows_the_container_that_has_the_port", || {
        runtime().block_on(async {
            let other = Machine::on_the_wire();
            let network = network(config(), &[]).await;
            // One flow, which begins before there is a port and outlives its first owner.
            let socket = inside(&other.path(), || {
                std::net::UdpSocket::bind("10.99.0.2:5000").unwrap()
            });
            socket
                .set_read_timeout(Some(std::time::Duration::from_millis(200)))
                .unwrap();
            socket.send_to(b"early", "10.99.0.1:5353").unwrap();
            for (id, address) in [("one", "10.99.0.2"), ("two", "10.99.0.2")] {
                let ports = vec![PortRequest {
                    protocol: Protocol::Udp,
                    ..tcp(53, None, 5353)
                }];
                let endpoint = network.setup(request(id, ports)).await.unwrap();
                serve_udp(&endpoint.netns, "0.0.0.0:53");
                let mut answer = [0; 64];
                wait_until("an answer", || {
                    socket.send_to(b"x", "10.99.0.1:5353").unwrap();
                    socket
                        .recv(&mut answer)
                        .is_ok_and(|length| &answer[..length] == address.as_bytes())
                });
                network.teardown(id).await.unwrap();
            }
        });
    });
}

#[test]
fn a_pool_that_the_host_routes_elsewhere_is_passed_over() {
    private_host("a_pool_that_the_host_routes_elsewhere_is_passed_over", || {
        runtime().block_on(async {
            let _other = Machine::on_the_wire();
            run("ip route add 172.17.0.0/16 via 10.99.0.2");
            let network = network(config(), &[]).await;
            let one = network.setup(request("one", vec![])).await.unwrap();
            assert_eq!(one.link.as_ref().unwrap().ipv4.to_string(), "172.18.0.2/16");
        });
    });
}
