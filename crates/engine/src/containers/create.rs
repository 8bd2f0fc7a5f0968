//! From a request to a record.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use lighter_containerd_api::snapshots::PrepareSnapshotRequest;
use lighter_engine_api::{
    ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, HostConfig, ImageConfig, StringMap,
    Strings,
};
use lighter_oci::Platform;
use lighter_stdx::failpoint;

use super::actor::Actor;
use super::start::Limits;
use super::{Record, State, check, mounts, network, remove, stop};
use crate::images::{Image, SNAPSHOTTER};
use crate::spec::user::Rootfs;
use crate::spec::{MASKED, READONLY};
use crate::{Engine, Error, Inner, Kind, Result, names, spec};

/// Bytes of `/dev/shm` unless asked otherwise.
const SHM_SIZE: i64 = 64 << 20;

/// Bytes below which a process could not even start.
const LEAST_MEMORY: i64 = 6 << 20;

/// How many random names are tried.
const ATTEMPTS: usize = 12;

impl Engine {
    /// Makes a container. When this returns it survives the death of the machine; until then nothing of it stays after a failure.
    pub async fn create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse> {
        let name = name
            .filter(|name| !name.is_empty())
            .map(names::check)
            .transpose()?
            .map(str::to_owned);
        // Operating system, architecture, variant.
        if let Some(asked) = platform.filter(|asked| asked.split('/').count() > 3) {
            return Err(Error::invalid(format!(
                "{asked:?}: cannot parse platform specifier: invalid argument"
            )));
        }
        if request.config.image.is_empty() {
            return Err(Error::invalid("no image specified"));
        }
        let image = self.image(&request.config.image).await?;
        let mut warnings = check_platform(&image, platform)?;
        let record = record(&self.inner, &image, request)?;
        if record.host_config.network_mode == "host" && check::publishes(&record.host_config) {
            warnings.push("Published ports are discarded when using host network mode".to_owned());
        }
        let inner = self.inner.clone();
        // Goes to its end when the client is gone.
        let made = tokio::spawn(async move { make(&inner, name, record, &image).await });
        let id = made
            .await
            .map_err(|error| Error::system("create").with_source(error))??;
        Ok(ContainerCreateResponse { id, warnings })
    }
}

/// Refuses an image of another platform than the one asked for; warns of one that this machine may not run.
fn check_platform(image: &Image, asked: Option<&str>) -> Result<Vec<String>> {
    let (os, architecture) = (&image.config.os, &image.config.architecture);
    let host = Platform::host();
    match asked.filter(|asked| !asked.is_empty()) {
        Some(asked) => {
            let mut parts = asked.split('/');
            let (first, second) = (parts.next().unwrap_or_default(), parts.next());
            let fits = match second {
                Some(second) => *os == *first && *architecture == *second,
                None => *os == *first || *architecture == *first,
            };
            if fits {
                return Ok(Vec::new());
            }
            Err(Error::not_found(format!(
                "image with reference {} was found but its platform ({os}/{architecture}) does not match the specified platform ({asked})",
                image.id
            )))
        }
        None if *architecture != *host.architecture => Ok(vec![format!(
            "The requested image's platform ({os}/{architecture}) does not match the detected host platform ({}/{}) and no specific platform was requested",
            host.os, host.architecture
        )]),
        None => Ok(Vec::new()),
    }
}

/// What is kept of a request: joined with the image's configuration, defaults filled in, checked. Name and nothing else is
/// still open.
fn record(inner: &Inner, image: &Image, request: ContainerCreateRequest) -> Result<Record> {
    let ContainerCreateRequest {
        mut config,
        mut host_config,
        networking_config,
    } = request;
    let id = names::id();
    inherit(&mut config, &image.inherited);
    let mut command = config
        .entrypoint
        .iter()
        .flatten()
        .chain(config.cmd.iter().flatten())
        .cloned();
    let Some(path) = command.next() else {
        return Err(Error::invalid("no command specified"));
    };
    let args = command.collect();
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    check(&config, &host_config)?;
    check::container(&config, &host_config, inner.unified)?;
    check::links(&host_config, &inner.containers)?;
    fill(inner, &id, &mut config, &mut host_config);
    let mounts = mounts::resolve(&host_config)?;
    let record = Record {
        id,
        name: String::new(),
        created: inner.config.clock.now(),
        config,
        host_config,
        networks: networking_config.endpoints_config.unwrap_or_default(),
        image_id: image.id.to_string(),
        manifest: image.manifest_digest.to_string(),
        path,
        args,
        mounts,
        removing: false,
        stopped_by_user: false,
    };
    Limits::of(&record)?;
    network::ports(&record)?;
    if record.host_config.network_mode == "bridge" {
        network::address(&record)?;
    }
    spec::validate(&record, &inner.held)?;
    Ok(record)
}

