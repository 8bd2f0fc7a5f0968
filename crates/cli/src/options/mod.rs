//! From the flags of `run` and `create` to what the engine is asked for.

pub(crate) mod devices;
mod files;
pub(crate) mod flags;
mod mounts;
mod networks;
mod ports;

pub(crate) use mounts::mount;
pub(crate) use networks::network;

use std::collections::BTreeMap;

use lighter_engine_api::{
    ContainerConfig, ContainerCreateRequest, DeviceMapping, DeviceRequest, Empty, HealthConfig, HostConfig,
    LogConfig, NetworkingConfig, RestartPolicy,
};

use crate::args::Parsed;
use crate::context::Environment;
use crate::value;
use mounts::Volume;

/// Reads all flags. The complaint is Docker's.
pub(crate) fn request(environment: &Environment, parsed: &Parsed) -> Result<ContainerCreateRequest, String> {
    let mut config = config(environment, parsed)?;
    let mut host = host(parsed)?;
    let (mut bindings, mut exposed) = (BTreeMap::new(), BTreeMap::new());
    for spec in parsed.list("publish") {
        ports::publish(&spec, &mut bindings, &mut exposed)?;
    }
    for spec in parsed.list("expose") {
        ports::expose(&spec, &mut exposed)?;
    }
    host.port_bindings = Some(bindings);
    config.exposed_ports = Some(exposed);
    storage(environment, parsed, &mut config, &mut host)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let endpoints = networks::endpoints(parsed, &mut host)?;
    Ok(ContainerCreateRequest {
        config,
        host_config: host,
        networking_config: NetworkingConfig {
            endpoints_config: Some(endpoints),
        },
    })
}

fn config(environment: &Environment, parsed: &Parsed) -> Result<ContainerConfig, String> {
    let interactive = parsed.is("interactive");
    let attach: Vec<String> = parsed
        .list("attach")
        .iter()
        .map(|stream| stream.to_ascii_lowercase())
        .collect();
    let attached = |stream: &str| attach.iter().any(|name| name == stream);
    let mut config = ContainerConfig {
        hostname: parsed.text("hostname").to_owned(),
        domainname: parsed.text("domainname").to_owned(),
        user: parsed.text("user").to_owned(),
        attach_stdin: attached("stdin") || attach.is_empty() && interactive,
        attach_stdout: attached("stdout") || attach.is_empty(),
        attach_stderr: attached("stderr") || attach.is_empty(),
        tty: parsed.is("tty"),
        open_stdin: interactive,
        image: parsed.args.first().cloned().unwrap_or_default(),
        cmd: some(parsed.args.iter().skip(1).cloned().collect()),
        working_dir: parsed.text("workdir").to_owned(),
        entrypoint: parsed
            .some("entrypoint")
            .map(|entrypoint| vec![entrypoint.to_owned()]),
        stop_signal: parsed.text("stop-signal").to_owned(),
        stop_timeout: parsed.has("stop-timeout").then(|| parsed.int("stop-timeout")),
        healthcheck: health(parsed)?,
        ..ContainerConfig::default()
    };
    if parsed.is("detach") {
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
    }
    config.stdin_once = config.open_stdin && config.attach_stdin;
    config.env = some(self::environment(parsed, &environment.variables)?);
    let mut labels = Vec::new();
    for path in parsed.list("label-file") {
        labels.extend(files::lines(&path, &BTreeMap::new())?);
    }
    labels.extend(parsed.list("label"));
    config.labels = Some(pairs(labels));
    Ok(config)
}

/// The variables of `--env-file` and `--env`. One without a value has this process's.
pub(crate) fn environment(parsed: &Parsed, own: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut variables = Vec::new();
    for path in parsed.list("env-file") {
        variables.extend(files::lines(&path, own)?);
    }
    let mut given: Vec<String> = Vec::new();
    for text in parsed.list("env") {
        let variable = match own.get(&text) {
            Some(value) if !text.contains('=') => format!("{text}={value}"),
            _ => text,
        };
        let name = |text: &str| text.split('=').next().map(str::to_owned);
        // The last of a name counts.
        match given.iter_mut().find(|other| name(other) == name(&variable)) {
            Some(other) => *other = variable,
            None => given.push(variable),
        }
    }
    variables.extend(given);
    Ok(variables)
}

