//! Binds, as users ask for them in two ways: `--volume` and `--mount`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lighter_engine_api::{HostConfig, Mount, MountPoint};

use crate::{Error, Result};

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What a container sees of its host. Nothing is made on disk.
pub(super) fn resolve(host: &HostConfig) -> Result<Vec<MountPoint>> {
    let mut points = Vec::new();
    for text in host.binds.iter().flatten() {
        points.push(bind(text)?);
    }
    for mount in host.mounts.iter().flatten() {
        points.push(asked(mount)?);
    }
    if host.volumes_from.as_ref().is_some_and(|from| !from.is_empty()) {
        return Err(Error::not_implemented("--volumes-from is not supported yet"));
    }
    let mut seen = BTreeSet::new();
    for point in &points {
        if !seen.insert(&point.destination) {
            return Err(Error::invalid(format!(
                "Duplicate mount point: {}",
                point.destination
            )));
        }
    }
    Ok(points)
}

/// `SOURCE:DESTINATION[:OPTIONS]`.
fn bind(text: &str) -> Result<MountPoint> {
    let bad = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let (source, destination, mode) = match text.split(':').collect::<Vec<_>>()[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        [_] => return Err(no_volumes()),
        _ => return Err(bad()),
    };
    let destination = destination_of(destination).ok_or_else(|| {
        Error::invalid(format!("invalid volume specification: '{text}': invalid mount config for type \"bind\": invalid mount path: '{destination}' mount path must be absolute"))
    })?;
    if destination == "/" {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"bind\": invalid specification: destination can't be '/'"
        )));
    }
    if !source.starts_with('/') {
        return Err(no_volumes());
    }
    let (mut rw, mut propagation) = (true, "rprivate");
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => rw = false,
            // SELinux labels and consistency mean nothing here, as on Docker without them.
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" | "nocopy" => {}
            other if PROPAGATIONS.contains(&other) => propagation = other,
            _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
        }
    }
    Ok(MountPoint {
        kind: "bind".into(),
        source: clean(source),
        destination,
        mode: mode.into(),
        rw,
        propagation: propagation.into(),
        ..MountPoint::default()
    })
}

/// An entry of `Mounts`.
fn asked(mount: &Mount) -> Result<MountPoint> {
    let wrong =
        |why: &str| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    let destination = destination_of(&mount.target).ok_or_else(|| {
        wrong(&format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.target
        ))
    })?;
    match mount.kind.as_str() {
        "bind" => {
            let options = mount.bind_options.clone().unwrap_or_default();
            if mount.source.is_empty() {
                return Err(wrong("field Source must not be empty"));
            }
            if !mount.source.starts_with('/') {
                return Err(wrong(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            if !options.create_mountpoint && !Path::new(&mount.source).exists() {
                return Err(wrong(&format!(
                    "bind source path does not exist: {}",
                    mount.source
                )));
            }
            let propagation = if options.propagation.is_empty() {
                "rprivate"
            } else {
                &options.propagation
            };
            if !PROPAGATIONS.contains(&propagation) {
                return Err(wrong(&format!("invalid propagation mode: {propagation}")));
            }
            Ok(MountPoint {
                kind: "bind".into(),
                source: clean(&mount.source),
                destination,
                rw: !mount.read_only,
                propagation: propagation.into(),
                ..MountPoint::default()
            })
        }
        "tmpfs" => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            if options.size_bytes > 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            if options.mode != 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            Ok(MountPoint {
                kind: "tmpfs".into(),
                destination,
                mode: words.join(","),
                rw: !mount.read_only,
                ..MountPoint::default()
            })
        }
        "volume" => Err(no_volumes()),
        "image" | "npipe" | "cluster" => Err(Error::not_implemented(format!(
            "mounts of type {} are not supported yet",
            mount.kind
        ))),
        other => Err(Error::invalid(format!(
            "invalid mount config for type \"{other}\": mount type unknown: \"{other}\""
        ))),
    }
}

fn no_volumes() -> Error {
    Error::not_implemented(
        "volumes are not supported yet: bind a directory of the host instead (-v /host/dir:/dir)",
    )
}

/// Makes the directories that `--volume` makes when they are missing.
pub(super) fn make_sources(host: &HostConfig, points: &[MountPoint]) -> Result<()> {
    let by_bind = host.binds.as_ref().map_or(0, Vec::len);
    let asked = host.mounts.iter().flatten().map(|mount| {
        mount
            .bind_options
            .as_ref()
            .is_some_and(|bind| bind.create_mountpoint)
    });
    for (point, make) in points.iter().zip(std::iter::repeat_n(true, by_bind).chain(asked)) {
        if point.kind == "bind" && make {
            match fs::create_dir_all(&point.source) {
                // A file, a socket, or a device is bound as it is.
                Err(_) if fs::symlink_metadata(&point.source).is_ok() => {}
                Err(error) => {
                    return Err(Error::system(format!(
                        "error while creating mount source path '{}'",
                        point.source
                    ))
                    .with_source(error));
                }
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// An absolute path without `.`, `..` and doubled slashes, by its text alone.
fn destination_of(path: &str) -> Option<String> {
    path.starts_with('/').then(|| clean(path))
}

fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read() {
        let point = bind("/a//b/../c:/d/:ro,rslave").unwrap();
        assert_eq!(
            (point.source.as_str(), point.destination.as_str()),
            ("/a/c", "/d")
        );
        assert_eq!(
            (point.rw, point.propagation.as_str(), point.mode.as_str()),
            (false, "rslave", "ro,rslave")
        );
        assert!(bind("/a:/b").unwrap().rw);
    }

    #[test]
    fn bad_binds_are_refused() {
        for text in ["/a:b", "/a:/", "/a:/b:nonsense", "a:b:c:d"] {
            assert_eq!(
                bind(text).unwrap_err().kind,
                crate::Kind::InvalidParameter,
                "{text}"
            );
        }
        assert_eq!(bind("name:/b").unwrap_err().kind, crate::Kind::NotImplemented);
        let host = HostConfig {
            binds: Some(vec!["/a:/x".into(), "/b:/x/".into()]),
            ..HostConfig::default()
        };
        assert_eq!(resolve(&host).unwrap_err().message, "Duplicate mount point: /x");
    }
}
