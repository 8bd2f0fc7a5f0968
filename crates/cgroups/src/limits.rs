//! Resources put in force on a group.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;

use crate::files::Files;
use crate::group::{Group, number, open_file, write};
use crate::resources::Resources;
use crate::{Error, Version, device, v1, v2};

/// One write into a file of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The field of `linux.resources` that it comes from.
    pub(crate) field: String,
    /// Which hierarchy, on v1.
    pub(crate) controller: &'static str,
    pub(crate) file: String,
    pub(crate) value: String,
    /// What to write to which file where the first is not there.
    pub(crate) instead: Option<(&'static str, String)>,
    pub(crate) when: When,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Failure.
    Must,
    /// EINVAL may be because of another value that follows: once more after all others.
    Again,
    /// Nothing, when the kernel has no such file.
    IfThere,
}

impl Write {
    pub(crate) fn new(
        field: &str,
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) -> Self {
        Self {
            field: field.to_owned(),
            controller,
            file: file.into(),
            value: value.to_string(),
            instead: None,
            when: When::Must,
        }
    }

    pub(crate) fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    pub(crate) fn or(self, file: &'static str, value: impl ToString) -> Self {
        Self {
            instead: Some((file, value.to_string())),
            ..self
        }
    }
}

impl Group {
    /// Puts `resources` in force on a new group.
    pub fn apply(&self, resources: &Resources) -> Result<(), Error> {
        match self.apply_devices(resources) {
            // An ordinary user's group: whoever gave it says which devices there are.
            Err(Error::Devices { source, .. } | Error::Write { source, .. })
                if self.rootless
                    && matches!(Errno::from_io_error(&source), Some(Errno::PERM | Errno::ACCESS)) => {}
            result => result?,
        }
        self.apply_limits(resources, false)
    }

    /// Changes the limits that are present in `resources`, not the device rules, of a group with processes.
    pub fn update(&self, resources: &Resources) -> Result<(), Error> {
        self.check_usage(resources)?;
        if let Some(scope) = &self.scope {
            scope
                .set(self.version(), resources)
                .map_err(|source| self.systemd("set properties of", source))?;
        }
        let swap = resources
            .memory
            .as_ref()
            .and_then(|memory| memory.swap)
            .unwrap_or(0);
        // Of two limits that must not cross, the one that gives room comes first.
        let swap_first = self.version() == Version::V1
            && swap != 0
            && (swap == -1
                || self
                    .directory_of("memory")
                    .and_then(|dir| number(&dir.join("memory.limit_in_bytes")))
                    .is_some_and(|now| now < swap.unsigned_abs()));
        self.apply_limits(resources, swap_first)
    }

    /// `checkBeforeUpdate`: v2 would kill what is above a new limit, v1 refuses by itself.
    fn check_usage(&self, resources: &Resources) -> Result<(), Error> {
        let Some(memory) = resources
            .memory
            .as_ref()
            .filter(|memory| memory.check_before_update == Some(true))
        else {
            return Ok(());
        };
        let usage = match self.version() {
            Version::V1 => return Ok(()),
            Version::V2 => self
                .directory_of("memory")
                .and_then(|dir| number(&dir.join("memory.current"))),
        };
        for (name, field, limit) in [
            ("memory+swap", "memory.swap", memory.swap),
            ("memory", "memory.limit", memory.limit),
        ] {
            if let (Some(limit), Some(usage)) = (limit.filter(|limit| *limit > 0), usage)
                && limit.unsigned_abs() <= usage
            {
                return Err(Error::Value {
                    field: field.into(),
                    reason: format!("rejecting {name} limit {limit} <= usage {usage}"),
                });
            }
        }
        Ok(())
    }

    fn apply_limits(&self, resources: &Resources, swap_first: bool) -> Result<(), Error> {
        let rounded;
        let resources = if self.scope.is_some() {
            rounded = crate::Scope::rounded(resources);
            &rounded
        } else {
            resources
        };
        let writes = match self.version() {
            Version::V1 => v1::plan(resources, swap_first)?,
            Version::V2 => v2::plan(resources)?,
        };
        let mut again = Vec::new();
        let mut files = Files::default();
        for write in writes {
            if let Err(error) = self.write_limit(&write, &mut files) {
                let invalid = matches!(&error, Error::Write { source, .. } if Errno::from_io_error(source) == Some(Errno::INVAL));
                if write.when == When::Again && invalid {
                    again.push(write);
                } else {
                    return Err(limit(write.field, error));
                }
            }
        }
        for write in again {
            if let Err(error) = self.write_limit(&write, &mut files) {
                return Err(limit(write.field, error));
            }
        }
        if self.version() == Version::V2 {
            for (file, value) in &resources.unified {
                self.write_unified(file, value)?;
            }
        }
        Ok(())
    }

