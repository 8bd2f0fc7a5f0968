//! The bridge, published ports, the container's files about names.

use lighter_harness::{HOST_ADDRESS, Machine, OutputExt as _, Session, eventually, sessions};

/// What `url` answers on `machine`, or nothing.
fn get(session: &Session, machine: Machine, url: &str) -> String {
    session
        .host
        .command(machine, &["curl", "-s", "--max-time", "3", url])
        .result()
        .stdout
}

fn web(session: &Session, publish: &str) {
    session.pull("web");
    session
        .docker(&["run", "-d", "--name", "web", "-p", publish, "web"])
        .ok();
    eventually("the web server answers its own host", || {
        let address = session.inspect("web", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        get(session, Machine::Host, &format!("http://{address}:8080/"))
            .contains("It works")
            .then_some(())
    });
}

sessions! {
    fn a_published_port_answers_everywhere(session: &Session) {
        web(session, "8080:8080");
        for (machine, url) in [
            (Machine::Host, "http://127.0.0.1:8080/".to_owned()),
            (Machine::Host, format!("http://{HOST_ADDRESS}:8080/")),
            (Machine::World, format!("http://{HOST_ADDRESS}:8080/")),
            (Machine::Host, "http://[::1]:8080/".to_owned()),
        ] {
            assert_eq!(get(session, machine, &url), "<h1>It works</h1>\n", "{machine:?} {url}");
        }
        // From another container through the host, and from itself.
        for name in ["web", "other"] {
            session.docker(&["run", "-d", "--name", "other", "web"]);
            let hairpin = session.docker(&["exec", name, "wget", "-qO-", &format!("http://{HOST_ADDRESS}:8080/")]);
            assert_eq!(hairpin.ok(), "<h1>It works</h1>", "from {name}");
        }
        assert_eq!(session.docker(&["port", "web"]).ok(), "8080/tcp -> 0.0.0.0:8080\n8080/tcp -> [::]:8080");
        session.docker(&["stop", "-t", "0", "web"]).ok();
        assert_eq!(get(session, Machine::Host, "http://127.0.0.1:8080/"), "");
        session.docker(&["start", "web"]).ok();
        eventually("the port is back", || get(session, Machine::World, &format!("http://{HOST_ADDRESS}:8080/")).contains("works").then_some(()));
    }

    fn a_loopback_port_stays_on_the_host(session: &Session) {
        web(session, "127.0.0.1:8080:8080");
        assert_eq!(get(session, Machine::Host, "http://127.0.0.1:8080/"), "<h1>It works</h1>\n");
        assert_eq!(get(session, Machine::World, &format!("http://{HOST_ADDRESS}:8080/")), "");
    }

    fn a_random_port_is_shown(session: &Session) {
        web(session, "8080");
        let port = session.docker(&["port", "web", "8080/tcp"]).ok();
        let port = port.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").to_owned();
        assert!(port.parse::<u16>().expect("a number") >= 1024);
        assert_eq!(get(session, Machine::Host, &format!("http://127.0.0.1:{port}/")), "<h1>It works</h1>\n");
    }

    fn a_container_has_an_address_a_route_and_names(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "cc", "--hostname", "boat", "busybox", "sleep", "1000"]).ok();
        let address = session.inspect("cc", "{{range .NetworkSettings.Networks}}{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}}{{end}}");
        assert_eq!(address, "172.17.0.2/16 172.17.0.1");
        let inside = session.docker(&["exec", "cc", "sh", "-c", "ip -4 -o addr show eth0 | awk '{print $4}'; ip route | sort; cat /etc/hostname"]).ok();
        assert_eq!(inside, "172.17.0.2/16\n172.17.0.0/16 dev eth0 scope link  src 172.17.0.2 \ndefault via 172.17.0.1 dev eth0 \nboat");
        let hosts = session.docker(&["exec", "cc", "cat", "/etc/hosts"]).ok();
        assert!(hosts.contains("127.0.0.1\tlocalhost\n") && hosts.ends_with("172.17.0.2\tboat"), "{hosts}");
        let host_servers: Vec<String> = std::fs::read_to_string("/etc/resolv.conf").expect("the host's resolv.conf")
            .lines().filter(|line| line.starts_with("nameserver")).map(str::to_owned).collect();
        let own = session.docker(&["exec", "cc", "cat", "/etc/resolv.conf"]).ok();
        assert!(host_servers.iter().all(|line| own.contains(line.as_str())), "{own}");
        session.docker(&["exec", "cc", "ping", "-c", "1", "-W", "2", HOST_ADDRESS]).ok();
        session.docker(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "2", "172.17.0.2"]).ok();
    }

    fn none_and_host_networks(session: &Session) {
        session.pull("busybox");
        let links = session.docker(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]).ok();
        assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["lo"]);
        let links = session.docker(&["run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net"]).ok();
        assert!(links.contains("wire0"), "{links}");
    }

    fn a_port_in_use_is_refused(session: &Session) {
        web(session, "8080:8080");
        let output = session.docker(&["run", "-d", "--name", "second", "-p", "8080:8080", "web"]);
        assert!(output.stderr.contains("port is already allocated"), "{output}");
        assert_eq!(output.code, 125);
        assert_eq!(session.inspect("second", "{{.State.Status}}"), "created");
        session.docker(&["rm", "second"]).ok();
        // And one that another program of the host listens on.
        let mut listener = session.host.command(Machine::Host, &["busybox", "nc", "-l", "-p", "9090"]).spawn().expect("nc");
        eventually("nc listens", || session.host.sh("ss -Hltn").contains(":9090").then_some(()));
        let output = session.docker(&["run", "--rm", "-p", "9090:8080", "web"]);
        assert!(output.stderr.contains("address already in use"), "{output}");
        assert_eq!(output.code, 125);
        listener.kill().expect("ending nc");
        listener.wait().expect("waiting for nc");
        assert_eq!(get(session, Machine::Host, "http://127.0.0.1:8080/"), "<h1>It works</h1>\n");
    }
}
