//! A container in full.

use std::collections::BTreeMap;

use lighter_engine_api::{
    ContainerInspectResponse, ContainerState, EndpointSettings, GraphDriver, NetworkSettings, PortBinding,
    PortMap, go,
};

use super::{Phase, State, View};
use crate::images::SNAPSHOTTER;
use crate::networks::fixed_id;
use crate::{Engine, Result};

impl Engine {
    /// Everything about a container; with the size of its files when `size` asks for it.
    pub fn inspect(&self, name: &str, size: bool) -> Result<ContainerInspectResponse> {
        let view = self.inner.containers.find(name)?.view();
        let record = &view.record;
        let dir = self.config().container_dir(&record.id);
        let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let execs = self.inner.execs.of(&record.id);
        Ok(ContainerInspectResponse {
            id: record.id.clone(),
            created: go::time(record.created),
            path: record.path.clone(),
            args: record.args.clone(),
            state: state(&view.state),
            image: record.image_id.clone(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: match record.logs_to_file() {
                true => file(&format!("{}-json.log", record.id)),
                false => String::new(),
            },
            name: format!("/{}", record.name),
            restart_count: view.state.restarts,
            driver: SNAPSHOTTER.to_owned(),
            platform: "linux".to_owned(),
            mount_label: String::new(),
            process_label: String::new(),
            app_armor_profile: String::new(),
            exec_ids: (!execs.is_empty()).then_some(execs),
            host_config: record.host_config.clone(),
            graph_driver: GraphDriver {
                data: None,
                name: SNAPSHOTTER.to_owned(),
            },
            size_rw: size.then_some(0),
            size_root_fs: size.then_some(0),
            mounts: record.mounts.clone(),
            config: record.config.clone(),
            network_settings: network_settings(&view, &self.inner.network.info().id),
            image_manifest_descriptor: None,
        })
    }
}

fn state(state: &State) -> ContainerState {
    let phase = state.phase;
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| go::ZERO_TIME.to_owned(), go::time);
    ContainerState {
        status: phase.word().to_owned(),
        // One that waits for its restart counts as running, as it does for Docker.
        running: phase.alive() || phase == Phase::Restarting,
        paused: phase == Phase::Paused,
        restarting: phase == Phase::Restarting,
        oom_killed: state.oom_killed,
        dead: phase == Phase::Dead,
        pid: if phase.alive() { i64::from(state.pid) } else { 0 },
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: time(state.started),
        finished_at: time(state.finished),
        health: None,
    }
}

fn network_settings(view: &View, bridge: &str) -> NetworkSettings {
    let networks = networks(view, bridge);
    let own = view.endpoint.as_ref();
    let main = networks.get("bridge").cloned().unwrap_or_default();
    NetworkSettings {
        sandbox_id: own.map(|_| view.record.id.clone()).unwrap_or_default(),
        sandbox_key: own
            .map(|endpoint| endpoint.netns.to_string_lossy().into_owned())
            .unwrap_or_default(),
        ports: ports(view),
        endpoint_id: main.endpoint_id,
        gateway: main.gateway,
        ip_address: main.ip_address,
        ip_prefix_len: main.ip_prefix_len,
        mac_address: main.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// The networks that a container is on, by name. `bridge` is the id of the default bridge.
pub(super) fn networks(view: &View, bridge: &str) -> BTreeMap<String, EndpointSettings> {
    let record = &view.record;
    let (name, id) = match record.host_config.network_mode.as_str() {
        _ if record.config.network_disabled => return BTreeMap::new(),
        "" | "default" | "bridge" => ("bridge", bridge.to_owned()),
        name @ ("host" | "none") => (name, fixed_id(name)),
        mode if mode.starts_with("container:") => return BTreeMap::new(),
        other => (other, String::new()),
    };
    let asked = record
        .networks
        .get(name)
        .or_else(|| record.networks.get("default"));
    let mut settings = asked.cloned().unwrap_or_default();
    // One that was never started is on no network yet.
    if view.state.started.is_some() || view.state.phase.alive() {
        settings.network_id = id;
    }
    if let Some(endpoint) = &view.endpoint {
        settings.endpoint_id.clone_from(&endpoint.endpoint_id);
        if let Some(link) = &endpoint.link {
            settings.gateway = link.gateway.to_string();
            settings.ip_address = link.ipv4.addr().to_string();
            settings.ip_prefix_len = i64::from(link.ipv4.prefix_len());
            settings.mac_address = link.mac.to_string();
        }
    }
    BTreeMap::from([(name.to_owned(), settings)])
}

/// The ports of a container on the bridge: where they are published, or nothing where they are only exposed.
pub(super) fn ports(view: &View) -> PortMap {
    let mut map = PortMap::new();
    let Some(endpoint) = view.endpoint.as_ref().filter(|endpoint| endpoint.link.is_some()) else {
        return map;
    };
    for port in view
        .record
        .config
        .exposed_ports
        .iter()
        .flatten()
        .map(|(port, _)| port)
    {
        map.insert(port.clone(), None);
    }
    for port in &endpoint.ports {
        let name = format!("{}/{}", port.container_port, port.protocol);
        let binding = PortBinding {
            host_ip: port.host_ip.to_string(),
            host_port: port.host_port.to_string(),
        };
        map.entry(name).or_default().get_or_insert_default().push(binding);
    }
    map
}
