//! Commands under way, and what comes after them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use lighter_log_write::Time;
use lighter_shim_api::events::{
    TaskCreate, TaskDelete, TaskExecStarted, TaskExit, TaskIo, TaskPaused, TaskResumed, TaskStart,
};
use lighter_shim_api::frame::{code, status};
use lighter_shim_api::task::{CreateTaskResponse, DeleteResponse, StartResponse, WaitResponse};
use lighter_shim_api::ttrpc::Status;
use prost::Message;
use rustix::process::WaitStatus;

use crate::container::{Caller, Exit};
use crate::poll::{Moved, read};
use crate::runtime::{Call, ConsoleSocket, log_length};
use crate::server::{Server, timestamp};
use crate::{cgroup, child, rootfs};

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) work: Work,
    pub(crate) container: String,
    pub(crate) caller: Option<Caller>,
    pub(crate) report: OwnedFd,
    pub(crate) log: PathBuf,
    /// Where the log ended before.
    pub(crate) log_from: u64,
}

/// What it is for.
#[derive(Debug)]
pub(crate) enum Work {
    Create {
        process: u32,
        console: Option<ConsoleSocket>,
        rootfs: Vec<lighter_shim_api::types::Mount>,
    },
    /// The root of a container that comes back from a checkpoint.
    Mount {
        process: u32,
        rootfs: Vec<lighter_shim_api::types::Mount>,
    },
    Restore {
        process: u32,
        console: Option<ConsoleSocket>,
    },
    Checkpoint {
        images: String,
        /// CRIU's working directory, and whether it stays.
        work: PathBuf,
        keep: bool,
    },
    Start {
        process: u32,
    },
    Exec {
        process: u32,
        console: Option<ConsoleSocket>,
        files: Vec<PathBuf>,
    },
    Pause,
    Resume,
    Update {
        file: PathBuf,
    },
    Kill,
    Delete {
        process: u32,
    },
    /// The last step of a deletion, or of a creation that failed: the answer is ready.
    Unmount {
        answer: Result<Vec<u8>, Status>,
    },
    /// Nobody waits for it.
    Alone,
}

impl Server {
    /// Calls the runtime of `container`; `work` goes on when it has ended.
    pub(crate) fn begin(
        &mut self,
        container: &str,
        caller: Option<Caller>,
        log: PathBuf,
        call: Call<'_>,
        work: Work,
    ) -> Result<(), (Status, Work)> {
        let Some(found) = self.containers.get(container) else {
            return Err((not_found(), work));
        };
        let log_from = log_length(&log);
        match found.runtime.start(&log, call) {
            Ok(child) => {
                let report = child.report;
                let container = container.to_owned();
                self.operations.insert(
                    child.pid,
                    Operation {
                        work,
                        container,
                        caller,
                        report,
                        log,
                        log_from,
                    },
                );
                Ok(())
            }
            Err(error) => {
                let what = work.failure();
                let text = found
                    .runtime
                    .failure(what, &log, log_from, &error.to_string(), "");
                Err((status(code::UNKNOWN, text), work))
            }
        }
    }

    /// A command has ended.
    pub(crate) fn finish(&mut self, operation: Operation, end: WaitStatus) {
        let Operation {
            work,
            container,
            caller,
            report,
            log,
            log_from,
        } = operation;
        let failed = (end.exit_status() != Some(0)).then(|| {
            let mut bytes = [0; 1024];
            let count = if let Moved::Bytes(count) = read(&report, &mut bytes) {
                count
            } else {
                0
            };
            let report = String::from_utf8_lossy(&bytes[..count]).into_owned();
            match self.containers.get(&container) {
                Some(found) => {
                    found
                        .runtime
                        .failure(work.failure(), &log, log_from, &report, &end_words(end))
                }
                None => report,
            }
        });
        let result = match work {
            Work::Create {
                process,
                console,
                rootfs,
            } => {
                return self.created(&container, process, caller, console, rootfs, failed);
            }
            Work::Mount { process, rootfs } => {
                return self.mounted(&container, process, caller, rootfs, failed);
            }
            Work::Restore { process, console } => {
                return self.restored(&container, process, caller, console, failed);
            }
            Work::Checkpoint { images, work, keep } => {
                self.checkpointed(container, images, &work, keep, failed)
            }
            Work::Start { process } => return self.started(&container, process, caller, failed),
            Work::Exec {
                process,
                console,
                files,
            } => {
                for file in files.iter().skip(1) {
                    let _ = rustix::fs::unlink(file);
                }
                return self.exec_started(&container, process, caller, console, &files, failed);
            }
            Work::Delete { process } => return self.runtime_deleted(&container, process, caller, failed),
            Work::Unmount { answer } => {
                let answer = match failed {
                    Some(text) if answer.is_ok() => Err(status(code::UNKNOWN, text)),
                    _ => answer,
                };
                return self.reply(caller, answer);
            }
            Work::Pause | Work::Resume => {
                let paused = matches!(work, Work::Pause);
                if failed.is_none() {
                    if let Some(found) = self.containers.get_mut(&container) {
                        found.paused = paused;
                    }
                    let now = timestamp(self.now());
                    if paused {
                        self.publisher.publish(
                            &TaskPaused {
                                container_id: container,
                            },
                            now,
                            &self.poll,
                        );
                    } else {
                        self.publisher.publish(
                            &TaskResumed {
                                container_id: container,
                            },
                            now,
                            &self.poll,
                        );
                    }
                }
                failed
            }
            Work::Update { file } => {
                let _ = rustix::fs::unlink(&file);
                failed
            }
            Work::Kill => {
                let answer = failed.map_or(Ok(Vec::new()), |text| Err(kill_error(&text)));
                return self.reply(caller, answer);
            }
            Work::Alone => None,
        };
        let answer = result.map_or(Ok(Vec::new()), |text| Err(status(code::UNKNOWN, text)));
        self.reply(caller, answer);
    }

