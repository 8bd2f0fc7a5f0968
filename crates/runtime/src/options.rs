//! Options of a mount, as `mount(8)` and the OCI spec name them.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#linux-mount-options

use lighter_sys::mount::attribute as a;
use rustix::mount::MountPropagationFlags as P;

/// Options sorted by what they act on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Attributes (`MOUNT_ATTR_*`) to set and to clear on the mount itself.
    pub(crate) set: u64,
    pub(crate) clear: u64,
    /// Whether `relatime` is asked for, which has no bit.
    pub(crate) relatime: bool,
    /// The same with everything below it.
    pub(crate) recursive_set: u64,
    pub(crate) recursive_clear: u64,
    /// Flags of the file system (`MS_SYNCHRONOUS`, ...).
    pub(crate) filesystem: u64,
    /// Propagation to set afterwards: flag (`MS_SHARED`, ...), and whether below too.
    pub(crate) propagation: Vec<(u64, bool)>,
    pub(crate) bind: bool,
    pub(crate) recursive: bool,
    pub(crate) remount: bool,
    pub(crate) copy_up: bool,
    /// `idmap`, `ridmap`.
    pub(crate) idmap: Option<bool>,
    /// What is left: for the file system.
    pub(crate) data: String,
}

const MS_SYNCHRONOUS: u64 = 0x10;
const MS_MANDLOCK: u64 = 0x40;
const MS_DIRSYNC: u64 = 0x80;
const MS_SILENT: u64 = 0x8000;
const MS_I_VERSION: u64 = 0x80_0000;
const MS_LAZYTIME: u64 = 0x200_0000;

/// Bits to set and to clear for the options that have a recursive form with an `r` in front.
fn attribute(name: &str) -> Option<(u64, u64)> {
    Some(match name {
        "ro" => (a::RDONLY, 0),
        "rw" => (0, a::RDONLY),
        "nosuid" => (a::NOSUID, 0),
        "suid" => (0, a::NOSUID),
        "nodev" => (a::NODEV, 0),
        "dev" => (0, a::NODEV),
        "noexec" => (a::NOEXEC, 0),
        "exec" => (0, a::NOEXEC),
        "nodiratime" => (a::NODIRATIME, 0),
        "diratime" => (0, a::NODIRATIME),
        "relatime" => (a::RELATIME, a::ATIME),
        "norelatime" | "nostrictatime" | "atime" => (0, a::ATIME),
        "noatime" => (a::NOATIME, a::ATIME),
        "strictatime" => (a::STRICTATIME, a::ATIME),
        "nosymfollow" => (a::NOSYMFOLLOW, 0),
        "symfollow" => (0, a::NOSYMFOLLOW),
        _ => return None,
    })
}

/// The access-time mode that an option only takes back.
fn taken_back(name: &str) -> Option<u64> {
    Some(match name {
        "norelatime" => a::RELATIME,
        "nostrictatime" => a::STRICTATIME,
        "atime" => a::NOATIME,
        _ => return None,
    })
}

fn rank(set: u64) -> u8 {
    match set & a::ATIME {
        a::STRICTATIME => 2,
        a::NOATIME => 1,
        _ => 0,
    }
}

fn drop_mode(set: &mut u64, mode: u64) {
    if *set & a::ATIME == mode {
        *set &= !a::ATIME;
    }
}

impl Options {
    pub(crate) fn parse(options: &[String]) -> Self {
        let mut result = Self::default();
        for option in options {
            result.add(option);
        }
        result
    }

    fn add(&mut self, option: &str) {
        if let Some((set, clear)) = attribute(option) {
            if let Some(mode) = taken_back(option) {
                self.relatime &= mode != a::RELATIME;
                drop_mode(&mut self.set, mode);
                // It is an option all the same: flags of the mount that are not asked for go.
                self.clear |= a::ATIME;
                return;
            }
            // Of access-time modes not the later one wins but the kernel's choice among the flags of `mount(2)`.
            if clear & a::ATIME != 0 && rank(set) < rank(self.set) {
                self.clear |= a::ATIME;
                return;
            }
            // The later of two that contradict wins.
            self.set = self.set & !clear | set;
            self.clear = self.clear & !set | clear;
            if clear & a::ATIME != 0 {
                self.relatime = option == "relatime";
            }
            return;
        }
        if let Some((name, (set, clear))) = option
            .strip_prefix('r')
            .and_then(|name| Some((name, attribute(name)?)))
        {
            match taken_back(name) {
                Some(mode) => drop_mode(&mut self.recursive_set, mode),
                None => self.recursive_set = self.recursive_set & !clear | set,
            }
            self.recursive_clear = self.recursive_clear & !set | clear;
            return;
        }
        let propagation = |flags: P, recursive| (u64::from(flags.bits()), recursive);
        match option {
            "" | "defaults" => {}
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "private" => self.propagation.push(propagation(P::PRIVATE, false)),
            "rprivate" => self.propagation.push(propagation(P::PRIVATE, true)),
            "shared" => self.propagation.push(propagation(P::SHARED, false)),
            "rshared" => self.propagation.push(propagation(P::SHARED, true)),
            "slave" => self.propagation.push(propagation(P::DOWNSTREAM, false)),
            "rslave" => self.propagation.push(propagation(P::DOWNSTREAM, true)),
            "unbindable" => self.propagation.push(propagation(P::UNBINDABLE, false)),
            "runbindable" => self.propagation.push(propagation(P::UNBINDABLE, true)),
            "sync" => self.filesystem |= MS_SYNCHRONOUS,
            "async" => self.filesystem &= !MS_SYNCHRONOUS,
            "dirsync" => self.filesystem |= MS_DIRSYNC,
            "mand" => self.filesystem |= MS_MANDLOCK,
            "nomand" => self.filesystem &= !MS_MANDLOCK,
            "silent" => self.filesystem |= MS_SILENT,
            "loud" => self.filesystem &= !MS_SILENT,
            "iversion" => self.filesystem |= MS_I_VERSION,
            "noiversion" => self.filesystem &= !MS_I_VERSION,
            "lazytime" => self.filesystem |= MS_LAZYTIME,
            "nolazytime" => self.filesystem &= !MS_LAZYTIME,
            "acl" | "noacl" => {}
            data => {
                if !self.data.is_empty() {
                    self.data.push(',');
                }
                self.data.push_str(data);
            }
        }
    }

