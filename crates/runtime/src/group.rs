//! The container's cgroup, from the configuration.

use std::path::Path;

use lighter_cgroups::{Bus, DeviceRule, Group, Layout, Resources, Version};

use crate::config::{Linux, Spec};
use crate::error::{Error, Result};

/// How groups are made, and for whom.
#[derive(Debug, Clone, Default)]
pub(crate) struct Driver {
    /// By systemd (`--systemd-cgroup`), else by ourselves.
    pub(crate) systemd: bool,
    /// Whether for an ordinary user (`--rootless`); `None`: as it is.
    pub(crate) rootless: Option<bool>,
    /// The user's message bus, as his environment has it.
    pub(crate) bus: Option<String>,
}

impl Driver {
    /// Of what main passed in: `DBUS_SESSION_BUS_ADDRESS`, else the bus in `XDG_RUNTIME_DIR`.
    pub(crate) fn new(
        systemd: bool,
        rootless: Option<&str>,
        environment: &[(std::ffi::OsString, std::ffi::OsString)],
    ) -> Result<Self> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(key, _)| key == name)?;
            Some(found.1.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
        };
        let rootless = match rootless {
            None | Some("" | "auto" | "AUTO" | "Auto") => None,
            Some(other) if let Some(value) = crate::arguments::boolean(other) => Some(value),
            Some(other) => return Err(Error::Usage(format!("invalid value {other:?} for --rootless"))),
        };
        let bus = systemd.then(|| {
            variable("DBUS_SESSION_BUS_ADDRESS")
                .or_else(|| variable("XDG_RUNTIME_DIR").map(|dir| format!("unix:path={dir}/bus")))
        });
        Ok(Self {
            systemd,
            rootless,
            bus: bus.flatten(),
        })
    }

    /// Whether who asks has no power over cgroups of his own right.
    fn is_rootless(&self) -> bool {
        self.rootless
            .unwrap_or_else(|| !rustix::process::geteuid().is_root() || in_user_namespace())
    }
}

/// Whether ids are mapped otherwise than one to one, all of them.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// The interface that groups are made by.
pub(crate) fn version() -> Result<Version> {
    Ok(Version::detect().map_err(lighter_cgroups::Error::Look)?)
}

/// The group that the configuration names. Nothing is made yet.
pub(crate) fn name(version: Version, driver: &Driver, linux: &Linux, id: &str) -> Result<Group> {
    let layout = Layout::of(version).map_err(lighter_cgroups::Error::Look)?;
    if !driver.systemd {
        return Ok(Group::new(&layout, &linux.cgroups_path, id)?);
    }
    let bus = if driver.is_rootless() {
        let address = driver.bus.clone().ok_or_else(|| {
            Error::Usage(
                "could not detect DBUS_SESSION_BUS_ADDRESS from the environment; make sure a user session with \
                 a message bus is running"
                    .into(),
            )
        })?;
        Bus::User(address)
    } else {
        Bus::System
    };
    Ok(Group::of_unit(&layout, &linux.cgroups_path, id, bus)?)
}

/// Makes the group and puts the limits in force. `pid`: who is to be in the unit, with systemd. Answers the group that
/// there is then: none for an ordinary user who may not have one and did not ask for one.
pub(crate) fn make(driver: &Driver, group: &Group, spec: &Spec, linux: &Linux, pid: i32) -> Result<Group> {
    let mut resources = linux.resources.clone().unwrap_or_default();
    // Who gives no rules gets no devices but the default ones, and rules begin from nothing: a group of v1 would have its
    // parent's.
    resources.devices.insert(0, DeviceRule::default());
    resources.devices.extend(crate::devices::default_rules());
    group.start(pid, &resources, &spec.annotations)?;
    match group.create() {
        Err(error) if error.is_permission() && linux.cgroups_path.is_empty() && driver.is_rootless() => {
            if asks_for_limits(&resources) {
                let text = lighter_stdx::error::chain(&error);
                return Err(Error::Config(format!(
                    "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {text}"
                )));
            }
            return Ok(group.without_directories());
        }
        result => result?,
    }
    if let Some(uid) = owner(spec, linux) {
        group.give_to(uid)?;
    }
    match group.apply(&resources) {
        Err(error) if error.is_permission() && driver.is_rootless() => {
            group.clone().rootless(true).apply(&resources)?;
        }
        result => result?,
    }
    Ok(group.clone())
}

/// Whether something is limited, device rules apart.
fn asks_for_limits(resources: &Resources) -> bool {
    let rest = Resources {
        devices: Vec::new(),
        memory: resources
            .memory
            .clone()
            .filter(|memory| *memory != Default::default()),
        cpu: resources.cpu.clone().filter(|cpu| *cpu != Default::default()),
        pids: resources.pids.clone().filter(|pids| pids.limit.unwrap_or(0) != 0),
        block_io: resources.block_io.clone().filter(|io| *io != Default::default()),
        ..resources.clone()
    };
    rest != Resources::default()
}

/// The host's id of the container's user, when he sees only his own group and may write there.
fn owner(spec: &Spec, linux: &Linux) -> Option<u32> {
    let own_view = |one: &crate::config::Namespace| one.kind == "cgroup" && one.path.as_os_str().is_empty();
    if !linux.namespaces.iter().any(own_view) {
        return None;
    }
    let writable = spec.mounts.iter().any(|mount| {
        mount.source == "cgroup"
            && mount.destination == Path::new("/sys/fs/cgroup")
            && mount
                .options
                .iter()
                .rfind(|option| matches!(option.as_str(), "ro" | "rw"))
                .is_none_or(|last| last == "rw")
    });
    if !writable {
        return None;
    }
    let uid = spec.process.as_ref()?.user.uid;
    if !linux.namespaces.iter().any(|one| one.kind == "user") {
        return Some(uid).filter(|uid| *uid != 0);
    }
    linux.uid_mappings.iter().find_map(|map| {
        let at = uid.checked_sub(map.container_id).filter(|at| *at < map.size)?;
        map.host_id.checked_add(at)
    })
}
