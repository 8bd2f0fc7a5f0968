//! What of a request is refused because no container could have it: text no system call takes, values out of range, and what is
//! not done here. The texts are Docker's.

use lighter_engine_api::{ContainerConfig, ExecCreateRequest, HealthConfig, HostConfig};

use super::Index;
use crate::spec::user::{self, Rootfs};
use crate::{Error, Result};

/// Nanoseconds below which a health check's times make no sense.
const LEAST_DURATION: i64 = 1_000_000;

/// Bounds of `cpu.shares`. Source: the kernel's `scale_load_down(MIN_SHARES)`, as runc tells them.
const SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;

/// Checks what a container is to be. `unified` is whether the host has cgroup v2 only.
pub(super) fn container(config: &ContainerConfig, host: &HostConfig, unified: bool) -> Result<()> {
    environment(config.env.as_deref().unwrap_or_default())?;
    words(config, host)?;
    health(config.healthcheck.as_ref())?;
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    // The runtime scales any number to v2's weights; v1 would silently take another.
    if !unified && host.cpu_shares > 0 && !SHARES.contains(&host.cpu_shares) {
        let (which, bound) = match host.cpu_shares < *SHARES.start() {
            true => ("minimum", SHARES.start()),
            false => ("maximum", SHARES.end()),
        };
        return Err(Error::invalid(format!(
            "the {which} allowed cpu-shares is {bound}"
        )));
    }
    undone(host)
}

/// What Docker's engine can do and this one cannot, or not here: said, not silently left out.
fn undone(host: &HostConfig) -> Result<()> {
    if let Some(request) = host.device_requests.iter().flatten().next() {
        let sets: Vec<String> = request
            .capabilities
            .iter()
            .flatten()
            .map(|set| format!("[{}]", set.join(" ")))
            .collect();
        return Err(Error::invalid(format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver,
            sets.join(" ")
        )));
    }
    if host
        .storage_opt
        .as_ref()
        .is_some_and(|options| !options.is_empty())
    {
        return Err(Error::invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ));
    }
    if host.init == Some(true) {
        return Err(Error::not_implemented(
            "--init is not supported yet: there is no lighter-init to be the container's first process",
        ));
    }
    Ok(())
}

/// Links name containers that are there; and are not made yet.
pub(super) fn links(host: &HostConfig, containers: &Index) -> Result<()> {
    let Some(link) = host.links.iter().flatten().next() else {
        return Ok(());
    };
    let name = link.split(':').next().unwrap_or_default();
    // Not "not found": a client would take that for the image and pull it.
    containers
        .find(name)
        .map_err(|error| Error::invalid(format!("could not get container for {name}: {}", error.message)))?;
    Err(Error::not_implemented(
        "--link is not supported yet: put both containers on one network and use their names",
    ))
}

/// Whether any port is to be reached from outside.
pub(super) fn publishes(host: &HostConfig) -> bool {
    host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty())
}

/// Checks a further process.
pub(super) fn exec(request: &ExecCreateRequest) -> Result<()> {
    environment(request.env.as_deref().unwrap_or_default())?;
    none_in("Cmd", request.cmd.iter().flatten())?;
    none_in("WorkingDir", [&request.working_dir])?;
    none_in("User", [&request.user])
}

/// A working directory that is a file in the container's layers.
pub(super) fn working_dir(config: &ContainerConfig, rootfs: &Rootfs<'_>) -> Result<()> {
    let dir = &config.working_dir;
    match !dir.is_empty() && user::is_file(rootfs, dir.trim_matches('/')) {
        true => Err(Error::invalid(format!("Cannot mkdir: {dir} is not a directory"))),
        false => Ok(()),
    }
}

fn environment(variables: &[String]) -> Result<()> {
    for variable in variables {
        let name = variable.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(Error::invalid(format!(
                "invalid environment variable: {variable}"
            )));
        }
        if variable.contains('\0') {
            let name = name.replace('\0', "\\x00");
            return Err(Error::invalid(format!(
                "invalid environment variable: {name:?} contains nul byte (\\x00)"
            )));
        }
    }
    Ok(())
}