/// What the image says and the user does not.
fn inherit(config: &mut ContainerConfig, image: &ImageConfig) {
    let some = |list: &Strings| list.as_ref().is_some_and(|list| !list.is_empty());
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if !some(&config.shell) {
        config.shell.clone_from(&image.shell);
    }
    if config.healthcheck.is_none() {
        config.healthcheck.clone_from(&image.healthcheck);
    }
    if !some(&config.entrypoint) {
        if !some(&config.cmd) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    // `--entrypoint ""` takes the image's away.
    if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let own: Vec<String> = config.env.iter().flatten().map(name).collect();
    let more: Vec<String> = image
        .env
        .iter()
        .flatten()
        .filter(|variable| !own.contains(&name(variable)))
        .cloned()
        .collect();
    if !more.is_empty() || config.env.is_none() {
        config.env.get_or_insert_default().extend(more);
    }
    add(&mut config.labels, &image.labels);
    for (own, more) in [
        (&mut config.exposed_ports, &image.exposed_ports),
        (&mut config.volumes, &image.volumes),
    ] {
        for (key, value) in more.iter().flatten() {
            own.get_or_insert_default().entry(key.clone()).or_insert(*value);
        }
    }
}

fn add(own: &mut StringMap, more: &StringMap) {
    for (key, value) in more.iter().flatten() {
        own.get_or_insert_default()
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
}

/// What can be seen to be wrong. The texts are Docker's.
fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" => {
            if policy.maximum_retry_count > 0 {
                return Err(Error::invalid(
                    "invalid restart policy: maximum retry count can only be used with 'on-failure'",
                ));
            }
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            return Err(Error::invalid(
                "invalid restart policy: maximum retry count cannot be negative",
            ));
        }
        "on-failure" => {}
        other => {
            return Err(Error::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    if !config.stop_signal.is_empty() {
        stop::signal(&config.stop_signal)?;
    }
    if (1..LEAST_MEMORY).contains(&host.memory) {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(Error::invalid(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return Err(Error::invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if host.nano_cpus < 0 || host.nano_cpus / 1_000_000_000 > cpus() {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {}.00, as there are only {} CPUs available",
            cpus(),
            cpus()
        )));
    }
    if host.nano_cpus > 0 && (host.cpu_period > 0 || host.cpu_quota > 0) {
        return Err(Error::invalid(
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ));
    }
    if !matches!(host.log_config.kind.as_str(), "" | "json-file" | "none") {
        return Err(Error::invalid(format!(
            "logger: no log driver named '{}' is registered",
            host.log_config.kind
        )));
    }
    if !matches!(
        host.runtime.as_str(),
        "" | "runc" | "lighter-runc" | "io.containerd.runc.v2"
    ) {
        return Err(Error::invalid(format!(
            "unknown or invalid runtime name: {}",
            host.runtime
        )));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!(
            "invalid user namespace mode: {}",
            host.userns_mode
        )));
    }
    let other = host.network_mode.starts_with("container:");
    if other || host.network_mode == "host" {
        if other && check::publishes(host) {
            return Err(Error::invalid(
                "conflicting options: port publishing and the container type network mode",
            ));
        }
        if other && !config.hostname.is_empty() {
            return Err(Error::invalid(
                "conflicting options: hostname and the network mode",
            ));
        }
    }
    Ok(())
}

fn cpus() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(i64::MAX))
}

/// Docker's defaults.
fn fill(inner: &Inner, id: &str, config: &mut ContainerConfig, host: &mut HostConfig) {
    let or = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    or(&mut host.restart_policy.name, "no");
    or(&mut host.log_config.kind, "json-file");
    host.log_config.config.get_or_insert_default();
    if matches!(host.network_mode.as_str(), "" | "default") {
        "bridge".clone_into(&mut host.network_mode);
    }
    or(&mut host.ipc_mode, "private");
    if host.ipc_mode == "shareable" {
        "private".clone_into(&mut host.ipc_mode);
    }
    let own = inner.unified && !host.privileged;
    or(&mut host.cgroupns_mode, if own { "private" } else { "host" });
    or(&mut host.runtime, "runc");
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory * 2;
    }
    if host.privileged {
        host.masked_paths = None;
        host.readonly_paths = None;
    } else {
        let list = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
        if host.masked_paths.is_none() {
            host.masked_paths = list(MASKED);
        }
        if host.readonly_paths.is_none() {
            host.readonly_paths = list(READONLY);
        }
    }
    if config.hostname.is_empty() {
        config.hostname = match host.network_mode.as_str() {
            "host" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            _ => id.get(..12).unwrap_or(id).to_owned(),
        };
    }
}