    pub(crate) fn reply(&mut self, caller: Option<Caller>, answer: Result<Vec<u8>, Status>) {
        if let Some(caller) = caller {
            self.answer(caller, answer);
        }
    }

    fn created(
        &mut self,
        id: &str,
        number: u32,
        caller: Option<Caller>,
        console: Option<ConsoleSocket>,
        mounts: Vec<lighter_shim_api::types::Mount>,
        failed: Option<String>,
    ) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let bundle = container.bundle.clone();
        let result = match failed {
            Some(text) => Err(text),
            None => pid_from(&bundle.join("init.pid"))
                .ok_or_else(|| "failed to retrieve OCI runtime container pid".to_owned()),
        };
        let result = result.and_then(|pid| self.adopt(number, pid, console).map(|()| pid));
        match result {
            Ok(pid) => {
                self.enter_cgroup(id, pid);
                self.tell_creation(id, number, mounts, pid.cast_unsigned(), caller);
            }
            Err(text) => self.create_failed(id, caller, status(code::UNKNOWN, text)),
        }
    }

    /// The root of a container that comes back is mounted, or not.
    fn mounted(
        &mut self,
        id: &str,
        number: u32,
        caller: Option<Caller>,
        mounts: Vec<lighter_shim_api::types::Mount>,
        failed: Option<String>,
    ) {
        match failed {
            Some(text) => self.create_failed(id, caller, status(code::UNKNOWN, text)),
            None => self.tell_creation(id, number, mounts, 0, caller),
        }
    }

    fn tell_creation(
        &mut self,
        id: &str,
        number: u32,
        mounts: Vec<lighter_shim_api::types::Mount>,
        pid: u32,
        caller: Option<Caller>,
    ) {
        let (Some(container), Some(process)) = (self.containers.get(id), self.processes.get(&number)) else {
            return;
        };
        let stdio = process.stdio.clone();
        let restore = container.restore.as_ref();
        let event = TaskCreate {
            container_id: id.to_owned(),
            bundle: container.bundle.to_string_lossy().into_owned(),
            rootfs: mounts,
            io: Some(TaskIo {
                stdin: stdio.stdin,
                stdout: stdio.stdout,
                stderr: stdio.stderr,
                terminal: stdio.terminal,
            }),
            checkpoint: restore.map(|restore| restore.images.clone()).unwrap_or_default(),
            pid,
        };
        self.publisher.publish(&event, timestamp(self.now()), &self.poll);
        self.reply(caller, Ok(CreateTaskResponse { pid }.encode_to_vec()));
        self.settled(number);
    }

    /// Learns the cgroup that the runtime has put the first process into.
    pub(crate) fn enter_cgroup(&mut self, id: &str, pid: i32) {
        if let Some(container) = self.containers.get_mut(id) {
            container.cgroups = cgroup::of(pid);
            container.cgroup = cgroup::directory(&container.cgroups);
        }
        self.watch_oom(id);
    }

    /// A container that could not be created leaves nothing behind.
    pub(crate) fn create_failed(&mut self, id: &str, caller: Option<Caller>, why: Status) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let (mounted, rootfs, init) = (container.mounted, container.bundle.join("rootfs"), container.init);
        self.end_io(init);
        if let Some(process) = self.processes.get_mut(&init) {
            process.deleted = true;
        }
        self.forget(init);
        if mounted {
            self.unmount(id, caller, &rootfs, Err(why));
        } else {
            self.reply(caller, Err(why));
        }
        self.containers.remove(id);
    }

    fn unmount(&mut self, id: &str, caller: Option<Caller>, path: &Path, answer: Result<Vec<u8>, Status>) {
        let work = || {
            rootfs::detach(path).map_err(|error| format!("failed rootfs umount: {}", child::words(&error)))
        };
        match child::run(work) {
            Ok(started) => {
                let operation = Operation {
                    work: Work::Unmount { answer },
                    container: id.to_owned(),
                    caller,
                    report: started.report,
                    log: PathBuf::new(),
                    log_from: 0,
                };
                self.operations.insert(started.pid, operation);
            }
            Err(_) => self.reply(caller, answer),
        }
    }

    /// Learns a process's pid and takes its terminal.
    pub(crate) fn adopt(
        &mut self,
        number: u32,
        pid: i32,
        console: Option<ConsoleSocket>,
    ) -> Result<(), String> {
        let Some(process) = self.processes.get_mut(&number) else {
            return Ok(());
        };
        process.pid = pid;
        if let Some(console) = console {
            let master = console.receive().ok_or("failed to retrieve console master")?;
            process.io.set_terminal(master, &self.poll);
        }
        process.io.begin(&self.poll);
        if let Some(index) = self.strangers.iter().position(|(stranger, ..)| *stranger == pid) {
            let (_, end, at) = self.strangers.swap_remove(index);
            process.exit = Some(exit(end, at));
        }
        Ok(())
    }

    /// The command about a process is over: a death meanwhile is told now.
    pub(crate) fn settled(&mut self, number: u32) {
        if let Some(process) = self.processes.get_mut(&number) {
            process.busy = false;
            if process.exit.is_some() {
                self.tell(number);
            }
        }
    }

    fn started(&mut self, id: &str, number: u32, caller: Option<Caller>, failed: Option<String>) {
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        let pid = process.pid.cast_unsigned();
        match failed {
            Some(text) => self.reply(caller, Err(status(code::UNKNOWN, text))),
            None => {
                process.started = true;
                let event = TaskStart {
                    container_id: id.to_owned(),
                    pid,
                };
                self.publisher.publish(&event, timestamp(self.now()), &self.poll);
                self.reply(caller, Ok(StartResponse { pid }.encode_to_vec()));
            }
        }
        self.settled(number);
    }

    fn exec_started(
        &mut self,
        id: &str,
        number: u32,
        caller: Option<Caller>,
        console: Option<ConsoleSocket>,
        files: &[PathBuf],
        failed: Option<String>,
    ) {
        let pid_file = files
            .first()
            .map(|file| (pid_from(file), rustix::fs::unlink(file)));
        let result = match (failed, pid_file) {
            (Some(text), _) => Err(text),
            (None, Some((Some(pid), _))) => self.adopt(number, pid, console).map(|()| pid),
            (None, _) => Err("failed to retrieve OCI runtime exec pid".to_owned()),
        };
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        match result {
            Ok(pid) => {
                process.started = true;
                let pid = pid.cast_unsigned();
                let (container_id, exec_id) = (id.to_owned(), process.exec_id.clone());
                let event = TaskExecStarted {
                    container_id,
                    exec_id,
                    pid,
                };
                self.publisher.publish(&event, timestamp(self.now()), &self.poll);
                self.reply(caller, Ok(StartResponse { pid }.encode_to_vec()));
            }
            Err(text) => {
                self.reply(caller, Err(status(code::UNKNOWN, text)));
                self.end_io(number);
            }
        }
        self.settled(number);
    }

    pub(crate) fn end_io(&mut self, number: u32) {
        let now = self.now();
        if let Some(process) = self.processes.get_mut(&number) {
            if !process.started {
                process.io.discard();
            }
            let late = process.io.exited(now, &self.poll);
            process.io.abandon(now, &self.poll);
            self.keep_late(late);
        }
    }

    /// A process has died.
    pub(crate) fn died(&mut self, number: u32, end: WaitStatus, at: Time) {
        if let Some(process) = self.processes.get_mut(&number) {
            process.exit = Some(exit(end, at));
            if !process.busy {
                self.tell(number);
            }
        }
    }

    /// Output first, then whoever waits, then the event.
    fn tell(&mut self, number: u32) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        let Some(Exit {
            status: exit_status,
            at,
        }) = process.exit
        else {
            return;
        };
        if process.told {
            return;
        }
        process.told = true;
        let late = process.io.exited(now, &self.poll);
        let waiters = std::mem::take(&mut process.waiters);
        let (container_id, pid) = (process.container.clone(), process.pid.cast_unsigned());
        let first = process.exec_id.is_empty();
        let id = if first {
            container_id.clone()
        } else {
            process.exec_id.clone()
        };
        self.keep_late(late);
        let answer = WaitResponse {
            exit_status,
            exited_at: Some(at),
        }
        .encode_to_vec();
        for waiter in waiters {
            self.answer(waiter, Ok(answer.clone()));
        }
        self.tell_oom(&container_id);
        let event = TaskExit {
            container_id: container_id.clone(),
            id,
            pid,
            exit_status,
            exited_at: Some(at),
            exit_reason: 0,
        };
        self.publisher.publish(&event, at, &self.poll);
        if first
            && self
                .containers
                .get(&container_id)
                .is_some_and(|container| container.shared_pids)
        {
            self.kill_all(&container_id, "KILL", None, Work::Alone);
        }
    }

    pub(crate) fn kill_all(&mut self, id: &str, signal: &str, caller: Option<Caller>, work: Work) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let log = container.bundle.join("log.json");
        let arguments = ["kill", "--all", id, signal].map(Into::into).to_vec();
        let call = Call {
            arguments,
            ..Call::default()
        };
        if let Err((why, _)) = self.begin(id, caller, log, call, work) {
            self.reply(caller, Err(why));
        }
    }

    fn runtime_deleted(&mut self, id: &str, number: u32, caller: Option<Caller>, failed: Option<String>) {
        let gone = failed.as_ref().is_none_or(|text| text.contains("does not exist"));
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let (mounted, rootfs) = (container.mounted, container.bundle.join("rootfs"));
        let answer = match failed {
            Some(text) if !gone => Err(status(code::UNKNOWN, text)),
            _ => Ok(self.deleted(number)),
        };
        if gone {
            self.containers.remove(id);
        } else if let Some(process) = self.processes.get_mut(&number) {
            process.busy = false;
        }
        if mounted {
            self.unmount(id, caller, &rootfs, answer);
        } else {
            self.reply(caller, answer);
        }
    }

    /// Takes a process out of the books. The answer to whoever asked for it.
    pub(crate) fn deleted(&mut self, number: u32) -> Vec<u8> {
        let now = self.now();
        let mut response = DeleteResponse::default();
        let Some(process) = self.processes.get_mut(&number) else {
            return response.encode_to_vec();
        };
        process.io.abandon(now, &self.poll);
        process.deleted = true;
        response.pid = process.pid.cast_unsigned();
        if let Some(exit) = process.exit {
            response.exit_status = exit.status;
            response.exited_at = Some(exit.at);
        }
        if process.exec_id.is_empty() {
            let event = TaskDelete {
                container_id: process.container.clone(),
                pid: response.pid,
                exit_status: response.exit_status,
                exited_at: response.exited_at,
                id: String::new(),
            };
            self.publisher.publish(&event, timestamp(now), &self.poll);
        }
        self.forget(number);
        response.encode_to_vec()
    }
}