/// All that reaches a system call as a string. A NUL would end it early, and another thing be done than was asked.
fn words(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    none_in("Cmd", config.cmd.iter().flatten())?;
    none_in("Entrypoint", config.entrypoint.iter().flatten())?;
    none_in("WorkingDir", [&config.working_dir])?;
    none_in("User", [&config.user])?;
    none_in("Hostname", [&config.hostname, &config.domainname])?;
    none_in("Binds", host.binds.iter().flatten())?;
    let mounts = host.mounts.iter().flatten();
    none_in("Mounts", mounts.flat_map(|mount| [&mount.source, &mount.target]))?;
    let pairs = [("Tmpfs", &host.tmpfs), ("Sysctls", &host.sysctls)];
    for (what, map) in pairs {
        none_in(what, map.iter().flatten().flat_map(|(key, value)| [key, value]))?;
    }
    let devices = host.devices.iter().flatten();
    none_in(
        "Devices",
        devices.flat_map(|device| [&device.path_on_host, &device.path_in_container]),
    )?;
    none_in("CgroupParent", [&host.cgroup_parent])?;
    none_in("MaskedPaths", host.masked_paths.iter().flatten())?;
    none_in("ReadonlyPaths", host.readonly_paths.iter().flatten())?;
    none_in("ExtraHosts", host.extra_hosts.iter().flatten())?;
    none_in(
        "Dns",
        host.dns
            .iter()
            .chain(&host.dns_search)
            .chain(&host.dns_options)
            .flatten(),
    )
}

fn none_in<'a>(what: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<()> {
    match texts.into_iter().any(|text| text.contains('\0')) {
        true => Err(Error::invalid(format!(
            "invalid argument: {what} contains nul byte (\\x00)"
        ))),
        false => Ok(()),
    }
}

fn health(check: Option<&HealthConfig>) -> Result<()> {
    let Some(check) = check else { return Ok(()) };
    let short = |value: i64| value != 0 && value < LEAST_DURATION;
    for (what, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if short(value) {
            return Err(Error::invalid(format!(
                "{what} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lighter_engine_api::DeviceRequest;

    fn config(change: impl FnOnce(&mut ContainerConfig)) -> String {
        let mut config = ContainerConfig::default();
        change(&mut config);
        container(&config, &HostConfig::default(), false)
            .unwrap_err()
            .message
    }

    fn host(change: impl FnOnce(&mut HostConfig)) -> String {
        let mut host = HostConfig::default();
        change(&mut host);
        container(&ContainerConfig::default(), &host, false)
            .unwrap_err()
            .message
    }

    #[test]
    fn no_text_is_cut_at_a_nul() {
        let list = |text: &str| Some(vec![text.to_owned()]);
        assert_eq!(
            config(|config| config.env = list("A=a\0b")),
            "invalid environment variable: \"A\" contains nul byte (\\x00)"
        );
        let said = |what: &str| format!("invalid argument: {what} contains nul byte (\\x00)");
        assert_eq!(config(|config| config.cmd = list("a\0b")), said("Cmd"));
        assert_eq!(
            config(|config| config.working_dir = "/a\0".into()),
            said("WorkingDir")
        );
        assert_eq!(host(|host| host.binds = list("/a\0:/b")), said("Binds"));
        let request = ExecCreateRequest {
            cmd: list("a\0b"),
            ..ExecCreateRequest::default()
        };
        assert_eq!(exec(&request).unwrap_err().message, said("Cmd"));
    }

    #[test]
    fn values_out_of_range_are_refused_in_dockers_words() {
        assert_eq!(
            config(|config| config.env = Some(vec!["=x".into()])),
            "invalid environment variable: =x"
        );
        let check = HealthConfig {
            interval: 1,
            ..HealthConfig::default()
        };
        assert_eq!(
            config(|config| config.healthcheck = Some(check)),
            "Interval in Healthcheck cannot be less than 1ms"
        );
        assert_eq!(
            host(|host| host.oom_score_adj = 5000),
            "Invalid value 5000, range for oom score adj is [-1000, 1000]"
        );
        assert_eq!(
            host(|host| host.cpu_shares = 1),
            "the minimum allowed cpu-shares is 2"
        );
        let shares = HostConfig {
            cpu_shares: 1,
            ..HostConfig::default()
        };
        container(&ContainerConfig::default(), &shares, true).unwrap();
    }

    #[test]
    fn nothing_that_was_asked_for_is_left_out_silently() {
        let request = DeviceRequest {
            count: -1,
            capabilities: Some(vec![vec!["gpu".into()]]),
            ..DeviceRequest::default()
        };
        assert_eq!(
            host(|host| host.device_requests = Some(vec![request])),
            "could not select device driver \"\" with capabilities: [[gpu]]"
        );
        assert!(host(|host| host.init = Some(true)).contains("--init"));
        let links_to = HostConfig {
            links: Some(vec!["nosuch:a".into()]),
            ..HostConfig::default()
        };
        assert_eq!(
            links(&links_to, &Index::default()).unwrap_err().message,
            "could not get container for nosuch: No such container: nosuch"
        );
    }
}