/// Makes what the record says. All or nothing.
async fn make(inner: &Arc<Inner>, name: Option<String>, mut record: Record, image: &Image) -> Result<String> {
    let id = record.id.clone();
    record.name = match name {
        Some(name) => {
            inner.containers.reserve(&name, &id)?;
            name
        }
        None => random_name(inner, &id)?,
    };
    let made = async {
        let dir = inner.config.container_dir(&id);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o710)
            .create(&dir)
            .map_err(|error| Error::system(format!("create {}", dir.display())).with_source(error))?;
        mounts::make_sources(&record.host_config, &record.mounts)?;
        prepare(inner, &record, image).await?;
        failpoint::hit("engine.create.prepared");
        match record.host_config.auto_remove {
            // A power cut would remove it anyway.
            true => inner.store.put_soon(&record).await,
            false => inner.store.put(&record).await,
        }
    };
    if let Err(error) = made.await {
        if let Err(left) = remove::wipe(inner, &id).await {
            tracing::warn!(error = left.text(), id, "after a failed create");
        }
        inner.containers.release(&record.name, &id);
        return Err(error);
    }
    failpoint::hit("engine.create.recorded");
    let attributes = record.attributes();
    Actor::spawn(inner, record, State::default());
    inner
        .events
        .publish("container", "create", id.clone(), attributes);
    Ok(id)
}

fn random_name(inner: &Inner, id: &str) -> Result<String> {
    let mut attempt = 0;
    loop {
        let name = names::random(attempt);
        match inner.containers.reserve(&name, id) {
            Ok(()) => return Ok(name),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// Gives the container a layer of its own over the image's.
async fn prepare(inner: &Inner, record: &Record, image: &Image) -> Result<()> {
    let asked = PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.into(),
        key: record.id.clone(),
        parent: image
            .chain_id()
            .map(|chain| chain.to_string())
            .unwrap_or_default(),
        // A stopped container has no record in the layer that would keep it.
        labels: HashMap::from([("containerd.io/gc.root".to_owned(), record.created.to_string())]),
    };
    let prepared = inner.layer.snapshots().prepare(asked).await.map_err(|status| {
        let error = Error::from_layer(&status);
        match error.kind {
            Kind::Unavailable => error,
            _ => Error::system("failed to make the container's layer").with_source(error),
        }
    })?;
    check::working_dir(&record.config, &Rootfs::Mounts(&prepared.into_inner().mounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_words_come_before_the_images() {
        let image = ImageConfig {
            cmd: Some(vec!["image".into()]),
            entrypoint: Some(vec!["/entry".into()]),
            env: Some(vec!["A=1".into(), "B=2".into()]),
            working_dir: "/w".into(),
            ..ImageConfig::default()
        };
        let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let joined = |cmd: Strings, entrypoint: Strings| {
            let mut config = ContainerConfig {
                cmd,
                entrypoint,
                env: list(&["B=3"]),
                ..ContainerConfig::default()
            };
            inherit(&mut config, &image);
            assert_eq!(config.env, list(&["B=3", "A=1"]));
            (config.entrypoint, config.cmd)
        };
        assert_eq!(joined(None, None), (list(&["/entry"]), list(&["image"])));
        assert_eq!(joined(list(&["x"]), None), (list(&["/entry"]), list(&["x"])));
        assert_eq!(joined(None, list(&["/own"])), (list(&["/own"]), None));
        assert_eq!(joined(list(&["x"]), list(&[""])), (None, list(&["x"])));
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |host: HostConfig| check(&ContainerConfig::default(), &host).unwrap_err().message;
        let mut host = HostConfig {
            auto_remove: true,
            ..HostConfig::default()
        };
        host.restart_policy.name = "always".into();
        assert_eq!(
            refused(host),
            "can't create 'AutoRemove' container with restart policy"
        );
        assert_eq!(
            refused(HostConfig {
                memory: 1,
                ..HostConfig::default()
            }),
            "Minimum memory limit allowed is 6MB"
        );
    }
}
