//! The OCI runtime as a command.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::child::{self, Child, Program, words};
use crate::{json, rootfs, socket};

/// Where containerd's own shim keeps the runtime's state.
const ROOT: &str = "/run/containerd/runc";
/// The runtime when none is named.
pub(crate) const DEFAULT: &str = "lighter-runc";

/// How to call the runtime for one container.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// As it was asked for.
    pub(crate) name: String,
    /// Found; `None` when it is not there.
    pub(crate) path: Option<PathBuf>,
    /// State directory, namespace included.
    pub(crate) root: PathBuf,
    pub(crate) systemd_cgroup: bool,
    pub(crate) environment: Vec<CString>,
}

/// What the runtime is told besides its command.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    pub(crate) mounts: &'a [rootfs::Plan],
}

impl Runtime {
    /// `own` is this program's own path, `search` a `PATH`.
    pub(crate) fn new(
        name: &str,
        root: &str,
        namespace: &str,
        systemd_cgroup: bool,
        own: Option<&Path>,
        environment: &[(OsString, OsString)],
    ) -> Self {
        let name = if name.is_empty() { DEFAULT } else { name };
        let root = if root.is_empty() { ROOT } else { root };
        let search = environment
            .iter()
            .find(|(key, _)| key == "PATH")
            .map(|(_, value)| value.as_os_str());
        let path = child::find(
            name,
            own,
            search.unwrap_or(OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin")),
        );
        Self {
            name: name.to_owned(),
            path,
            root: Path::new(root).join(namespace),
            systemd_cgroup,
            environment: block(environment),
        }
    }

    /// Starts the runtime with its log in `log`.
    pub(crate) fn start(&self, log: &Path, call: Call<'_>) -> io::Result<Child> {
        let Some(path) = &self.path else {
            let text = format!("exec: {:?}: executable file not found in $PATH", self.name);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        };
        let mut arguments: Vec<&OsStr> = vec![
            OsStr::new(&self.name),
            OsStr::new("--root"),
            self.root.as_os_str(),
            OsStr::new("--log"),
            log.as_os_str(),
            OsStr::new("--log-format"),
            OsStr::new("json"),
        ];
        if self.systemd_cgroup {
            arguments.push(OsStr::new("--systemd-cgroup"));
        }
        arguments.extend(call.arguments.iter().map(OsString::as_os_str));
        let arguments: Result<Vec<CString>, _> = arguments
            .into_iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect();
        child::start(Program {
            path,
            arguments: arguments?,
            environment: self.environment.clone(),
            stdio: call.stdio,
            more: Vec::new(),
            mounts: call.mounts,
            dir: log.parent(),
            bound: true,
        })
    }

    /// Why the runtime failed, as containerd words it: the last error of its log after byte `from`, else what can be
    /// said about its end. `what` is `OCI runtime create failed` and the like.
    pub(crate) fn failure(&self, what: &str, log: &Path, from: u64, report: &str, status: &str) -> String {
        if !report.is_empty() {
            return match report.starts_with("failed to mount") {
                true => report.to_owned(),
                false => format!("{what}: {}", missing_log(log, report)),
            };
        }
        match last_error(log, from) {
            Some(text) => format!("{what}: {text}"),
            None => {
                let end = format!("{} did not terminate successfully: {status}", self.name);
                format!("{what}: {}", missing_log(log, &end))
            }
        }
    }
}

fn missing_log(log: &Path, end: &str) -> String {
    match rustix::fs::access(log, rustix::fs::Access::READ_OK) {
        Ok(()) => end.to_owned(),
        Err(error) => {
            let why = format!("open {}: {}", log.display(), words(&error.into()));
            format!("unable to retrieve OCI runtime error ({why}): {end}")
        }
    }
}

/// The environment as `execve` takes it.
pub(crate) fn block(environment: &[(OsString, OsString)]) -> Vec<CString> {
    environment
        .iter()
        .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect()
}

/// The last entry of level `error` in a JSON log, from byte `from` on.
fn last_error(log: &Path, from: u64) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let member = |line: &str, key| json::member(line, key).and_then(json::string);
    let found = text
        .lines()
        .filter(|line| member(line, "level").as_deref() == Some("error"))
        .filter_map(|line| member(line, "msg"))
        .next_back();
    found.map(|text| text.trim().to_owned())
}

/// Length of the log now: what the next command adds begins there.
pub(crate) fn log_length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |data| data.len())
}

/// The socket on which a runtime hands over the terminal.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: OwnedFd,
    path: PathBuf,
    /// Keeps the directory open that `argument` goes through.
    dir: Option<OwnedFd>,
}

impl ConsoleSocket {
    pub(crate) fn bind(path: PathBuf) -> io::Result<Self> {
        let _ = rustix::fs::unlink(&path);
        let listener = socket::listen(&path)?;
        let long = path.as_os_str().len() > 100;
        let dir = match path.parent() {
            Some(parent) if long => Some(rustix::fs::open(
                parent,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?),
            _ => None,
        };
        Ok(Self { listener, path, dir })
    }

    /// The path to give to the runtime, short enough for a socket.
    pub(crate) fn argument(&self) -> OsString {
        match (&self.dir, self.path.file_name()) {
            (Some(dir), Some(name)) => {
                let own = rustix::process::getpid().as_raw_nonzero();
                PathBuf::from(format!("/proc/{own}/fd/{}", dir.as_raw_fd()))
                    .join(name)
                    .into()
            }
            _ => self.path.clone().into(),
        }
    }

    /// The terminal, which a runtime that ended well has sent.
    pub(crate) fn receive(&self) -> Option<OwnedFd> {
        let connection = socket::accept(&self.listener)?;
        let mut name = [0; 4096];
        let (_, fds) = lighter_sys::fdpass::receive(&connection, &mut name).ok()?;
        fds.into_iter().next()
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}
