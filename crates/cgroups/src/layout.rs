//! Which hierarchies this machine has.

use std::io;
use std::mem::MaybeUninit;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, RawDir};

/// The kernel's two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy a controller (also "hybrid": v2 is mounted beside, without controllers that we use).
    V1,
    /// One unified hierarchy.
    V2,
}

impl Version {
    /// Which one this machine uses: one call, where the whole [`Layout`] takes a dozen.
    pub fn detect() -> io::Result<Self> {
        Ok(match magic(Path::new(MOUNTPOINT))? {
            CGROUP2_MAGIC => Self::V2,
            _ => Self::V1,
        })
    }
}

fn magic(path: &Path) -> io::Result<i64> {
    Ok(rustix::fs::statfs(path)?.f_type)
}

/// Where the hierarchies are mounted.
#[derive(Debug, Clone)]
pub struct Layout {
    pub(crate) version: Version,
    /// Directories below `/sys/fs/cgroup` and the controllers they are for: `cpu,cpuacct`, `memory`, `systemd`. One
    /// without a name for v2.
    pub(crate) hierarchies: Vec<String>,
}

pub(crate) const MOUNTPOINT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: i64 = 0x6367_7270;
const CGROUP_MAGIC: i64 = 0x0027_e0eb;

impl Layout {
    /// Looks at `/sys/fs/cgroup`.
    pub fn detect() -> io::Result<Self> {
        Self::of(Version::detect()?)
    }

    /// Looks at what is below `/sys/fs/cgroup` of a machine with this interface.
    pub fn of(version: Version) -> io::Result<Self> {
        let root = Path::new(MOUNTPOINT);
        if version == Version::V2 {
            return Ok(Self {
                version,
                hierarchies: vec![String::new()],
            });
        }
        let mut hierarchies = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(root, flags, Mode::empty())?;
        // Without the library's own stream: no call and no memory that the dozen of names does not need.
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut entries = RawDir::new(&dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            // Symbolic links (`cpu` to `cpu,cpuacct`) are second names.
            if entry.file_type() == FileType::Directory
                && let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | ".." | "unified")
                && magic(&root.join(name))? == CGROUP_MAGIC
            {
                hierarchies.push(name.to_owned());
            }
        }
        if hierarchies.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroup hierarchy below /sys/fs/cgroup",
            ));
        }
        hierarchies.sort();
        Ok(Self {
            version: Version::V1,
            hierarchies,
        })
    }

    /// The interface in use.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The names of the v1 hierarchies below `/sys/fs/cgroup` (one empty name on v2).
    pub fn hierarchies(&self) -> impl Iterator<Item = &str> {
        self.hierarchies.iter().map(String::as_str)
    }

    /// The directory, in each hierarchy, of the group that `cgroups_path` (of a container's config) names: from the
    /// root of the hierarchy when absolute, else from our own group; `id` below our own group when it is missing.
    pub(crate) fn directories(&self, cgroups_path: &str, id: &str) -> io::Result<Vec<PathBuf>> {
        let wished = clean(if cgroups_path.is_empty() { id } else { cgroups_path });
        let absolute = cgroups_path.starts_with('/');
        let own = if absolute {
            String::new()
        } else {
            std::fs::read_to_string("/proc/self/cgroup")?
        };
        Ok(self
            .hierarchies
            .iter()
            .map(|hierarchy| {
                let root = Path::new(MOUNTPOINT).join(hierarchy);
                if absolute {
                    return root.join(&wished);
                }
                let own = clean(own_group(&own, hierarchy).unwrap_or("/"));
                // On v2 our own group has processes in it, so nothing below it may have controllers: beside it.
                let base = if self.version == Version::V2 {
                    own.parent().unwrap_or(&own).to_owned()
                } else {
                    own
                };
                root.join(base).join(&wished)
            })
            .collect())
    }
}

/// The line `N:controllers:path` of `/proc/self/cgroup` for the hierarchy mounted in a directory of that name.
fn own_group<'a>(text: &'a str, hierarchy: &str) -> Option<&'a str> {
    let first = hierarchy.split(',').next().unwrap_or_default();
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let matches = controllers
            .split(',')
            .any(|controller| controller.strip_prefix("name=").unwrap_or(controller) == first);
        matches.then_some(path)
    })
}

/// Relative, without `.` and `..`: a group is always below its base.
fn clean(path: &str) -> PathBuf {
    let mut result = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => {
                result.pop();
            }
            _ => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leaves_its_base() {
        for (path, expected) in [
            ("/docker/x", "docker/x"),
            ("a/../../b", "b"),
            ("./x//y", "x/y"),
            ("/..", ""),
        ] {
            assert_eq!(clean(path), Path::new(expected));
        }
    }

    #[test]
    fn our_own_group_is_found_by_controller_or_name() {
        let text = "9:name=systemd:/s\n4:cpu,cpuacct:/c\n0::/u\n";
        for (hierarchy, expected) in [
            ("systemd", Some("/s")),
            ("cpu,cpuacct", Some("/c")),
            ("", Some("/u")),
            ("x", None),
        ] {
            assert_eq!(own_group(text, hierarchy), expected);
        }
    }
}
