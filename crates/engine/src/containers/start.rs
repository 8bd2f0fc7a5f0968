//! From a record to a running process.

use lighter_containerd_api::containers::container::Runtime;
use lighter_containerd_api::containers::{Container as LayerContainer, CreateContainerRequest};
use lighter_containerd_api::runc::Options;
use lighter_containerd_api::snapshots::MountsRequest;
use lighter_containerd_api::tasks::{CreateTaskRequest, StartRequest};
use lighter_containerd_api::{any, types};
use lighter_shim_api::log_uri::{self, Driver, LogUri};
use lighter_stdx::failpoint;
use tonic::{Code, Status};

use super::actor::Actor;
use super::exit::{discard, discard_record};
use super::network::Place;
use super::{Phase, Record, files};
use crate::images::SNAPSHOTTER;
use crate::spec::{self, user};
use crate::{Config, Engine, Error, Kind, Result};

/// The runtime of containers, as the layer knows it.
const RUNTIME: &str = "io.containerd.lighter.v1";

/// The exit code of a container that could not be started, for no better reason.
pub(crate) const FAILED: i64 = 128;
pub(crate) const NOT_EXECUTABLE: i64 = 126;
const NOT_FOUND: i64 = 127;

impl Engine {
    /// Starts a container.
    pub async fn start_container(&self, name: &str) -> Result<()> {
        self.inner
            .containers
            .find(name)?
            .ask(super::actor::Command::Start)
            .await
    }
}

impl Actor {
    pub(super) async fn start_by_user(&mut self) -> Result<()> {
        let id = &self.record.id;
        match self.state.phase {
            Phase::Running => return Err(Error::not_modified(format!("container {id} is already running"))),
            Phase::Paused => {
                return Err(Error::conflict(
                    "cannot start a paused container, try unpause instead",
                ));
            }
            Phase::Removing | Phase::Dead => {
                return Err(Error::conflict(
                    "container is marked for removal and cannot be started",
                ));
            }
            Phase::Created | Phase::Restarting | Phase::Exited => {}
        }
        if self.record.stopped_by_user {
            self.record.stopped_by_user = false;
            self.inner.store.put_soon(&self.record).await?;
        }
        self.state.restarts = 0;
        self.pause = super::restart::FIRST_PAUSE;
        let started = self.start().await;
        if started.is_err()
            && self.record.host_config.auto_remove
            && let Err(error) = self.remove().await
        {
            tracing::warn!(
                error = error.text(),
                id = self.record.id,
                "a container that did not start was not removed"
            );
        }
        started
    }

    /// Starts the process. On failure nothing of the attempt is left but its error in the state.
    pub(super) async fn start(&mut self) -> Result<()> {
        match self.bring_up().await {
            Ok(pid) => {
                self.state.phase = Phase::Running;
                self.state.pid = pid;
                self.state.started = Some(self.inner.config.clock.now());
                self.state.exit_code = 0;
                self.state.error = String::new();
                self.state.oom_killed = false;
                // The process runs, whether or not this can be written; what is not written is found again at our next start.
                self.keep_or_warn().await;
                self.publish();
                self.event("start", &[]);
                self.watch();
                Ok(())
            }
            Err(error) => {
                if let Some(container) = self.container() {
                    container.hub.dismiss();
                }
                self.clean_up().await;
                self.state.phase = match self.state.started {
                    None => Phase::Created,
                    Some(_) => Phase::Exited,
                };
                self.state.exit_code = exit_code(&error);
                self.state.error = error.text();
                self.keep_or_warn().await;
                self.publish();
                Err(error)
            }
        }
    }

