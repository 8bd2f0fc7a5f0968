//! The files under `/etc` that a container gets from the engine.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::Record;

/// What a resolver is asked when the host names none that a container could reach.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// Writes `hostname`, `hosts` and `resolv.conf` into the container's directory. `address` is its own on the bridge;
/// `on_host` means that it shares the host's network.
pub(crate) fn write(dir: &Path, record: &Record, address: Option<IpAddr>, on_host: bool) -> io::Result<()> {
    fs::write(dir.join("hostname"), format!("{}\n", record.config.hostname))?;
    fs::write(dir.join("hosts"), hosts(record, address, on_host))?;
    let path = dir.join("resolv.conf");
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    fs::write(
        path,
        if on_host && !asks(record) {
            host
        } else {
            resolv_conf(record, &host)
        },
    )
}

/// Whether the container names resolvers, domains or options of its own.
fn asks(record: &Record) -> bool {
    let some = |list: &lighter_engine_api::Strings| list.as_ref().is_some_and(|list| !list.is_empty());
    let host = &record.host_config;
    some(&host.dns) || some(&host.dns_search) || some(&host.dns_options)
}

fn hosts(record: &Record, address: Option<IpAddr>, on_host: bool) -> String {
    let mut text = String::new();
    if on_host {
        text = fs::read_to_string("/etc/hosts").unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
    } else {
        text.push_str(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for extra in record.host_config.extra_hosts.iter().flatten() {
        if let Some((name, ip)) = extra.split_once([':', '=']) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{}\t{name}",
                ip.trim_start_matches('[').trim_end_matches(']')
            );
        }
    }
    if let Some(address) = address {
        let config = &record.config;
        let name = match config.domainname.as_str() {
            "" => config.hostname.clone(),
            domain => format!("{host}.{domain} {host}", host = config.hostname),
        };
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The host's file, without resolvers on its own loopback, which a container cannot reach; with the container's own wishes
/// in place of the host's.
fn resolv_conf(record: &Record, host: &str) -> String {
    let wishes = |list: &lighter_engine_api::Strings| list.clone().unwrap_or_default();
    let mut servers = wishes(&record.host_config.dns);
    let mut search = wishes(&record.host_config.dns_search);
    let mut options = wishes(&record.host_config.dns_options);
    let of_host = |keyword: &str| {
        host.lines()
            .filter_map(|line| {
                line.split_whitespace()
                    .next()
                    .filter(|first| *first == keyword)
                    .map(|_| line)
            })
            .map(|line| {
                line.split_whitespace()
                    .skip(1)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    if servers.is_empty() {
        let reachable = |server: &String| {
            let bare = server.split('%').next().unwrap_or(server);
            bare.parse::<IpAddr>()
                .is_ok_and(|ip| !ip.is_loopback() && ip.is_ipv4())
        };
        servers = of_host("nameserver")
            .into_iter()
            .filter_map(|words| words.into_iter().next())
            .filter(reachable)
            .collect();
    }
    if servers.is_empty() {
        servers = FALLBACK.iter().map(|server| (*server).to_owned()).collect();
    }
    if search.is_empty() {
        search = of_host("search").pop().unwrap_or_default();
    }
    if options.is_empty() {
        options = of_host("options").pop().unwrap_or_default();
    }
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::record::tests::record;

    #[test]
    fn the_hosts_resolvers_are_passed_on_but_for_its_loopback() {
        let host =
            "# c\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver ::1\nsearch a b\noptions ndots:0\n";
        assert_eq!(
            resolv_conf(&record(), host),
            "nameserver 10.0.0.2\nsearch a b\noptions ndots:0\n"
        );
        assert_eq!(
            resolv_conf(&record(), ""),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
        let mut own = record();
        own.host_config.dns = Some(vec!["1.1.1.1".into()]);
        own.host_config.dns_search = Some(vec![".".into()]);
        assert_eq!(resolv_conf(&own, host), "nameserver 1.1.1.1\noptions ndots:0\n");
    }

    #[test]
    fn hosts_names_the_container_and_what_was_asked() {
        let mut record = record();
        record.host_config.extra_hosts = Some(vec!["db:10.1.1.1".into()]);
        let text = hosts(&record, Some("172.17.0.2".parse().unwrap()), false);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.1.1.1\tdb\n172.17.0.2\tbox\n"), "{text}");
    }
}
