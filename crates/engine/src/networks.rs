//! The networks that are there from the start: the default bridge, the host's own, and none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lighter_engine_api::{EndpointResource, Ipam, IpamConfig, NetworkResource, go};
use lighter_oci::Digest;

use crate::Engine;
use crate::containers::ListOptions;

/// The bridge's options in Docker's words.
const BRIDGE: [(&str, &str); 4] = [
    ("com.docker.network.bridge.default_bridge", "true"),
    ("com.docker.network.bridge.enable_icc", "true"),
    ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
    ("com.docker.network.driver.mtu", "1500"),
];

/// The id of a network that is made of nothing, the same for ever.
pub(crate) fn fixed_id(name: &str) -> String {
    Digest::sha256(format!("lighter network {name}").as_bytes())
        .encoded()
        .to_owned()
}

impl Engine {
    /// All networks, with the containers that are on the bridge.
    pub fn networks(&self) -> Vec<NetworkResource> {
        let info = self.inner.network.info();
        let mut options: BTreeMap<String, String> = BRIDGE
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let masquerade = self.config().ip_masq.to_string();
        options.insert(
            "com.docker.network.bridge.enable_ip_masquerade".into(),
            masquerade,
        );
        options.insert("com.docker.network.bridge.name".into(), info.bridge.clone());
        options.insert("com.docker.network.driver.mtu".into(), info.mtu.to_string());
        let ipam = |config| Ipam {
            driver: "default".into(),
            options: None,
            config,
        };
        let subnet = IpamConfig {
            subnet: info.subnet.trunc().to_string(),
            gateway: info.gateway.to_string(),
            ..IpamConfig::default()
        };
        let network = |name: &str, id: String, driver: &str| NetworkResource {
            name: name.into(),
            id,
            created: go::time(Timestamp::UNIX_EPOCH),
            scope: "local".into(),
            driver: driver.into(),
            enable_ipv4: true,
            ipam: ipam(None),
            ..NetworkResource::default()
        };
        vec![
            NetworkResource {
                ipam: ipam(Some(vec![subnet])),
                containers: self.on_bridge(),
                options,
                ..network("bridge", info.id.clone(), "bridge")
            },
            network("host", fixed_id("host"), "host"),
            network("none", fixed_id("none"), "null"),
        ]
    }

    fn on_bridge(&self) -> BTreeMap<String, EndpointResource> {
        let mut found = BTreeMap::new();
        for container in self.list(ListOptions::default()).unwrap_or_default() {
            let Some(endpoint) = container.network_settings.networks.get("bridge") else {
                continue;
            };
            if endpoint.ip_address.is_empty() {
                continue;
            }
            let name = container
                .names
                .first()
                .map(|name| name.trim_start_matches('/').to_owned());
            let resource = EndpointResource {
                name: name.unwrap_or_default(),
                endpoint_id: endpoint.endpoint_id.clone(),
                mac_address: endpoint.mac_address.clone(),
                ipv4_address: format!("{}/{}", endpoint.ip_address, endpoint.ip_prefix_len),
                ipv6_address: String::new(),
            };
            found.insert(container.id, resource);
        }
        found
    }
}
