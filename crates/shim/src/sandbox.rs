//! The sandbox service: a pod without a process of its own. The shim itself is what lives from its start to its stop.
//!
//! Source: containerd's `api/runtime/sandbox/v1/sandbox.proto`. Containers join through the task service; they end with the
//! sandbox. What needs a process (a root, a first container) a caller makes as a container.

use std::collections::HashMap;

use lighter_shim_api::frame::{code, status};
use lighter_shim_api::sandbox::{
    CreateRequest, MetricsResponse, Named, PlatformResponse, StartResponse, StatusRequest, StatusResponse,
    StopRequest, WaitResponse, WireMetric, WirePlatform,
};
use lighter_shim_api::ttrpc::{Request, Status};
use lighter_shim_api::{Message, Timestamp};

use crate::container::Caller;
use crate::server::{Server, timestamp};
use crate::task::{Answer, read};

/// The words of the kubelet's interface, which callers pass on.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";
const NOTHING: Answer = Ok(Some(Vec::new()));

/// What the shim knows of its sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    id: String,
    netns: String,
    created: Timestamp,
    started: bool,
    stopped: Option<Timestamp>,
    waiters: Vec<Caller>,
}

impl Server {
    /// Serves one request of the sandbox service.
    pub(crate) fn call_sandbox(&mut self, caller: Caller, request: &Request) -> Answer {
        let payload = request.payload.as_slice();
        if request.method == "CreateSandbox" {
            return self.create_sandbox(read(payload)?);
        }
        // Every other request has the id in the same place.
        let named: Named = read(payload)?;
        let now = timestamp(self.now());
        let own = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
        let sandbox = self
            .sandbox
            .as_mut()
            .filter(|sandbox| sandbox.id == named.sandbox_id);
        let sandbox = sandbox.ok_or_else(|| {
            let text = format!("sandbox {:?}: not found", named.sandbox_id);
            status(code::NOT_FOUND, text)
        })?;
        let answer = match request.method.as_str() {
            "StartSandbox" => {
                if sandbox.started || sandbox.stopped.is_some() {
                    let text = format!(
                        "sandbox {}: it was started before: failed precondition",
                        sandbox.id
                    );
                    return Err(status(code::FAILED_PRECONDITION, text));
                }
                sandbox.started = true;
                StartResponse {
                    pid: own,
                    created_at: Some(sandbox.created),
                }
                .encode_to_vec()
            }
            "Platform" => platform().encode_to_vec(),
            "StopSandbox" => {
                let _: StopRequest = read(payload)?;
                return self.stop_sandbox(now);
            }
            "WaitSandbox" => match sandbox.stopped {
                Some(at) => ended(at),
                None => {
                    sandbox.waiters.push(caller);
                    return Ok(None);
                }
            },
            "SandboxStatus" => {
                let StatusRequest { verbose, .. } = read(payload)?;
                sandbox.status(own, verbose).encode_to_vec()
            }
            "PingSandbox" => Vec::new(),
            "ShutdownSandbox" => {
                let stopped = self.stop_sandbox(now);
                self.sandbox = None;
                self.stop();
                return stopped;
            }
            "SandboxMetrics" => MetricsResponse {
                metrics: Some(WireMetric {
                    timestamp: Some(now),
                    id: named.sandbox_id,
                    // It has no cgroup; its containers' are asked for one by one.
                    data: None,
                }),
            }
            .encode_to_vec(),
            other => return Err(status(code::UNIMPLEMENTED, format!("method {other}"))),
        };
        Ok(Some(answer))
    }

    fn create_sandbox(&mut self, request: CreateRequest) -> Answer {
        if let Some(sandbox) = &self.sandbox {
            let text = format!("sandbox {}: already exists", sandbox.id);
            return Err(status(code::ALREADY_EXISTS, text));
        }
        if !request.rootfs.is_empty() {
            return Err(refused("a sandbox of this shim has no process and needs no root"));
        }
        if request.sandbox_id.is_empty() {
            return Err(refused("a sandbox needs an id"));
        }
        self.sandbox = Some(Sandbox {
            id: request.sandbox_id,
            netns: request.netns_path,
            created: timestamp(self.now()),
            started: false,
            stopped: None,
            waiters: Vec::new(),
        });
        NOTHING
    }

    /// Kills what runs in the sandbox, and tells who waits. The containers are deleted by who made them.
    fn stop_sandbox(&mut self, now: Timestamp) -> Answer {
        let Some(sandbox) = &mut self.sandbox else {
            return NOTHING;
        };
        if sandbox.stopped.is_some() {
            return NOTHING;
        }
        sandbox.stopped = Some(now);
        let waiters = std::mem::take(&mut sandbox.waiters);
        for process in self.processes.values() {
            // Our children, not collected yet: their pids are nobody else's.
            if process.exec_id.is_empty() && process.pid > 0 && process.exit.is_none() {
                let _ = lighter_sys::process::kill(process.pid, 9);
            }
        }
        for waiter in waiters {
            self.answer(waiter, Ok(ended(now)));
        }
        NOTHING
    }
}

impl Sandbox {
    fn status(&self, own: u32, verbose: bool) -> StatusResponse {
        let ready = self.started && self.stopped.is_none();
        let mut info = HashMap::new();
        if verbose && !self.netns.is_empty() {
            info.insert("netnsPath".to_owned(), self.netns.clone());
        }
        StatusResponse {
            sandbox_id: self.id.clone(),
            pid: if ready { own } else { 0 },
            state: if ready { READY } else { NOT_READY }.to_owned(),
            info,
            created_at: Some(self.created),
            exited_at: self.stopped,
            extra: None,
        }
    }
}

fn ended(at: Timestamp) -> Vec<u8> {
    WaitResponse {
        exit_status: 0,
        exited_at: Some(at),
    }
    .encode_to_vec()
}

/// Of this machine, in the words of Go.
fn platform() -> PlatformResponse {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "aarch64" => ("arm64", "v8"),
        "x86" => ("386", ""),
        other => (other, ""),
    };
    PlatformResponse {
        platform: Some(WirePlatform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }),
    }
}

fn refused(text: &str) -> Status {
    status(code::INVALID_ARGUMENT, format!("{text}: invalid argument"))
}
