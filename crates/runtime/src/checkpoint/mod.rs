//! `checkpoint` and `restore`: a container's processes to files and back, by CRIU.
//!
//! What CRIU cannot know it is told: which mounts come from outside ([`mounts`]), which namespaces were joined, which
//! pipes are its stdio, which cgroup it lives in.

mod criu;
mod dump;
mod message;
mod mounts;
mod restore;

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use crate::arguments::Parsed;
use crate::error::{Context, Error, Result};
use criu::field;
use message::Writer;

pub(crate) use dump::checkpoint;
pub(crate) use restore::restore;

/// Names of `criu_cg_mode` and their numbers.
const CGROUP_MODES: [(&str, i64); 5] = [("", 3), ("soft", 3), ("full", 4), ("strict", 5), ("ignore", 0)];

/// The annotation that names a configuration file of CRIU's.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// Names in the images of namespaces that were joined.
const EXTERNAL_NAMESPACES: [(&str, &str, &str); 2] =
    [("network", "net", "extRootNetNS"), ("pid", "pid", "extRootPidNS")];

/// What the container's first three descriptors led to, in the image directory.
const DESCRIPTORS: &str = "descriptors.json";

/// What both commands are asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    criu: PathBuf,
    images: PathBuf,
    work: Option<PathBuf>,
    parent: Option<String>,
    leave_running: bool,
    pre_dump: bool,
    lazy_pages: bool,
    /// Field numbers of the flags that are CRIU's own.
    flags: Vec<u64>,
    status_fd: Option<i32>,
    page_server: Option<(String, u16)>,
    cgroup_mode: i64,
    lsm_profile: Option<String>,
    lsm_mount_context: Option<String>,
}

impl Options {
    /// `criu`: the program; `directory`: where we are.
    pub(crate) fn parse(parsed: &Parsed, criu: Option<&str>, directory: &Path) -> Result<Self> {
        let mode = parsed.value("manage-cgroups-mode").unwrap_or_default();
        let Some((_, cgroup_mode)) = CGROUP_MODES.iter().find(|(name, _)| *name == mode) else {
            return Err(Error::Usage(format!(
                "invalid manage-cgroups-mode {mode:?}: must be soft, full, strict or ignore"
            )));
        };
        if let Some(other) = parsed.values("empty-ns").iter().find(|name| *name != "network") {
            return Err(Error::Usage(format!("namespace {other:?} is not supported")));
        }
        let own = [
            ("tcp-established", field::TCP_ESTABLISHED),
            ("tcp-skip-in-flight", field::TCP_SKIP_IN_FLIGHT),
            ("link-remap", field::LINK_REMAP),
            ("ext-unix-sk", field::EXT_UNIX_SK),
            ("shell-job", field::SHELL_JOB),
            ("lazy-pages", field::LAZY_PAGES),
            ("file-locks", field::FILE_LOCKS),
            ("auto-dedup", field::AUTO_DEDUP),
        ];
        let own = own.iter().filter(|(name, _)| parsed.is_set(name));
        let images = directory.join(parsed.value("image-path").unwrap_or("checkpoint"));
        Ok(Self {
            criu: criu.unwrap_or("criu").into(),
            work: parsed.value("work-path").map(|path| directory.join(path)),
            parent: parsed
                .value("parent-path")
                .map(|path| parent(&images, path))
                .transpose()?,
            images,
            leave_running: parsed.is_set("leave-running"),
            pre_dump: parsed.is_set("pre-dump"),
            lazy_pages: parsed.is_set("lazy-pages"),
            flags: own.map(|(_, field)| *field).collect(),
            status_fd: parsed.number("status-fd")?.filter(|fd| *fd >= 0),
            page_server: parsed.value("page-server").map(page_server).transpose()?,
            cgroup_mode: *cgroup_mode,
            lsm_profile: parsed.value("lsm-profile").map(str::to_owned),
            lsm_mount_context: parsed.value("lsm-mount-context").map(str::to_owned),
        })
    }