    fn write_limit(&self, limit: &Write, files: &mut Files) -> Result<(), Error> {
        let missing = || Error::NoController {
            controller: limit.controller.to_owned(),
            file: limit.file.clone(),
        };
        let Some(dir) = self.directory_of(limit.controller) else {
            return if limit.when == When::IfThere {
                Ok(())
            } else {
                Err(missing())
            };
        };
        let mut result = files.write(&dir.join(&limit.file), &limit.value);
        if let Some((file, value)) = &limit.instead
            && is_missing(&result)
        {
            result = files.write(&dir.join(file), value);
        }
        if is_missing(&result) {
            if limit.when == When::IfThere {
                return Ok(());
            }
            // On v2 the file is not there because the controller is not enabled: say that.
            if self.version() == Version::V2 {
                return Err(missing());
            }
        }
        match result {
            Err(Error::Write { source, value, .. })
                if limit.file == "memory.limit_in_bytes"
                    && Errno::from_io_error(&source) == Some(Errno::BUSY) =>
            {
                let now = |file: &str| number(&dir.join(file)).unwrap_or(0);
                Err(Error::InUse {
                    limit: value,
                    usage: now("memory.usage_in_bytes"),
                    peak: now("memory.max_usage_in_bytes"),
                })
            }
            result => result,
        }
    }

    /// A file of `unified`, a line a write: each line of `io.max` is about a device of its own.
    fn write_unified(&self, file: &str, value: &str) -> Result<(), Error> {
        let field = || format!("unified[{file:?}]");
        let bad = |reason: &str| Error::Value {
            field: field(),
            reason: reason.to_owned(),
        };
        if file.contains('/') {
            return Err(bad("must be a file name (no slashes)"));
        }
        let Some((controller, _)) = file
            .split_once('.')
            .filter(|(controller, _)| !controller.is_empty())
        else {
            return Err(bad("must be in the form CONTROLLER.PARAMETER"));
        };
        let dir = self.directory_of("").unwrap_or(Path::new("/"));
        let path = dir.join(file);
        for line in value.lines().filter(|line| !line.is_empty()) {
            match write(&path, line) {
                Err(Error::Write { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                    ) && controller != "cgroup"
                        && !fs::read_to_string(dir.join("cgroup.controllers"))
                            .is_ok_and(|text| text.split_whitespace().any(|one| one == controller)) =>
                {
                    return Err(Error::NoUnifiedController {
                        file: file.to_owned(),
                        controller: controller.to_owned(),
                    });
                }
                result => result.map_err(|error| limit(field(), error))?,
            }
        }
        Ok(())
    }

    fn apply_devices(&self, resources: &Resources) -> Result<(), Error> {
        if resources.devices.is_empty() {
            return Ok(());
        }
        let rules = device::effective(&resources.devices);
        let Some(dir) = self.directory_of("devices") else {
            return Err(Error::NoController {
                controller: "devices".into(),
                file: "devices.allow".into(),
            });
        };
        match self.version() {
            Version::V1 => {
                let open = |name: &str| open_file(&dir.join(name));
                let (mut allow, mut deny) = (None, None);
                for rule in &rules {
                    let (slot, name) = if rule.allow {
                        (&mut allow, "devices.allow")
                    } else {
                        (&mut deny, "devices.deny")
                    };
                    for line in rule.lines() {
                        if slot.is_none() {
                            *slot = Some(open(name).map_err(|source| Error::Write {
                                path: dir.join(name),
                                value: line.clone(),
                                source,
                            })?);
                        }
                        if let Some(file) = slot.as_mut() {
                            file.write_all(line.as_bytes()).map_err(|source| Error::Write {
                                path: dir.join(name),
                                value: line,
                                source,
                            })?;
                        }
                    }
                }
                let mut files = Files::default();
                allow.into_iter().chain(deny).for_each(|file| files.add(file));
                Ok(())
            }
            Version::V2 => {
                let failed = |source| Error::Devices {
                    path: dir.to_owned(),
                    source,
                };
                let group = self.directory()?;
                let program =
                    lighter_sys::bpf::load_device_program(&device::program(&rules)).map_err(failed)?;
                let old = lighter_sys::bpf::device_programs(group.as_fd()).map_err(failed)?;
                lighter_sys::bpf::attach_device_program(group.as_fd(), program.as_fd()).map_err(failed)?;
                for old in old {
                    lighter_sys::bpf::detach_device_program(group.as_fd(), old.as_fd()).map_err(failed)?;
                }
                Ok(())
            }
        }
    }
}

fn limit(field: String, source: Error) -> Error {
    match source {
        // Says by itself what it is about.
        Error::InUse { .. } => source,
        source => Error::Limit {
            field,
            source: Box::new(source),
        },
    }
}

fn is_missing(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound)
}