    async fn bring_up(&mut self) -> Result<u32> {
        let inner = self.inner.clone();
        let record = &self.record;
        let (id, config) = (record.id.as_str(), &inner.config);
        let dir = config.container_dir(id);
        let (place, mounts) = tokio::join!(super::network::set_up(&inner, record), mounts(&inner, id));
        let (place, mounts) = (place?, mounts?);
        failpoint::hit("engine.start.networked");
        let on_host = matches!(place, Place::Host);
        files::write(&dir, record, place.address(), on_host)
            .map_err(|error| Error::system(format!("write to {}", dir.display())).with_source(error))?;
        let groups = record.host_config.group_add.clone().unwrap_or_default();
        let user = user::resolve(&record.config.user, &groups, &user::Rootfs::Mounts(&mounts))?;
        let around = spec::Surroundings {
            dir: &dir,
            user,
            network: place.namespace(),
            pid_of: process_of(&inner, &record.host_config.pid_mode, "PID")?,
            ipc_of: process_of(&inner, &record.host_config.ipc_mode, "IPC")?,
            cgroup_parent: &config.cgroup_parent,
            held: &inner.held,
        };
        let spec = spec::container(record, &around)?;
        let spec =
            serde_json::to_vec(&spec).map_err(|error| Error::system("specification").with_source(error))?;
        self.make_record(spec).await?;
        failpoint::hit("engine.start.recorded");
        let created = self.make_task(mounts).await?;
        failpoint::hit("engine.start.created");
        if let Some(container) = self.container() {
            container.hub.open(&config.attach_socket(id)).await;
        }
        let asked = StartRequest {
            container_id: id.to_owned(),
            exec_id: String::new(),
        };
        let started = inner.layer.tasks().start(asked).await;
        let pid = started
            .map_err(|status| failed("failed to start task for container", &status))?
            .into_inner()
            .pid;
        failpoint::hit("engine.start.started");
        Ok(if pid == 0 { created } else { pid })
    }

    /// Makes the container in the layer; one left by an attempt that died is replaced.
    async fn make_record(&self, spec: Vec<u8>) -> Result<()> {
        let (id, config, layer) = (&self.record.id, &self.inner.config, &self.inner.layer);
        let container = LayerContainer {
            id: id.clone(),
            image: self.record.config.image.clone(),
            runtime: Some(Runtime {
                name: RUNTIME.to_owned(),
                options: Some(runtime_options(config)),
            }),
            spec: Some(any::json(any::SPEC, spec)),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: id.clone(),
            ..LayerContainer::default()
        };
        let create = || CreateContainerRequest {
            container: Some(container.clone()),
        };
        match layer.containers().create(create()).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                discard(layer, id).await?;
                discard_record(layer, id).await?;
                layer
                    .containers()
                    .create(create())
                    .await
                    .map(drop)
                    .map_err(|status| Error::from_layer(&status))
            }
            Err(status) => Err(Error::from_layer(&status)),
        }
    }

    async fn make_task(&self, rootfs: Vec<types::Mount>) -> Result<u32> {
        let (record, config) = (&self.record, &self.inner.config);
        let log = log(record, config)?;
        let tty = record.config.tty;
        let asked = CreateTaskRequest {
            container_id: record.id.clone(),
            rootfs,
            stdin: if record.config.open_stdin {
                log_uri::STDIN.to_owned()
            } else {
                String::new()
            },
            stderr: if tty { String::new() } else { log.clone() },
            stdout: log,
            terminal: tty,
            options: Some(runtime_options(config)),
            ..CreateTaskRequest::default()
        };
        let created = self.inner.layer.tasks().create(asked).await;
        created
            .map(|created| created.into_inner().pid)
            .map_err(|status| failed("failed to create task for container", &status))
    }
}

async fn mounts(inner: &crate::Inner, id: &str) -> Result<Vec<types::Mount>> {
    let asked = MountsRequest {
        snapshotter: SNAPSHOTTER.into(),
        key: id.to_owned(),
    };
    let found = inner.layer.snapshots().mounts(asked).await;
    found
        .map(|found| found.into_inner().mounts)
        .map_err(|status| Error::from_layer(&status))
}

fn runtime_options(config: &Config) -> prost_types::Any {
    let program = config
        .program("lighter-runc")
        .unwrap_or_else(|| "lighter-runc".into());
    any::pack(&Options {
        binary_name: program.to_string_lossy().into_owned(),
        root: config.exec_root.join("runc").to_string_lossy().into_owned(),
        ..Options::default()
    })
}

/// Where the shim writes output and serves those who attach.
fn log(record: &Record, config: &Config) -> Result<String> {
    let limits = Limits::of(record)?;
    let to_file = record.logs_to_file();
    let path = config
        .container_dir(&record.id)
        .join(format!("{}-json.log", record.id));
    let uri = LogUri {
        driver: if to_file { Driver::JsonFile } else { Driver::None },
        path: if to_file {
            path.to_string_lossy().into_owned()
        } else {
            "/".to_owned()
        },
        max_size: limits.size.filter(|_| to_file),
        max_file: limits.files,
        attach: config.attach_socket(&record.id).to_string_lossy().into_owned(),
    };
    Ok(uri.to_string())
}

