//! Starting shims, finding them again, and speaking to them.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use lighter_shim_api::frame::code;
use lighter_shim_api::service::{TASK_V2, TASK_V3};
use lighter_shim_api::task::{self, DeleteResponse};
use lighter_shim_api::{Any, Message};
use lighter_stdx::unix_socket;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::bundle::{Bootstrap, Bundle, Exit};
use super::ttrpc::{CallError, Client};
use crate::config::{Config, DEFAULT_RUNTIME, DEFAULT_SHIM};
use crate::error::{Kind, io as failed};
use crate::{Error, Result, time};

/// Below the state directory: sockets of our shims, at a name that can be derived.
const SOCKETS: &str = "s";
/// How long `start` and `delete` of a shim may take.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a shim, for one of its containers.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    client: Client,
    service: &'static str,
    id: String,
}

impl Shim {
    /// Connects to the shim of `bundle`.
    pub(crate) fn connect(bundle: &Bundle, bootstrap: &Bootstrap) -> Result<Shim> {
        let path = socket_path(bootstrap)?;
        let client = unix_socket::connect(&path)
            .and_then(Client::new)
            .map_err(failed("connect to", &path))?;
        let service = if bootstrap.version >= 3 { TASK_V3 } else { TASK_V2 };
        Ok(Shim {
            client,
            service,
            id: bundle.id.clone(),
        })
    }

    /// Calls a method of the task service; without a timeout it waits while the shim lives.
    pub(crate) async fn call<Q: Message, A: Message + Default>(
        &self,
        method: &'static str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        self.call_service(self.service, method, request, timeout).await
    }

    /// The same of another service that the shim serves.
    pub(crate) async fn call_service<Q: Message, A: Message + Default>(
        &self,
        service: &'static str,
        method: &'static str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        let answer = self.client.call(service, method, request, timeout).await;
        answer.map_err(|error| match error {
            CallError::Closed => Error::ShimGone(self.id.clone()),
            CallError::Timeout => Error::ShimSlow {
                id: self.id.clone(),
                method,
            },
            CallError::Status(status) => Error::Answer {
                kind: kind(status.code),
                message: status.message,
            },
        })
    }

    /// Waits for the exit of a process; an empty `exec_id` is the init.
    pub(crate) async fn wait(&self, exec_id: &str) -> Result<Exit> {
        let request = task::WaitRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
        };
        let answer: task::WaitResponse = self.call("Wait", &request, None).await?;
        Ok(exit(answer.exit_status, answer.exited_at.as_ref()))
    }

    /// What the shim knows of a process.
    pub(crate) async fn state(&self, exec_id: &str, timeout: Duration) -> Result<task::StateResponse> {
        let request = task::StateRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
        };
        self.call("State", &request, Some(timeout)).await
    }

    /// Asks the shim to end, and waits a moment until it has. A shim that serves others stays.
    pub(crate) async fn shutdown(&self) {
        let request = task::ShutdownRequest {
            id: self.id.clone(),
            now: false,
        };
        let gone = async {
            let answer: Result<()> = self.call("Shutdown", &request, None).await;
            if let Err(error @ Error::Answer { .. }) = answer {
                tracing::debug!(id = %self.id, %error, "shutdown of the shim");
            }
            self.client.closed().await;
        };
        if tokio::time::timeout(Duration::from_secs(2), gone).await.is_err() {
            tracing::debug!(id = %self.id, "the shim stays after its shutdown");
        }
    }

    /// Returns when the shim is gone.
    pub(crate) async fn closed(&self) {
        self.client.closed().await;
    }
}

/// An exit as a shim tells it.
pub(crate) fn exit(status: u32, at: Option<&prost_types::Timestamp>) -> Exit {
    let at = at.map_or(Timestamp::UNIX_EPOCH, time::from_wire);
    Exit {
        status,
        at,
        known: true,
    }
}

fn kind(status: i32) -> Kind {
    match status {
        code::CANCELLED => Kind::Canceled,
        code::INVALID_ARGUMENT => Kind::InvalidArgument,
        code::DEADLINE_EXCEEDED => Kind::DeadlineExceeded,
        code::NOT_FOUND => Kind::NotFound,
        code::ALREADY_EXISTS => Kind::AlreadyExists,
        7 => Kind::PermissionDenied,
        8 => Kind::Exhausted,
        code::FAILED_PRECONDITION => Kind::FailedPrecondition,
        11 => Kind::OutOfRange,
        code::UNIMPLEMENTED => Kind::Unimplemented,
        code::INTERNAL => Kind::Internal,
        code::UNAVAILABLE => Kind::Unavailable,
        16 => Kind::Unauthenticated,
        _ => Kind::Unknown,
    }
}

