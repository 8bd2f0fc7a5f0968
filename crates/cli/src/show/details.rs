//! The engine's part of `info`, line by line.

use std::fmt::Write as _;

use lighter_engine_api::SystemInfo;

use super::units;

pub(crate) fn server(info: &SystemInfo) -> String {
    let mut lines = Lines(String::new());
    let l = &mut lines;
    l.add(1, "Containers", info.containers);
    l.add(2, "Running", info.containers_running);
    l.add(2, "Paused", info.containers_paused);
    l.add(2, "Stopped", info.containers_stopped);
    l.add(1, "Images", info.images);
    l.some(1, "Server Version", &info.server_version);
    l.some(1, "Storage Driver", &info.driver);
    info.driver_status
        .iter()
        .for_each(|[key, value]| l.add(2, key, value));
    l.some(1, "Logging Driver", &info.logging_driver);
    l.some(1, "Cgroup Driver", &info.cgroup_driver);
    l.some(1, "Cgroup Version", &info.cgroup_version);
    l.title(1, "Plugins");
    for (kind, names, always) in [
        ("Volume", &info.plugins.volume, true),
        ("Network", &info.plugins.network, true),
        ("Authorization", &info.plugins.authorization, false),
        ("Log", &info.plugins.log, true),
    ] {
        let names = names.as_deref().unwrap_or_default();
        if always || !names.is_empty() {
            l.add(2, kind, names.join(" "));
        }
    }
    l.list(1, "CDI spec directories", &info.cdi_spec_dirs);
    l.add(1, "Swarm", &info.swarm.local_node_state);
    if info.os_type == "linux" {
        linux(l, info);
    }
    rest(l, info);
    lines.0.push('\n');
    lines.0
}

fn linux(l: &mut Lines, info: &SystemInfo) {
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        l.add(1, "Runtimes", names.join(" "));
        l.add(1, "Default Runtime", &info.default_runtime);
    }
    l.add(1, "Init Binary", &info.init_binary);
    l.add(1, "containerd version", &info.containerd_commit.id);
    l.add(1, "runc version", &info.runc_commit.id);
    l.add(1, "init version", &info.init_commit.id);
    if info.security_options.is_empty() {
        return;
    }
    l.title(1, "Security Options");
    for option in &info.security_options {
        // `name=seccomp,profile=builtin`
        for (i, part) in option.split(',').enumerate() {
            let (key, value) = part.split_once('=').unwrap_or(("name", part));
            match (i, key) {
                (_, "name") => _ = writeln!(l.0, "  {value}"),
                (_, "profile") => l.add(3, "Profile", value),
                (_, key) => l.add(3, key, value),
            }
        }
    }
}

fn rest(l: &mut Lines, info: &SystemInfo) {
    l.some(1, "Kernel Version", &info.kernel_version);
    l.some(1, "Operating System", &info.operating_system);
    l.some(1, "OSType", &info.os_type);
    l.some(1, "Architecture", &info.architecture);
    l.add(1, "CPUs", info.n_cpu);
    l.add(1, "Total Memory", units::binary_size(info.mem_total));
    l.some(1, "Name", &info.name);
    l.some(1, "ID", &info.id);
    l.add(1, "Docker Root Dir", &info.docker_root_dir);
    l.add(1, "Debug Mode", info.debug);
    if info.debug {
        l.add(2, "File Descriptors", info.n_fd);
        l.add(2, "Goroutines", info.n_goroutines);
        l.add(2, "System Time", &info.system_time);
        l.add(2, "EventsListeners", info.n_events_listener);
    }
    l.some(1, "HTTP Proxy", &info.http_proxy);
    l.some(1, "HTTPS Proxy", &info.https_proxy);
    l.some(1, "No Proxy", &info.no_proxy);
    l.list(1, "Labels", &info.labels);
    l.add(1, "Experimental", info.experimental_build);
    let registries = &info.registry_config;
    let insecure = registries
        .index_configs
        .values()
        .filter(|index| !index.secure)
        .map(|index| &index.name);
    let insecure: Vec<String> = insecure
        .chain(&registries.insecure_registry_cidrs)
        .cloned()
        .collect();
    l.list(1, "Insecure Registries", &insecure);
    l.list(
        1,
        "Registry Mirrors",
        registries.mirrors.as_deref().unwrap_or_default(),
    );
    l.add(1, "Live Restore Enabled", info.live_restore_enabled);
    l.some(1, "Product License", &info.product_license);
    if !info.default_address_pools.is_empty() {
        l.title(1, "Default Address Pools");
        for pool in &info.default_address_pools {
            _ = writeln!(l.0, "   Base: {}, Size: {}", pool.base, pool.size);
        }
    }
}

struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, key: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        _ = writeln!(self.0, "{:indent$}{key}: {value}", "");
    }

    fn some(&mut self, indent: usize, key: &str, value: &str) {
        if !value.is_empty() {
            self.add(indent, key, value);
        }
    }

    fn title(&mut self, indent: usize, key: &str) {
        _ = writeln!(self.0, "{:indent$}{key}:", "");
    }

    fn list(&mut self, indent: usize, key: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.title(indent, key);
        for value in values {
            _ = writeln!(self.0, "{:indent$} {value}", "");
        }
    }
}