impl Work {
    fn failure(&self) -> &'static str {
        match self {
            Self::Create { .. } => "OCI runtime create failed",
            Self::Mount { .. } => "failed to mount rootfs component",
            Self::Restore { .. } => "OCI runtime restore failed",
            Self::Checkpoint { .. } => "OCI runtime checkpoint failed",
            Self::Start { .. } => "OCI runtime start failed",
            Self::Exec { .. } => "OCI runtime exec failed",
            Self::Pause => "OCI runtime pause failed",
            Self::Resume => "OCI runtime resume failed",
            Self::Update { .. } => "OCI runtime update failed",
            Self::Kill | Self::Alone => "OCI runtime kill failed",
            Self::Delete { .. } => "failed to delete task",
            Self::Unmount { .. } => "failed rootfs umount",
        }
    }
}

fn kill_error(text: &str) -> Status {
    let gone = [
        "process already finished",
        "not running",
        "no such process",
        "No such process",
    ];
    if gone.iter().any(|words| text.contains(words)) {
        status(code::NOT_FOUND, "process already finished: not found")
    } else if text.contains("does not exist") {
        status(code::NOT_FOUND, "no such container: not found")
    } else {
        status(code::UNKNOWN, format!("unknown error after kill: {text}"))
    }
}

pub(crate) fn not_found() -> Status {
    status(code::NOT_FOUND, "container not created: not found")
}

fn exit(end: WaitStatus, at: Time) -> Exit {
    let status = match (end.exit_status(), end.terminating_signal()) {
        (Some(status), _) => status,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    Exit {
        status: status.cast_unsigned(),
        at: timestamp(at),
    }
}

fn end_words(end: WaitStatus) -> String {
    match (end.exit_status(), end.terminating_signal()) {
        (Some(status), _) => format!("exit status {status}"),
        (None, Some(9)) => "signal: killed".to_owned(),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

pub(crate) fn pid_from(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
}