/// The program that serves `runtime`: `io.containerd.a.b` is `containerd-shim-a-b`. An absolute `path`, or an absolute runtime,
/// is taken as it is.
pub(crate) fn find(config: &Config, runtime: &str, path: &str) -> Result<PathBuf> {
    for absolute in [path, runtime].map(Path::new) {
        if absolute.is_absolute() {
            return Ok(absolute.to_owned());
        }
    }
    let runtime = if runtime.is_empty() {
        DEFAULT_RUNTIME
    } else {
        runtime
    };
    let binary = match runtime {
        "io.containerd.runc.v2" => config.runc_shim.clone(),
        _ => {
            let mut parts = runtime.rsplit('.');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(version), Some(name), Some(_)) if !version.is_empty() && !name.is_empty() => {
                    format!("containerd-shim-{name}-{version}")
                }
                _ => {
                    return Err(Error::invalid(
                        "runtime",
                        runtime,
                        "it is no name such as io.containerd.runc.v2",
                    ));
                }
            }
        }
    };
    if Path::new(&binary).is_absolute() {
        return Ok(PathBuf::from(binary));
    }
    if binary.contains('/') {
        return Err(Error::invalid("runtime", runtime, "it has a slash"));
    }
    let found = config
        .programs
        .iter()
        .map(|dir| dir.join(&binary))
        .find(|path| path.is_file());
    found.ok_or_else(|| Error::NoShim {
        runtime: runtime.to_owned(),
        binary,
    })
}

/// Whether the program is our shim: it needs no log fifo.
fn ours(binary: &Path) -> bool {
    binary.file_name().is_some_and(|name| name == DEFAULT_SHIM)
}

/// Starts the shim of `bundle` and tells how to reach it.
pub(crate) async fn start(
    config: &Config,
    bundle: &Bundle,
    binary: &Path,
    options: Option<&Any>,
) -> Result<Bootstrap> {
    let mut command = program(config, bundle, binary);
    if config.debug {
        command.arg("-debug");
    }
    command.arg("start");
    let input = options.map(Message::encode_to_vec).unwrap_or_default();
    let output = run(command, binary, "start", &input).await?;
    let text = String::from_utf8_lossy(&output);
    let text = text.trim();
    if text.starts_with('{') {
        serde_json::from_str(text).map_err(|error| Error::Shim {
            binary: binary.to_owned(),
            action: "start",
            output: format!("{text:?} is no bootstrap document: {error}"),
        })
    } else {
        Ok(Bootstrap {
            version: 2,
            address: text.to_owned(),
            protocol: "ttrpc".to_owned(),
        })
    }
}

/// Cleans up after a shim that is gone: the program kills and deletes the container.
pub(crate) async fn delete(config: &Config, bundle: &Bundle, binary: &Path) -> Result<Exit> {
    let mut command = program(config, bundle, binary);
    command.arg("-bundle").arg(&bundle.path).arg("delete");
    let output = run(command, binary, "delete", &[]).await?;
    let answer = DeleteResponse::decode(output.as_slice()).map_err(|error| Error::Shim {
        binary: binary.to_owned(),
        action: "delete",
        output: error.to_string(),
    })?;
    Ok(exit(answer.exit_status, answer.exited_at.as_ref()))
}

fn program(config: &Config, bundle: &Bundle, binary: &Path) -> Command {
    let mut events = config.address.clone().into_os_string();
    events.push(".ttrpc");
    let mut command = Command::new(binary);
    command
        .args(["-namespace", &bundle.namespace, "-id", &bundle.id])
        .arg("-address")
        .arg(&config.address)
        .current_dir(&bundle.path)
        .env("TTRPC_ADDRESS", events)
        .env("GRPC_ADDRESS", &config.address)
        .env("NAMESPACE", &bundle.namespace)
        .env("MAX_SHIM_VERSION", "3")
        .env("LIGHTER_SHIM_SOCKET_DIR", config.state.join(SOCKETS))
        .env("GOMAXPROCS", "2")
        .process_group(0);
    if let Ok(own) = std::env::current_exe() {
        command.arg("-publish-binary").arg(own);
    }
    command
}

