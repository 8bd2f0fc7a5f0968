//! How the layer reaches registries: a `hosts.toml` for each, as containerd defines it.
//!
//! Written from `registry-mirrors` and `insecure-registries` into a directory under the exec root, which a transfer names.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use lighter_oci::DEFAULT_DOMAIN;
use lighter_stdx::atomic::{self, Keep};

use crate::config::Config;
use crate::{Error, Result};

/// Where the public hub answers.
const HUB: &str = "https://registry-1.docker.io";

/// Makes the directory say how to reach `domain`, and answers the directory.
pub(crate) fn prepare(config: &Config, domain: &str) -> Result<PathBuf> {
    let root = config.exec_root.join("certs.d");
    let dir = root.join(domain);
    let file = dir.join("hosts.toml");
    let text = hosts(domain, &config.registry_mirrors, &config.insecure_registries);
    let same = std::fs::read_to_string(&file).is_ok_and(|found| Some(found) == text);
    if same {
        return Ok(root);
    }
    let failed = |what: &str, path: &Path, error: std::io::Error| {
        Error::system(format!("failed to {what} {}", path.display())).with_source(error)
    };
    match text {
        Some(text) => {
            std::fs::create_dir_all(&dir).map_err(|error| failed("create", &dir, error))?;
            atomic::write(&file, text.as_bytes(), 0o644, Keep::Kill)
                .map_err(|error| failed("write", &file, error))?;
        }
        None => {
            std::fs::create_dir_all(&root).map_err(|error| failed("create", &root, error))?;
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", &file, error));
                }
                _ => {}
            }
        }
    }
    Ok(root)
}

/// The file's text; `None` where containerd's own way is right: HTTPS with a known certificate.
fn hosts(domain: &str, mirrors: &[String], insecure: &[String]) -> Option<String> {
    let hub = domain == DEFAULT_DOMAIN;
    let plain = !hub && is_insecure(domain, insecure);
    if !plain && (!hub || mirrors.is_empty()) {
        return None;
    }
    let mut text = String::new();
    let server = if hub {
        HUB.to_owned()
    } else {
        format!("https://{domain}")
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "server = {server:?}");
    if hub {
        for mirror in mirrors {
            let mirror = mirror.trim_end_matches('/');
            let host = mirror.split_once("://").map_or(mirror, |(_, host)| host);
            let _ = writeln!(
                text,
                "\n[host.{mirror:?}]\n  capabilities = [\"pull\", \"resolve\"]"
            );
            if mirror.starts_with("https://") && is_insecure(host, insecure) {
                let _ = writeln!(text, "  skip_verify = true");
            }
        }
    }
    if plain {
        // Docker tries TLS with any certificate, then none at all.
        let _ = writeln!(
            text,
            "\n[host.\"https://{domain}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n  skip_verify = true"
        );
        let _ = writeln!(
            text,
            "\n[host.\"http://{domain}\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]"
        );
    }
    Some(text)
}

/// Whether a registry may be reached without a known certificate: it is named, its address is in a named range, or it is
/// this machine.
pub(crate) fn is_insecure(domain: &str, insecure: &[String]) -> bool {
    let host = match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => domain,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if insecure.iter().any(|named| named == domain || named == host) {
        return true;
    }
    let address = match host {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse::<IpAddr>().ok(),
    };
    let Some(address) = address else { return false };
    address.is_loopback()
        || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
        || insecure
            .iter()
            .filter_map(|named| named.parse::<ipnet::IpNet>().ok())
            .any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_what_is_named_are_insecure() {
        let named = [
            "10.0.0.0/8".to_owned(),
            "reg.lan:5000".to_owned(),
            "old.lan".to_owned(),
        ];
        for (domain, expected) in [
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("[::1]:5000", true),
            ("10.1.2.3", true),
            ("reg.lan:5000", true),
            ("reg.lan:5001", false),
            ("old.lan:7", true),
            ("192.168.0.1:5000", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_insecure(domain, &named), expected, "{domain}");
        }
    }

    #[test]
    fn mirrors_stand_before_the_hub() {
        let text = hosts("docker.io", &["http://127.0.0.1:5000/".into()], &[]).unwrap();
        assert_eq!(
            text,
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        assert_eq!(hosts("docker.io", &[], &[]), None);
        assert_eq!(hosts("example.org", &["http://127.0.0.1:5000".into()], &[]), None);
        assert!(
            hosts("127.0.0.1:5000", &[], &[])
                .unwrap()
                .contains("[host.\"http://127.0.0.1:5000\"]")
        );
    }
}