fn health(parsed: &Parsed) -> Result<Option<HealthConfig>, String> {
    let given = [
        "health-interval",
        "health-timeout",
        "health-start-period",
        "health-start-interval",
        "health-retries",
    ];
    let any = parsed.has("health-cmd") || given.iter().any(|key| parsed.has(key));
    if parsed.is("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..HealthConfig::default()
        }));
    }
    if !any {
        return Ok(None);
    }
    for key in given {
        if key != "health-retries" && parsed.duration(key) < 0 {
            return Err(format!("--{key} cannot be negative"));
        }
    }
    if parsed.int("health-retries") < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    let command = parsed.some("health-cmd").filter(|command| !command.is_empty());
    Ok(Some(HealthConfig {
        test: command.map(|command| vec!["CMD-SHELL".into(), command.to_owned()]),
        interval: parsed.duration("health-interval"),
        timeout: parsed.duration("health-timeout"),
        start_period: parsed.duration("health-start-period"),
        start_interval: parsed.duration("health-start-interval"),
        retries: parsed.int("health-retries"),
    }))
}

fn host(parsed: &Parsed) -> Result<HostConfig, String> {
    let text = |key: &str| parsed.text(key).to_owned();
    let list = |key: &str| some(parsed.list(key));
    let mut host = HostConfig {
        container_id_file: text("cidfile"),
        log_config: log(parsed)?,
        restart_policy: restart(parsed.text("restart"))?,
        auto_remove: parsed.is("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: list("volumes-from"),
        annotations: some_map(parsed.list("annotation")),
        cap_add: capabilities(parsed, "cap-add"),
        cap_drop: capabilities(parsed, "cap-drop"),
        cgroupns_mode: one_of(parsed, "cgroupns", "CGROUP", &["private", "host"])?,
        dns: Some(parsed.list("dns")),
        dns_options: Some(parsed.list("dns-option")),
        dns_search: Some(parsed.list("dns-search")),
        extra_hosts: some(
            parsed
                .list("add-host")
                .iter()
                .map(|line| extra_host(line))
                .collect(),
        ),
        group_add: list("group-add"),
        ipc_mode: text("ipc"),
        links: if parsed.has("network") { None } else { list("link") },
        oom_score_adj: parsed.int("oom-score-adj"),
        pid_mode: pid_mode(parsed.text("pid"))?,
        privileged: parsed.is("privileged"),
        publish_all_ports: parsed.is("publish-all"),
        readonly_rootfs: parsed.is("read-only"),
        storage_opt: some_map(parsed.list("storage-opt")),
        uts_mode: one_of(parsed, "uts", "UTS", &["host"])?,
        userns_mode: one_of(parsed, "userns", "USER", &["host"])?,
        shm_size: parsed.bytes("shm-size"),
        sysctls: some_map(parsed.list("sysctl")),
        runtime: text("runtime"),
        isolation: text("isolation"),
        init: parsed.has("init").then(|| parsed.is("init")),
        ..HostConfig::default()
    };
    if parsed
        .list("storage-opt")
        .iter()
        .any(|option| !option.contains('='))
    {
        return Err("invalid storage option".into());
    }
    resources(parsed, &mut host)?;
    security(parsed, &mut host)?;
    Ok(host)
}

fn resources(parsed: &Parsed, host: &mut HostConfig) -> Result<(), String> {
    host.cpu_shares = parsed.int("cpu-shares");
    host.memory = parsed.bytes("memory");
    host.memory_reservation = parsed.bytes("memory-reservation");
    host.memory_swap = parsed.bytes("memory-swap");
    host.kernel_memory = parsed.bytes("kernel-memory");
    host.nano_cpus = value::nano_cpus(parsed.text("cpus")).unwrap_or(0);
    host.cgroup_parent = parsed.text("cgroup-parent").to_owned();
    host.blkio_weight = u16::try_from(parsed.int("blkio-weight")).unwrap_or(0);
    host.blkio_weight_device = Some(devices(parsed, "blkio-weight-device", devices::weight)?);
    host.blkio_device_read_bps = Some(devices(parsed, "device-read-bps", devices::rate)?);
    host.blkio_device_write_bps = Some(devices(parsed, "device-write-bps", devices::rate)?);
    host.blkio_device_read_iops = Some(devices(parsed, "device-read-iops", devices::count)?);
    host.blkio_device_write_iops = Some(devices(parsed, "device-write-iops", devices::count)?);
    host.cpu_period = parsed.int("cpu-period");
    host.cpu_quota = parsed.int("cpu-quota");
    host.cpu_realtime_period = parsed.int("cpu-rt-period");
    host.cpu_realtime_runtime = parsed.int("cpu-rt-runtime");
    host.cpuset_cpus = parsed.text("cpuset-cpus").to_owned();
    host.cpuset_mems = parsed.text("cpuset-mems").to_owned();
    let swappiness = parsed
        .some("memory-swappiness")
        .map_or(-1, |_| parsed.int("memory-swappiness"));
    if !(-1..=100).contains(&swappiness) {
        return Err(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        ));
    }
    host.memory_swappiness = Some(swappiness);
    host.oom_kill_disable = Some(parsed.is("oom-kill-disable"));
    host.pids_limit = Some(parsed.int("pids-limit"));
    host.devices = Some(
        parsed
            .list("device")
            .iter()
            .map(|text| device(text))
            .collect::<Result<_, _>>()?,
    );
    host.device_cgroup_rules = some(parsed.list("device-cgroup-rule"));
    let ulimits: Result<Vec<_>, String> = parsed
        .list("ulimit")
        .iter()
        .map(|text| value::ulimit(text))
        .collect();
    // The last of a name counts.
    let ulimits: BTreeMap<_, _> = ulimits?
        .into_iter()
        .map(|limit| (limit.name.clone(), limit))
        .collect();
    host.ulimits = Some(ulimits.into_values().collect());
    host.device_requests = some(
        parsed
            .list("gpus")
            .iter()
            .map(|text| gpus(text))
            .collect::<Result<_, _>>()?,
    );
    Ok(())
}

pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let count = match text.strip_prefix("count=").unwrap_or(text) {
        "all" => -1,
        number => number.parse().map_err(|_| {
            format!("invalid count ({number}): value must be either \"all\" or an integer: invalid syntax")
        })?,
    };
    Ok(DeviceRequest {
        count,
        capabilities: Some(vec![vec!["gpu".into()]]),
        options: Some(BTreeMap::new()),
        ..DeviceRequest::default()
    })
}

/// Every value of the flag `key`, read by `read`.
fn devices<T>(parsed: &Parsed, key: &str, read: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    parsed.list(key).iter().map(|text| read(text)).collect()
}

/// `/dev/a[:/dev/b][:rwm]`.
fn device(text: &str) -> Result<DeviceMapping, String> {
    let wrong = || format!("invalid device specification: {text}");
    if text.is_empty() || text.starts_with(':') || text.matches(':').count() > 2 {
        return Err(format!("bad format for path: {text}"));
    }
    let is_mode = |mode: &str| !mode.is_empty() && mode.chars().all(|letter| "rwm".contains(letter));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, mode] if is_mode(mode) => (host, inside, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(wrong()),
    };
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

fn security(parsed: &Parsed, host: &mut HostConfig) -> Result<(), String> {
    let mut options = Vec::new();
    for option in parsed.list("security-opt") {
        let (key, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
            Some(parts) => parts,
            None if option == "no-new-privileges" => {
                options.push(option);
                continue;
            }
            None => return Err(format!("Invalid --security-opt: \"{option}\"")),
        };
        match (key, value) {
            ("systempaths", "unconfined") => {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            }
            ("seccomp", path) if !matches!(path, "unconfined" | "builtin") => {
                options.push(format!("seccomp={}", files::profile(path)?));
            }
            _ => options.push(option),
        }
    }
    host.security_opt = parsed.has("security-opt").then_some(options);
    Ok(())
}

