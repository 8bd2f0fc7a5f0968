//! `-p` and `--expose`.

use lighter_engine_api::{Empty, PortBinding, PortMap};
use std::collections::BTreeMap;

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each port maybe a range: adds what it publishes to `bindings`, and what it exposes
/// to `exposed`.
pub(super) fn publish(
    spec: &str,
    bindings: &mut PortMap,
    exposed: &mut BTreeMap<String, Empty>,
) -> Result<(), String> {
    if spec.contains('=') {
        return long(spec, bindings, exposed);
    }
    let (ip, host, container) = parts(spec);
    let (container, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
    };
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let count = last - first;
    if let Some((from, to)) = host_range
        && to - from != count
        && count != 0
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    for offset in 0..=count {
        let key = format!("{}/{protocol}", first + offset);
        let host_port = match host_range {
            None => String::new(),
            // One port that may be any of a range.
            Some((from, to)) if count == 0 && from != to => format!("{from}-{to}"),
            Some((from, _)) => (from + offset).to_string(),
        };
        exposed.insert(key.clone(), Empty {});
        bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: ip.to_owned(),
                host_port,
            });
    }
    Ok(())
}

/// `target=80,published=8080,protocol=tcp`.
fn long(spec: &str, bindings: &mut PortMap, exposed: &mut BTreeMap<String, Empty>) -> Result<(), String> {
    let (mut target, mut published, mut protocol, mut ip) = ("", "", "tcp", "");
    for field in spec.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field: {field}"))?;
        match key.to_ascii_lowercase().as_str() {
            "target" => target = value,
            "published" => published = value,
            "protocol" => protocol = value,
            "host_ip" => ip = value,
            "mode" => {}
            other => return Err(format!("invalid field key: {other}")),
        }
    }
    if target.is_empty() {
        return Err("missing mandatory field \"target\"".into());
    }
    let ip = if ip.is_empty() {
        String::new()
    } else {
        format!("{ip}:")
    };
    publish(&format!("{ip}{published}:{target}/{protocol}"), bindings, exposed)
}

/// Address, host's port, container's port; what is not there is empty.
fn parts(spec: &str) -> (&str, &str, &str) {
    match spec.rsplit_once(':') {
        None => ("", "", spec),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u32, u32)> {
    let port = |text: &str| text.parse::<u16>().ok().map(u32::from);
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((from, to)) => Some((port(from)?, port(to)?)).filter(|(from, to)| from <= to),
    }
}

/// `--expose`: `80`, `80-90/udp`.
pub(super) fn expose(spec: &str, exposed: &mut BTreeMap<String, Empty>) -> Result<(), String> {
    if spec.contains(':') {
        return Err(format!("invalid port format for --expose: {spec}"));
    }
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let (from, to) = range(ports).ok_or_else(|| {
        let wrong = ports
            .split('-')
            .find(|part| part.parse::<u16>().is_err())
            .unwrap_or(ports);
        let digits = !wrong.is_empty() && wrong.chars().all(|c| c.is_ascii_digit());
        let why = if digits {
            "value out of range"
        } else {
            "invalid syntax"
        };
        format!(
            "invalid range format for --expose: {ports}, error: strconv.ParseUint: parsing \"{wrong}\": {why}"
        )
    })?;
    for port in from..=to {
        exposed.insert(format!("{port}/{}", protocol.to_ascii_lowercase()), Empty {});
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(spec: &str) -> Result<String, String> {
        let (mut bindings, mut exposed) = (PortMap::new(), BTreeMap::new());
        publish(spec, &mut bindings, &mut exposed)?;
        let mut text = Vec::new();
        for (key, list) in &bindings {
            for binding in list.iter().flatten() {
                text.push(format!("{key}={}:{}", binding.host_ip, binding.host_port));
            }
        }
        Ok(text.join(" "))
    }

    #[test]
    fn ports_in_all_spellings() {
        for (spec, expected) in [
            ("80", Ok("80/tcp=:")),
            ("8080:80", Ok("80/tcp=:8080")),
            (
                "127.0.0.1:81-82:91-92/udp",
                Ok("91/udp=127.0.0.1:81 92/udp=127.0.0.1:82"),
            ),
            ("[::1]:81:91", Ok("91/tcp=::1:81")),
            ("127.0.0.1::91", Ok("91/tcp=127.0.0.1:")),
            ("8000-8010:80", Ok("80/tcp=:8000-8010")),
            ("target=80,published=8080", Ok("80/tcp=:8080")),
            ("x", Err("invalid containerPort: x")),
            ("x:80", Err("invalid hostPort: x")),
            ("1:2/foo", Err("invalid proto: foo")),
            (
                "1-3:1-2",
                Err("invalid ranges specified for container and host Ports: 1-2 and 1-3"),
            ),
        ] {
            assert_eq!(
                published(spec),
                expected.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }
}