    /// Where CRIU logs.
    fn log(&self, name: &str) -> PathBuf {
        self.work.as_ref().unwrap_or(&self.images).join(name)
    }

    /// Writes what both commands say. The directories are named by descriptors of ours: they live as long as the answer.
    fn common(&self, request: &mut Writer, log: &str) -> Result<Directories> {
        let images = File::open(&self.images).on("open", &self.images)?;
        let work = match &self.work {
            Some(work) => {
                make_directory(work)?;
                Some(File::open(work).on("open", work)?)
            }
            None => None,
        };
        let number = |fd: &File| i64::from(fd.as_fd().as_raw_fd());
        request.number(field::IMAGES_DIR_FD, number(&images));
        if let Some(work) = &work {
            request.number(field::WORK_DIR_FD, number(work));
        }
        request.number(field::LOG_LEVEL, 4).bytes(field::LOG_FILE, log);
        request.flag(field::NOTIFY_SCRIPTS, true);
        request
            .flag(field::MANAGE_CGROUPS, true)
            .number(field::MANAGE_CGROUPS_MODE, self.cgroup_mode);
        // Network devices are the business of whoever made them.
        request.number(field::EMPTY_NS, i64::from(lighter_sys::namespace::NETWORK));
        request.flag(field::ORPHAN_PTS_MASTER, true);
        for flag in &self.flags {
            request.flag(*flag, true);
        }
        if let Some(profile) = &self.lsm_profile {
            request.bytes(field::LSM_PROFILE, profile);
        }
        if let Some(context) = &self.lsm_mount_context {
            request.bytes(field::LSM_MOUNT_CONTEXT, context);
        }
        Ok(Directories {
            _images: images,
            _work: work,
        })
    }
}

/// Held open while CRIU works.
#[derive(Debug)]
struct Directories {
    _images: File,
    _work: Option<File>,
}

/// The directory, made when it is missing: the state of a process is nobody else's.
fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .on("create", path)
}

/// The images of an earlier pre-dump: relative to the new ones, so that both can be moved together.
fn parent(images: &Path, path: &str) -> Result<String> {
    if path.starts_with('/') {
        return Err(Error::Usage("--parent-path must be relative".into()));
    }
    make_directory(images)?;
    let reason = match fs::metadata(images.join(path)) {
        Ok(found) if found.is_dir() => return Ok(path.to_owned()),
        Ok(_) => "not a directory".to_owned(),
        Err(error) => crate::program::words(error),
    };
    Err(Error::Usage(format!("invalid --parent-path: {path}: {reason}")))
}

fn page_server(text: &str) -> Result<(String, u16)> {
    let wrong = || Error::Usage("Use --page-server ADDRESS:PORT to specify page server".into());
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if address.is_empty() || port.is_empty() {
        return Err(wrong());
    }
    let port = port
        .parse()
        .map_err(|_| Error::Usage("Invalid port number".into()))?;
    Ok((address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
        let flags = crate::flags::command("checkpoint").unwrap().flags;
        Options::parse(
            &Parsed::command(flags, true, &words)?,
            None,
            &std::env::temp_dir(),
        )
    }

    #[test]
    fn wrong_values_are_told() {
        for (line, expected) in [
            ("--parent-path /x", "--parent-path must be relative"),
            (
                "--image-path lt-images --parent-path ./nope",
                "invalid --parent-path",
            ),
            ("--page-server 7", "ADDRESS:PORT"),
            ("--page-server a:x", "Invalid port number"),
            ("--manage-cgroups-mode x", "manage-cgroups-mode"),
            ("--empty-ns pid", "not supported"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.contains(expected), "{line}: {text}");
        }
        let options = parse("--page-server [::1]:27 --shell-job").unwrap();
        assert_eq!(options.page_server, Some(("::1".into(), 27)));
        assert_eq!(options.flags, [field::SHELL_JOB]);
        assert_eq!(options.images, std::env::temp_dir().join("checkpoint"));
    }
}