/// `--log-opt` of json-file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes.
    size: Option<u64>,
    files: u32,
}

impl Limits {
    pub(super) fn of(record: &Record) -> Result<Self> {
        let mut limits = Self { size: None, files: 1 };
        if !record.logs_to_file() {
            return Ok(limits);
        }
        for (key, value) in record.host_config.log_config.config.iter().flatten() {
            match key.as_str() {
                "max-size" => {
                    limits.size = match value.as_str() {
                        "-1" | "" => None,
                        value => Some(
                            bytes(value)
                                .filter(|size| *size > 0)
                                .ok_or_else(|| Error::invalid(format!("invalid size: '{value}'")))?,
                        ),
                    };
                }
                "max-file" => {
                    limits.files = value
                        .parse::<u32>()
                        .ok()
                        .filter(|files| *files >= 1)
                        .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?;
                }
                // They shape what is shown, or say how it is kept.
                "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "compress" | "mode"
                | "max-buffer-size" => {}
                other => {
                    return Err(Error::invalid(format!(
                        "unknown log opt '{other}' for json-file log driver"
                    )));
                }
            }
        }
        if limits.files > 1 && limits.size.is_none() {
            return Err(Error::invalid("max-file cannot be set without max-size"));
        }
        Ok(limits)
    }
}

/// `10m`, `512k`, `1.5g`, `100`: with powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (number, shift) = match lower.chars().last()? {
        'k' => (&lower[..lower.len() - 1], 10),
        'm' => (&lower[..lower.len() - 1], 20),
        'g' => (&lower[..lower.len() - 1], 30),
        't' => (&lower[..lower.len() - 1], 40),
        _ => (lower, 0),
    };
    let number: f64 = number
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    Some((number * f64::from(2_u32).powi(shift)) as u64)
}

/// The process whose namespace a mode `container:NAME` means.
pub(super) fn process_of(inner: &crate::Inner, mode: &str, what: &str) -> Result<Option<u32>> {
    let Some(name) = mode.strip_prefix("container:") else {
        return Ok(None);
    };
    let view = inner.containers.find(name)?.view();
    match view.state.phase.alive() {
        true => Ok(Some(view.state.pid)),
        false => Err(Error::conflict(format!(
            "cannot join {what} namespace of a non running container: container {} is {}",
            view.record.name,
            view.state.phase.word()
        ))),
    }
}

/// What the layer said of a process that could not be run. One that cannot be run as it is written is the request's fault.
pub(crate) fn failed(what: &str, status: &Status) -> Error {
    let mut error = Error::from_layer(status);
    error.message = format!("{what}: {}", error.message);
    error.kind = match exit_code(&error) {
        FAILED if error.kind == Kind::Unavailable => Kind::Unavailable,
        FAILED => Kind::System,
        _ => Kind::InvalidParameter,
    };
    error
}

/// The code that a container or an exec gets when `error` kept it from running. Source: Docker's reference, "Exit status".
pub(crate) fn exit_code(error: &Error) -> i64 {
    let text = error.text().to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        NOT_FOUND
    } else if has(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "not a directory",
    ]) {
        NOT_EXECUTABLE
    } else {
        FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::tests::record;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("10m"), Some(10 << 20));
        assert_eq!(bytes("1.5kb"), Some(1536));
        assert_eq!(bytes("7"), Some(7));
        assert_eq!(
            (bytes(""), bytes("m"), bytes("-1"), bytes("1x")),
            (None, None, None, None)
        );
    }

    #[test]
    fn log_options_are_checked() {
        let with = |options: &[(&str, &str)]| {
            let mut record = record();
            record.host_config.log_config.kind = "json-file".into();
            let options = options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            record.host_config.log_config.config = Some(options.collect());
            Limits::of(&record)
        };
        assert_eq!(
            with(&[("max-size", "1k"), ("max-file", "3")]).unwrap(),
            Limits {
                size: Some(1024),
                files: 3
            }
        );
        assert_eq!(
            with(&[("max-file", "3")]).unwrap_err().message,
            "max-file cannot be set without max-size"
        );
        assert_eq!(
            with(&[("x", "3")]).unwrap_err().message,
            "unknown log opt 'x' for json-file log driver"
        );
    }
}