fn storage(
    environment: &Environment,
    parsed: &Parsed,
    config: &mut ContainerConfig,
    host: &mut HostConfig,
) -> Result<(), String> {
    let mut anonymous = BTreeMap::new();
    let mut binds = Vec::new();
    for text in parsed.list("volume") {
        match mounts::volume_flag(&text, &environment.directory)? {
            Volume::Anonymous(path) => drop(anonymous.insert(path, Empty {})),
            Volume::Bind(bind) if binds.contains(&bind) => {}
            Volume::Bind(bind) => binds.push(bind),
        }
    }
    config.volumes = Some(anonymous);
    host.binds = some(binds);
    let tmpfs = parsed
        .list("tmpfs")
        .into_iter()
        .map(|text| match text.split_once(':') {
            Some((path, options)) => (path.to_owned(), options.to_owned()),
            None => (text, String::new()),
        });
    host.tmpfs = Some(tmpfs.collect());
    let mounts: Result<Vec<_>, String> = parsed.list("mount").iter().map(|text| mount(text)).collect();
    host.mounts = some(mounts?);
    Ok(())
}

fn log(parsed: &Parsed) -> Result<LogConfig, String> {
    let kind = parsed.text("log-driver");
    let options = parsed.list("log-opt");
    if kind == "none" && !options.is_empty() {
        return Err(format!("invalid logging opts for driver {kind}"));
    }
    Ok(LogConfig {
        kind: kind.to_owned(),
        config: Some(pairs(options)),
    })
}

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`. The engine knows which there are.
fn restart(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() && !count.is_empty() {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let maximum_retry_count = match count {
        "" => 0,
        count => count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok(RestartPolicy {
        name: if name.is_empty() {
            "no".to_owned()
        } else {
            name.to_owned()
        },
        maximum_retry_count,
    })
}

fn pid_mode(text: &str) -> Result<String, String> {
    match text {
        "" | "host" | "private" => Ok(text.to_owned()),
        text if text
            .strip_prefix("container:")
            .is_some_and(|name| !name.is_empty()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("--pid: invalid PID mode".into()),
    }
}

fn one_of(parsed: &Parsed, key: &str, what: &str, modes: &[&str]) -> Result<String, String> {
    match parsed.text(key) {
        "" => Ok(String::new()),
        mode if modes.contains(&mode) => Ok(mode.to_owned()),
        _ => Err(format!("--{key}: invalid {what} mode")),
    }
}

/// Sorted, in capitals, with `CAP_` before each; `ALL` swallows the rest.
fn capabilities(parsed: &Parsed, key: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = parsed
        .list(key)
        .iter()
        .map(|name| name.trim().to_ascii_uppercase())
        .collect();
    if names
        .iter()
        .any(|name| matches!(name.as_str(), "ALL" | "CAP_ALL"))
    {
        return Some(vec!["ALL".into()]);
    }
    for name in &mut names {
        if !name.starts_with("CAP_") {
            name.insert_str(0, "CAP_");
        }
    }
    names.sort();
    names.dedup();
    some(names)
}

/// `name=address` as `name:address`, brackets of an IPv6 address left out.
fn extra_host(line: &str) -> String {
    let (name, address) = line.split_once(['=', ':']).unwrap_or((line, ""));
    format!("{name}:{}", address.trim_start_matches('[').trim_end_matches(']'))
}

fn pairs(list: Vec<String>) -> BTreeMap<String, String> {
    let pair = |text: String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text, String::new()),
    };
    list.into_iter().map(pair).collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

fn some_map(list: Vec<String>) -> Option<BTreeMap<String, String>> {
    if list.is_empty() { None } else { Some(pairs(list)) }
}

#[cfg(test)]
mod tests;
