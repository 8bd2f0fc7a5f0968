//! `--network` and what goes with it.

use std::collections::BTreeMap;

use lighter_engine_api::{EndpointIpamConfig, EndpointSettings, HostConfig};

use crate::args::Parsed;

/// `NAME` or `name=NAME,alias=A,ip=1.2.3.4,…`: the name and the endpoint.
pub(crate) fn network(text: &str) -> Result<(String, EndpointSettings), String> {
    let mut endpoint = EndpointSettings::default();
    if !text.contains('=') {
        return Ok((text.to_owned(), endpoint));
    }
    let mut name = String::new();
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field {field}"))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = value.to_owned(),
            "alias" => endpoint.aliases.get_or_insert_default().push(value.to_owned()),
            "ip" => ipam(&mut endpoint).ipv4_address = value.to_owned(),
            "ip6" => ipam(&mut endpoint).ipv6_address = value.to_owned(),
            "mac-address" => endpoint.mac_address = value.to_owned(),
            "link-local-ip" => ipam(&mut endpoint)
                .link_local_ips
                .get_or_insert_default()
                .push(value.to_owned()),
            "driver-opt" => {
                let (option, value) = value
                    .split_once('=')
                    .ok_or_else(|| format!("invalid key value pair format in driver options: {value}"))?;
                let options = endpoint.driver_opts.get_or_insert_default();
                options.insert(option.to_owned(), value.to_owned());
            }
            "gw-priority" => {
                let wrong = |_| format!("invalid gw-priority: {value}");
                endpoint.gw_priority = value.parse().map_err(wrong)?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if name.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok((name, endpoint))
}

fn ipam(endpoint: &mut EndpointSettings) -> &mut EndpointIpamConfig {
    endpoint.ipam_config.get_or_insert_default()
}

/// Sets the mode in `host` and returns the endpoints that the container is to have.
pub(super) fn endpoints(
    parsed: &Parsed,
    host: &mut HostConfig,
) -> Result<BTreeMap<String, EndpointSettings>, String> {
    let mut networks = Vec::new();
    for text in parsed.list("network") {
        networks.push(network(&text)?);
    }
    if networks.is_empty() {
        networks.push(("default".to_owned(), EndpointSettings::default()));
    }
    let users_own = |name: &str| {
        !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
    };
    let own = networks.iter().filter(|(name, _)| users_own(name)).count();
    if own > 0 && own < networks.len() {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes".into(),
        );
    }
    let mut found = BTreeMap::new();
    for (at, (name, mut endpoint)) in networks.into_iter().enumerate() {
        if at == 0 {
            of_the_first(parsed, &mut endpoint)?;
            host.network_mode = name.clone();
        }
        if !users_own(&name) {
            let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
            if !none(&endpoint.aliases) {
                return Err("network-scoped aliases are only supported for user-defined networks".into());
            }
            if !none(&endpoint.links) {
                return Err("links are only supported for user-defined networks".into());
            }
        }
        if matches!(name.as_str(), "host" | "none") || name.starts_with("container:") {
            continue;
        }
        if found.insert(name.clone(), endpoint).is_some() {
            return Err(format!("network \"{name}\" is specified multiple times"));
        }
    }
    Ok(found)
}

/// What is given beside `--network` goes to the first.
fn of_the_first(parsed: &Parsed, endpoint: &mut EndpointSettings) -> Result<(), String> {
    let aliases = parsed.list("network-alias");
    if !aliases.is_empty() {
        endpoint.aliases.get_or_insert_default().extend(aliases);
    }
    if let Some(address) = parsed.some("ip") {
        ipam(endpoint).ipv4_address = address.to_owned();
    }
    if let Some(address) = parsed.some("ip6") {
        ipam(endpoint).ipv6_address = address.to_owned();
    }
    let local = parsed.list("link-local-ip");
    if !local.is_empty() {
        ipam(endpoint).link_local_ips = Some(local);
    }
    if parsed.has("link") && parsed.has("network") {
        endpoint.links = Some(parsed.list("link"));
    }
    if let Some(mac) = parsed.some("mac-address") {
        let bytes = mac.split([':', '-']).collect::<Vec<_>>();
        let is_byte = |text: &&str| text.len() == 2 && u8::from_str_radix(text, 16).is_ok();
        if bytes.len() != 6 || !bytes.iter().all(is_byte) {
            return Err(format!("{mac} is not a valid mac address"));
        }
        endpoint.mac_address = mac.to_owned();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        assert_eq!(network("foo").unwrap().0, "foo");
        let (name, endpoint) = network("name=q,alias=x,ip=1.2.3.4,driver-opt=a=b,gw-priority=3").unwrap();
        assert_eq!((name.as_str(), endpoint.gw_priority), ("q", 3));
        assert_eq!(endpoint.ipam_config.unwrap().ipv4_address, "1.2.3.4");
        assert!(network("alias=x").is_err());
    }
}
