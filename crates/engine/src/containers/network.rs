//! A container's place on the network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lighter_engine_api::PortMap;
use lighter_network::{Endpoint, EndpointRequest, PortRequest, Protocol};

use super::Record;
use super::start::process_of;
use crate::{Error, Inner, Result};

/// Where a container's traffic goes.
#[derive(Debug)]
pub(super) enum Place {
    /// A namespace of its own.
    Own(Arc<Endpoint>),
    /// The host's.
    Host,
    /// That of another container's process.
    Other(u32),
}

impl Place {
    /// What the specification says of it.
    pub(super) fn namespace(&self) -> Option<String> {
        match self {
            Self::Own(endpoint) => Some(endpoint.netns.to_string_lossy().into_owned()),
            Self::Host => None,
            Self::Other(pid) => Some(format!("/proc/{pid}/ns/net")),
        }
    }

    /// The container's own address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Own(endpoint) => endpoint.link.as_ref().map(|link| link.ipv4.addr().into()),
            Self::Host | Self::Other(_) => None,
        }
    }
}

/// Makes it. All or nothing.
pub(super) async fn set_up(inner: &Inner, record: &Record) -> Result<Place> {
    let mode = if record.config.network_disabled {
        "none"
    } else {
        record.host_config.network_mode.as_str()
    };
    let wrong = |error: lighter_network::Error| {
        let text = lighter_stdx::error::chain(&error);
        Error::system(format!("failed to set up container networking: {text}"))
    };
    match mode {
        "host" => Ok(Place::Host),
        "none" => inner
            .network
            .setup_none(&record.id, &record.name)
            .await
            .map(Place::Own)
            .map_err(wrong),
        "" | "default" | "bridge" => {
            let request = request(record)?;
            inner.network.setup(request).await.map(Place::Own).map_err(wrong)
        }
        other => match process_of(inner, other, "network")? {
            Some(pid) => Ok(Place::Other(pid)),
            None => Err(Error::not_found(format!(
                "failed to set up container networking: network {other} not found"
            ))),
        },
    }
}

/// What is asked of the bridge.
fn request(record: &Record) -> Result<EndpointRequest> {
    let settings = record
        .networks
        .get("bridge")
        .or_else(|| record.networks.get("default"));
    let mac = match (
        settings.map(|settings| settings.mac_address.as_str()),
        record.config.mac_address.as_str(),
    ) {
        (None | Some(""), "") => None,
        (None | Some(""), mac) | (Some(mac), _) => Some(mac),
    };
    let mac = mac
        .map(str::parse)
        .transpose()
        .map_err(|error: lighter_network::BadMac| Error::invalid(error.to_string()))?;
    Ok(EndpointRequest {
        container_id: record.id.clone(),
        name: record.name.clone(),
        ports: ports(record)?,
        mac,
        ip: address(record)?,
    })
}

/// An address of the user's choice: the default bridge has none to give.
pub(super) fn address(record: &Record) -> Result<Option<Ipv4Addr>> {
    let asked = record
        .networks
        .values()
        .filter_map(|settings| settings.ipam_config.as_ref())
        .any(|ipam| !ipam.ipv4_address.is_empty());
    match asked {
        true => Err(Error::invalid(
            "user specified IP address is supported on user defined networks only",
        )),
        false => Ok(None),
    }
}

/// `80`, `80/udp`.
fn port(text: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(Error::invalid(format!("invalid proto: {other}"))),
    };
    let number = number
        .parse()
        .map_err(|_| Error::invalid(format!("invalid port specification: {text:?}")))?;
    Ok((number, protocol))
}

/// The ports to publish, those with a fixed one on the host first: nobody else is to take it.
pub(super) fn ports(record: &Record) -> Result<Vec<PortRequest>> {
    let empty = PortMap::new();
    let bindings = record.host_config.port_bindings.as_ref().unwrap_or(&empty);
    let mut list = Vec::new();
    for (text, bindings) in bindings {
        let (container_port, protocol) = port(text)?;
        for binding in bindings.iter().flatten() {
            list.push(PortRequest {
                protocol,
                container_port,
                host_ip: host_ip(&binding.host_ip)?,
                host_ports: host_ports(&binding.host_port)?,
            });
        }
    }
    if record.host_config.publish_all_ports {
        for text in record.config.exposed_ports.iter().flatten().map(|(text, _)| text) {
            let (container_port, protocol) = port(text)?;
            let has = |port: &PortRequest| (port.container_port, port.protocol) == (container_port, protocol);
            if !list.iter().any(has) {
                list.push(PortRequest {
                    protocol,
                    container_port,
                    host_ip: None,
                    host_ports: None,
                });
            }
        }
    }
    list.sort_by_key(|port| (port.host_ports.is_none(), port.protocol, port.container_port));
    Ok(list)
}

fn host_ip(text: &str) -> Result<Option<IpAddr>> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("invalid IP address: {text}"))),
    }
}

fn host_ports(text: &str) -> Result<Option<(u16, u16)>> {
    let bad = || Error::invalid(format!("invalid port specification: \"{text}\""));
    let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
    match text.split_once('-') {
        _ if text.is_empty() || text == "0" => Ok(None),
        None => number(text).map(|port| Some((port, port))),
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok(Some((first, last))),
            _ => Err(bad()),
        },
    }
}

#[cfg(test)]
mod tests {
    use lighter_engine_api::PortBinding;

    use super::*;
    use crate::containers::tests::record;

    fn bound(ports: &[(&str, &str, &str)]) -> Result<Vec<PortRequest>> {
        let mut record = record();
        let mut map = PortMap::new();
        for (port, ip, host) in ports {
            let binding = PortBinding {
                host_ip: (*ip).into(),
                host_port: (*host).into(),
            };
            map.entry((*port).to_owned())
                .or_default()
                .get_or_insert_default()
                .push(binding);
        }
        record.host_config.port_bindings = Some(map);
        super::ports(&record)
    }

    #[test]
    fn ports_are_read_and_fixed_ones_come_first() {
        let ports = bound(&[
            ("80/tcp", "", ""),
            ("90/udp", "127.0.0.1", "9000-9010"),
            ("70", "::", "7000"),
        ])
        .unwrap();
        let short: Vec<_> = ports
            .iter()
            .map(|port| (port.container_port, port.host_ports))
            .collect();
        assert_eq!(
            short,
            [(70, Some((7000, 7000))), (90, Some((9000, 9010))), (80, None)]
        );
    }

    #[test]
    fn bad_ports_are_refused() {
        for (port, ip, host) in [
            ("80/x", "", ""),
            ("x/tcp", "", ""),
            ("80/tcp", "1.2", ""),
            ("80/tcp", "", "9-1"),
            ("80/tcp", "", "70000"),
        ] {
            assert_eq!(
                bound(&[(port, ip, host)]).unwrap_err().kind,
                crate::Kind::InvalidParameter
            );
        }
    }
}