async fn run(mut command: Command, binary: &Path, action: &'static str, input: &[u8]) -> Result<Vec<u8>> {
    let fail = |output: String| Error::Shim {
        binary: binary.to_owned(),
        action,
        output,
    };
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    // One that hangs ends with our patience.
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(failed("run", binary))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A shim that does not read its options says so itself.
        let _ = stdin.write_all(input).await;
    }
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let finished = async {
        // The error stream may be held open by what the program leaves running: it is not waited for.
        if let Some(stdout) = &mut stdout {
            stdout.read_to_end(&mut out).await?;
        }
        child.wait().await
    };
    let status = tokio::time::timeout(PROGRAM_TIMEOUT, finished)
        .await
        .map_err(|_| fail("it did not end in time".to_owned()))?
        .map_err(failed("run", binary))?;
    if status.success() {
        return Ok(out);
    }
    if let Some(stderr) = &mut stderr {
        // What is there is enough.
        let _ = tokio::time::timeout(Duration::from_millis(100), stderr.read_to_end(&mut err)).await;
    }
    let text = [out, err].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Err(fail(if text.is_empty() { status.to_string() } else { text }))
}

/// Where the shim of `bundle` may listen, the best knowledge first.
pub(crate) fn addresses(config: &Config, bundle: &Bundle) -> Vec<Bootstrap> {
    let ttrpc = |version, address| Bootstrap {
        version,
        address,
        protocol: "ttrpc".to_owned(),
    };
    let mut found: Vec<Bootstrap> = bundle.read("bootstrap.json").into_iter().collect();
    if let Some(address) = bundle.read_text("address") {
        // Peers of containerd 1.x write it themselves.
        found.push(ttrpc(2, address));
    }
    let name = hex::encode(Sha256::digest(format!("{}/{}", bundle.namespace, bundle.id)));
    let path = config.state.join(SOCKETS).join(name);
    found.push(ttrpc(3, format!("unix://{}", path.display())));
    found
}

/// Removes the sockets of a shim of `bundle` that died without doing so; one that somebody listens on is left.
pub(crate) fn remove_sockets(config: &Config, bundle: &Bundle) {
    for path in addresses(config, bundle)
        .iter()
        .filter_map(|bootstrap| socket_path(bootstrap).ok())
    {
        let refused = unix_socket::connect(&path)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        if refused && let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "a dead shim's socket is not removed");
        }
    }
}

fn socket_path(bootstrap: &Bootstrap) -> Result<PathBuf> {
    if bootstrap.protocol != "ttrpc" {
        return Err(Error::Unimplemented(format!(
            "the shim protocol {:?}",
            bootstrap.protocol
        )));
    }
    let path = bootstrap
        .address
        .strip_prefix("unix://")
        .unwrap_or(&bootstrap.address);
    Ok(PathBuf::from(path))
}

/// Makes the `log` fifo that shims of containerd insist on, and passes on what they write into it.
pub(crate) fn serve_log(bundle: &Bundle, binary: &Path) -> Result<()> {
    if ours(binary) {
        return Ok(());
    }
    let path = bundle.path.join("log");
    let mode = rustix::fs::Mode::RWXU;
    match rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(failed("make fifo", &path)(error.into())),
    }
    // Open for both: it has no end of file while shims come and go, and a full pipe is never our doing.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0))
        .open(&path)
        .map_err(failed("open", &path))?;
    let receiver = tokio::net::unix::pipe::Receiver::from_file(file).map_err(failed("watch", &path))?;
    tokio::spawn(pass_log(receiver, bundle.clone()));
    Ok(())
}

async fn pass_log(mut from: tokio::net::unix::pipe::Receiver, bundle: Bundle) {
    let mut buffer = vec![0; 4096];
    let mut check = tokio::time::interval(Duration::from_secs(30));
    loop {
        tokio::select! {
            count = from.read(&mut buffer) => match count {
                Ok(count @ 1..) => {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    tracing::debug!(id = %bundle.id, "shim: {}", text.trim_end());
                }
                _ => return,
            },
            _ = check.tick() => if !bundle.path.exists() {
                return;
            },
        }
    }
}