    /// What a bind mount gets: attributes to set, and to clear where nothing forbids it. The first is what both peers and
    /// `mount --bind -o` do: exactly the attributes asked for, the source's are dropped. The second, for flags that a user
    /// namespace may not drop, keeps what the source has beside what is explicitly unwanted.
    ///
    /// Access times are the source's unless a mode is asked for: `atime`, `norelatime` and the like only take back an
    /// earlier option.
    pub(crate) fn bind_changes(&self) -> Option<[(u64, u64); 2]> {
        const EACH: u64 = a::RDONLY | a::NOSUID | a::NODEV | a::NOEXEC | a::NOSYMFOLLOW;
        const TIMES: u64 = a::ATIME | a::NODIRATIME;
        if self.set | self.clear == 0 && !self.relatime {
            return None;
        }
        let times = if self.relatime || self.set & TIMES != 0 {
            TIMES
        } else {
            0
        };
        // A user namespace may drop this one, so it goes as it does elsewhere.
        let unlocked = a::NOSYMFOLLOW & !self.set;
        Some([EACH & !self.set, self.clear & EACH | unlocked].map(|clear| (self.set, clear | times)))
    }

    /// Whether something is to be done to the mount once it is made.
    pub(crate) fn has_more(&self) -> bool {
        !self.propagation.is_empty() || self.recursive_set | self.recursive_clear != 0
    }

    /// `MS_*` for `mount(2)`.
    pub(crate) fn mount_flags(&self) -> u64 {
        let mut flags = self.filesystem;
        for (attribute, flag) in [
            (a::RDONLY, 0x1),
            (a::NOSUID, 0x2),
            (a::NODEV, 0x4),
            (a::NOEXEC, 0x8),
            (a::NOATIME, 0x400),
            (a::NODIRATIME, 0x800),
            (a::STRICTATIME, 0x100_0000),
            (a::NOSYMFOLLOW, 0x100),
        ] {
            if self.set & attribute != 0 {
                flags |= flag;
            }
        }
        if self.relatime {
            flags |= 0x20_0000;
        }
        flags
    }
}

/// All option names, for `features`.
pub(crate) const NAMES: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Options {
        Options::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_name_is_known() {
        for name in NAMES {
            assert_eq!(parse(name).data, "", "{name}");
        }
        assert_eq!(parse("mode=755,ro,size=64k").data, "mode=755,size=64k");
    }

    #[test]
    fn a_bind_mount_has_what_is_asked_for() {
        let changes = |text| parse(text).bind_changes();
        let plain = a::NOSUID | a::NODEV | a::NOEXEC | a::NOSYMFOLLOW;
        let times = a::ATIME | a::NODIRATIME;
        assert_eq!(changes("rbind,rprivate"), None);
        let follow = a::NOSYMFOLLOW;
        assert_eq!(
            changes("bind,ro"),
            Some([(a::RDONLY, plain), (a::RDONLY, follow)])
        );
        assert_eq!(
            changes("ro,rw"),
            Some([(0, plain | a::RDONLY), (0, a::RDONLY | follow)])
        );
        assert_eq!(changes("noatime").unwrap()[1], (a::NOATIME, times | follow));
        assert_eq!(changes("relatime").unwrap()[1], (0, times | follow));
        assert_eq!(changes("noatime,atime").unwrap()[1], (0, follow));
        assert_eq!(changes("bind,nosymfollow").unwrap()[1], (follow, 0));
        assert_eq!(changes("strictatime,norelatime").unwrap()[1].0, a::STRICTATIME);
    }

    #[test]
    fn the_later_of_two_wins() {
        assert_eq!(parse("ro,rw").set, 0);
        assert_eq!(parse("noatime,strictatime").set, a::STRICTATIME);
        assert_eq!(parse("strictatime,noatime").set, a::STRICTATIME);
        assert_eq!(parse("noatime,relatime").set, a::NOATIME);
        assert_eq!(parse("rro").recursive_set, a::RDONLY);
        assert!(parse("rbind,rprivate").recursive);
    }
}
