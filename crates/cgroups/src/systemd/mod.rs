//! The systemd driver: a container is a transient scope, whose cgroup systemd makes and knows about.
//!
//! systemd sets what it has properties for, we write the rest (and the same again, in full precision) into the files of
//! the group, which is delegated to us.

mod bus;
mod devices;
mod properties;
mod variant;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use bus::Bus;

use crate::{Resources, Version};
use bus::Connection;
use properties::Property;
use wire::Value;

/// What systemd, or the way to it, refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `cgroupsPath` is not of the form that this driver takes.
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead"
    )]
    Path(String),
    /// A slice's name is none.
    #[error("invalid slice name: {0}")]
    Slice(String),
    /// There is no systemd.
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    NotRunning,
    /// v1's groups are root's.
    #[error("cannot use rootless systemd cgroups manager on cgroup v1")]
    Rootless,
    /// The address of a message bus names no socket.
    #[error("no unix socket in the bus address {0:?}: set DBUS_SESSION_BUS_ADDRESS")]
    Address(String),
    /// A socket did not take us.
    #[error("connect to {socket}")]
    Connect {
        /// Its path.
        socket: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The other side does not know us.
    #[error("authentication refused: {0}")]
    Authenticate(String),
    /// Reading from or writing to the socket.
    #[error("talk to systemd")]
    Talk(#[from] io::Error),
    /// An answer that is an error.
    #[error("{name}: {text}")]
    Refused {
        /// Name of the error on the bus.
        name: String,
        /// Words of the other side.
        text: String,
    },
    /// A job that did not end well.
    #[error("the job ended with {0:?}")]
    Job(String),
    /// A value that has no form as a property.
    #[error("{value}: {what}")]
    Value {
        /// As it was given.
        value: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An annotation that is no property.
    #[error("annotation {key}={text}: {reason}")]
    Annotation {
        /// Key.
        key: String,
        /// Value.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A connection that broke while it was set up is one that was refused.
    fn on(self, socket: &str) -> Self {
        match self {
            Self::Talk(source) => Self::Connect {
                socket: socket.to_owned(),
                source,
            },
            other => other,
        }
    }
}

/// A unit of systemd with the processes of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `PREFIX-NAME.scope`, or a slice.
    unit: String,
    /// The slice it is in.
    slice: String,
    /// Whose systemd.
    bus: Bus,
}

/// Annotations with this prefix are properties of the unit.
const ANNOTATION: &str = "org.systemd.property.";

impl Scope {
    /// The scope that `cgroups_path` (`slice:prefix:name`) names, for the container `id`.
    pub(crate) fn new(cgroups_path: &str, id: &str, bus: Bus) -> Result<Self, Error> {
        let (slice, prefix, name) = if cgroups_path.is_empty() {
            ("", "runc", id)
        } else {
            let mut parts = cgroups_path.split(':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                _ => return Err(Error::Path(cgroups_path.to_owned())),
            }
        };
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::NotRunning);
        }
        let unit = if name.ends_with(".slice") {
            name.to_owned()
        } else {
            format!("{prefix}-{name}.scope")
        };
        if unit.contains('/') {
            return Err(Error::Path(cgroups_path.to_owned()));
        }
        let default = match bus {
            Bus::System => "system.slice",
            Bus::User(_) => "user.slice",
        };
        let slice = if slice.is_empty() { default } else { slice }.to_owned();
        Ok(Self { unit, slice, bus })
    }

    /// Name of the unit.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Where systemd puts its group, below the root of a hierarchy.
    pub(crate) fn path(&self) -> Result<PathBuf, Error> {
        let mut path = PathBuf::new();
        if let Bus::User(_) = self.bus {
            let own = Connection::open(&self.bus)?.manager_text("ControlGroup")?;
            path.push(own.trim_start_matches('/'));
        }
        path.push(expand(&self.slice)?);
        path.push(&self.unit);
        Ok(path)
    }

    /// Starts the unit with the process `pid` in it, and waits until it is there.
    pub(crate) fn start(
        &self,
        pid: i32,
        version: Version,
        resources: &Resources,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let text = Value::text;
        let mut wished = vec![Property::new(
            "Description",
            text(&format!("lighter container {}", self.unit)),
        )];
        if self.unit.ends_with(".slice") {
            let wants = Value::Array("s".into(), vec![text(&self.slice)]);
            wished.push(Property::new("Wants", wants));
        } else {
            wished.push(Property::new("Slice", text(&self.slice)));
            wished.push(Property::new("Delegate", Value::Bool(true)));
        }
        let pids = Value::Array("u".into(), vec![Value::Uint32(pid.unsigned_abs())]);
        wished.push(Property::new("PIDs", pids));
        let io = match version {
            Version::V1 => "BlockIOAccounting",
            Version::V2 => "IOAccounting",
        };
        for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
            wished.push(Property::new(name, Value::Bool(true)));
        }
        wished.push(Property::new("DefaultDependencies", Value::Bool(false)));
        wished.extend(properties::devices(resources, version));
        wished.extend(properties::limits(resources, version)?);
        // Last: the user's word counts.
        for (key, value) in annotations {
            if let Some(name) = key.strip_prefix(ANNOTATION) {
                let (name, value) = variant::property(name, value).map_err(|reason| Error::Annotation {
                    key: key.clone(),
                    text: value.clone(),
                    reason,
                })?;
                wished.push(Property::new(&name, value));
            }
        }
        let mut connection = Connection::open(&self.bus)?;
        let start = |connection: &mut Connection, wished: &[Property]| {
            let body = [
                text(&self.unit),
                text("replace"),
                list(wished),
                Value::Array("(sa(sv))".into(), vec![]),
            ];
            connection.manager("StartTransientUnit", &body)
        };
        let answer = match with_and_without(&wished, |wished| start(&mut connection, wished)) {
            // What is left of a unit that failed: forgotten, it makes room.
            Err(Error::Refused { name, .. }) if name.ends_with(".UnitExists") => {
                let _ = connection.manager("ResetFailedUnit", &[text(&self.unit)]);
                with_and_without(&wished, |wished| start(&mut connection, wished))?
            }
            answer => answer?,
        };
        match connection.job_result(&answer)?.as_str() {
            "done" => Ok(()),
            other => {
                let _ = connection.manager("ResetFailedUnit", &[text(&self.unit)]);
                Err(Error::Job(other.to_owned()))
            }
        }
    }

    /// Changes the limits that systemd knows.
    pub(crate) fn set(&self, version: Version, resources: &Resources) -> Result<(), Error> {
        let wished = properties::limits(resources, version)?;
        if wished.is_empty() {
            return Ok(());
        }
        let mut connection = Connection::open(&self.bus)?;
        with_and_without(&wished, |wished| {
            // True: until the machine is off.
            let body = [Value::text(&self.unit), Value::Bool(true), list(wished)];
            connection.manager("SetUnitProperties", &body).map(drop)
        })
    }

    /// Resources as they go into the group's files beside systemd's properties.
    pub(crate) fn rounded(resources: &Resources) -> Resources {
        let mut resources = resources.clone();
        if let Some(cpu) = &mut resources.cpu
            && let Some(quota) = properties::round_quota(cpu)
        {
            cpu.quota = Some(quota);
        }
        resources
    }

    /// Moves a process into the unit: what an ordinary user cannot do from a group that is not his.
    pub(crate) fn attach(&self, pid: i32) -> Result<(), Error> {
        let pids = Value::Array("u".into(), vec![Value::Uint32(pid.unsigned_abs())]);
        let body = [Value::text(&self.unit), Value::text(""), pids];
        Connection::open(&self.bus)?
            .manager("AttachProcessesToUnit", &body)
            .map(drop)
    }

    /// Stops the unit, whatever runs in it, and lets systemd forget it. One that is not there is fine.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        let mut connection = Connection::open(&self.bus)?;
        let unit = Value::text(&self.unit);
        match connection.manager("StopUnit", &[unit.clone(), Value::text("replace")]) {
            Ok(answer) => connection.stopped(&self.unit, &answer)?,
            Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        // Refused when it did not fail.
        match connection.manager("ResetFailedUnit", &[unit]) {
            Ok(_) | Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// `a(sv)`.
fn list(properties: &[Property]) -> Value {
    Value::Array("(sv)".into(), properties.iter().map(Property::to_value).collect())
}

/// Tries again without what this systemd may not know.
fn with_and_without<T>(
    wished: &[Property],
    mut attempt: impl FnMut(&[Property]) -> Result<T, Error>,
) -> Result<T, Error> {
    match attempt(wished) {
        Err(Error::Refused { name, .. })
            if (name.ends_with(".PropertyReadOnly") || name.ends_with(".InvalidArgs"))
                && wished.iter().any(|property| property.optional) =>
        {
            let rest: Vec<Property> = wished
                .iter()
                .filter(|property| !property.optional)
                .cloned()
                .collect();
            attempt(&rest)
        }
        result => result,
    }
}

/// `a-b.slice` is in `a.slice`; `-.slice` is the root.
fn expand(slice: &str) -> Result<PathBuf, Error> {
    let bad = || Error::Slice(slice.to_owned());
    let stem = slice
        .strip_suffix(".slice")
        .filter(|stem| !stem.is_empty() && !stem.contains('/'))
        .ok_or_else(bad)?;
    let mut path = PathBuf::new();
    if stem == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(bad());
        }
        path.push(format!("{prefix}{part}.slice"));
        prefix = format!("{prefix}{part}-");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_nest_by_their_names() {
        for (slice, expected) in [
            ("system.slice", Some("system.slice")),
            ("a-b-c.slice", Some("a.slice/a-b.slice/a-b-c.slice")),
            ("-.slice", Some("")),
            (".slice", None),
            ("a--b.slice", None),
            ("-a.slice", None),
            ("a/b.slice", None),
            ("a.service", None),
        ] {
            assert_eq!(expand(slice).ok(), expected.map(PathBuf::from), "{slice}");
        }
    }
}
