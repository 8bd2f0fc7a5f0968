//! What is kept of a container.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lighter_engine_api::{ContainerConfig, EndpointSettings, HostConfig, MountPoint};
use serde::{Deserialize, Serialize};

/// The durable part: what was asked for, and what was made of it at create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// 64 hex digits.
    pub(crate) id: String,
    /// Without the slash.
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) config: ContainerConfig,
    pub(crate) host_config: HostConfig,
    /// The networks asked for, by name.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// `sha256:…` of the configuration object.
    pub(crate) image_id: String,
    /// `sha256:…` of the manifest.
    pub(crate) manifest: String,
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) mounts: Vec<MountPoint>,
    /// Set before the first step of a removal: what has it is removed, whatever happens in between.
    #[serde(default)]
    pub(crate) removing: bool,
    /// A user stopped it: `unless-stopped` leaves it so.
    #[serde(default)]
    pub(crate) stopped_by_user: bool,
}

impl Record {
    /// What events say of it: its labels, its image and its name.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        let labels = self.config.labels.iter().flatten();
        let own = [("image", &self.config.image), ("name", &self.name)];
        labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .chain(own.map(|(key, value)| (key.to_owned(), value.clone())))
            .collect()
    }

    /// Whether the json-file log is written.
    pub(crate) fn logs_to_file(&self) -> bool {
        self.host_config.log_config.kind == "json-file"
    }
}

/// The kill-safe part: what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// The process on the host, while it runs.
    pub(crate) pid: u32,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) exit_code: i64,
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    /// Restarts by policy since the last start by a user.
    pub(crate) restarts: i64,
    /// How often it has ended, ever: a reader tells one end from the next by it.
    pub(crate) exits: u64,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Never started.
    #[default]
    Created,
    Running,
    Paused,
    /// Ended, and waits to be started again by its policy.
    Restarting,
    Exited,
    /// A removal has begun.
    Removing,
    /// A removal failed half-way.
    Dead,
}

impl Phase {
    /// The API's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    /// Whether it has a process.
    pub(crate) fn alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A container that asks for nothing.
    pub(crate) fn record() -> Record {
        Record {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            created: Timestamp::UNIX_EPOCH,
            config: ContainerConfig {
                hostname: "box".into(),
                ..ContainerConfig::default()
            },
            host_config: HostConfig {
                shm_size: 64 << 20,
                ..HostConfig::default()
            },
            networks: BTreeMap::new(),
            image_id: String::new(),
            manifest: String::new(),
            path: "sh".into(),
            args: vec!["-c".into(), "true".into()],
            mounts: Vec::new(),
            removing: false,
            stopped_by_user: false,
        }
    }
}
