//! The methods of the task service.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use lighter_shim_api::events::TaskExecAdded;
use lighter_shim_api::frame::{code, status};
use lighter_shim_api::runc_options::ProcessDetails;
use lighter_shim_api::status::ProcessInfo;
use lighter_shim_api::task::{
    CloseIoRequest, ConnectRequest, ConnectResponse, CreateTaskRequest, DeleteRequest, ExecProcessRequest,
    KillRequest, PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, StartRequest,
    StateRequest, StateResponse, StatsRequest, StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use lighter_shim_api::ttrpc::{Request, Status};
use lighter_shim_api::types::Mount;
use lighter_shim_api::{Any, service};
use prost::Message;

use crate::checkpoint::Restore;
use crate::container::{Caller, Container, Exit, Process};
use crate::logger::Running;
use crate::operation::{Work, not_found};
use crate::runtime::{Call, ConsoleSocket, Runtime};
use crate::server::{Deferred, Server, timestamp};
use crate::stdio::{self, Stdio};
use crate::{cgroup, options, record, rootfs, spec, stats};

/// An answer now, or `None`: it comes later.
pub(crate) type Answer = Result<Option<Vec<u8>>, Status>;

const NOTHING: Answer = Ok(Some(Vec::new()));

impl Server {
    /// Serves one request.
    pub(crate) fn call(&mut self, caller: Caller, request: &Request) -> Answer {
        if request.service == service::SANDBOX {
            return self.call_sandbox(caller, request);
        }
        if request.service != service::TASK_V2 && request.service != service::TASK_V3 {
            return Err(status(
                code::UNIMPLEMENTED,
                format!("service {}", request.service),
            ));
        }
        let payload = request.payload.as_slice();
        match request.method.as_str() {
            "State" => self.state(&read(payload)?),
            "Create" => self.create(caller, read(payload)?),
            "Start" => self.start(caller, &read(payload)?),
            "Delete" => self.delete(caller, read(payload)?),
            "Pids" => self.pids(&read(payload)?),
            "Pause" => {
                let request: PauseRequest = read(payload)?;
                self.freeze(caller, &request.id, true)
            }
            "Resume" => {
                let request: ResumeRequest = read(payload)?;
                self.freeze(caller, &request.id, false)
            }
            "Checkpoint" => self.checkpoint(caller, &read(payload)?),
            "Kill" => self.kill(caller, &read(payload)?),
            "Exec" => self.exec(read(payload)?),
            "ResizePty" => self.resize(&read(payload)?),
            "CloseIO" => self.close_io(&read(payload)?),
            "Update" => self.update(caller, &read(payload)?),
            "Wait" => self.wait_for(caller, &read(payload)?),
            "Stats" => self.stats(&read(payload)?),
            "Connect" => self.connect(&read(payload)?),
            "Shutdown" => {
                if self.containers.is_empty() && self.sandbox.is_none() {
                    self.stop();
                }
                NOTHING
            }
            other => Err(status(code::UNIMPLEMENTED, format!("method {other}"))),
        }
    }

    pub(crate) fn container(&self, id: &str) -> Result<&Container, Status> {
        self.containers.get(id).ok_or_else(not_found)
    }

    fn number_of_process(&self, id: &str, exec_id: &str) -> Result<u32, Status> {
        let container = self.container(id)?;
        if exec_id.is_empty() {
            return Ok(container.init);
        }
        let found = container.execs.get(exec_id).copied();
        found.ok_or_else(|| {
            status(
                code::NOT_FOUND,
                format!("process does not exist {exec_id}: not found"),
            )
        })
    }

    fn process(&mut self, id: &str, exec_id: &str) -> Result<&mut Process, Status> {
        let number = self.number_of_process(id, exec_id)?;
        self.processes.get_mut(&number).ok_or_else(not_found)
    }

    fn state(&mut self, request: &StateRequest) -> Answer {
        let container = self.container(&request.id)?;
        let (paused, bundle) = (container.paused, container.bundle.to_string_lossy().into_owned());
        let process = self.process(&request.id, &request.exec_id)?;
        let exit = process.exit.filter(|_| process.told);
        let response = StateResponse {
            id: if request.exec_id.is_empty() {
                request.id.clone()
            } else {
                request.exec_id.clone()
            },
            bundle,
            pid: process.pid.cast_unsigned(),
            status: process.status(paused) as i32,
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
            exec_id: request.exec_id.clone(),
        };
        Ok(Some(response.encode_to_vec()))
    }

    fn create(&mut self, caller: Caller, request: CreateTaskRequest) -> Answer {
        if self.containers.contains_key(&request.id) {
            return Err(status(
                code::ALREADY_EXISTS,
                format!("container {}: already exists", request.id),
            ));
        }
        check_id(&request.id)?;
        let options = options::read(request.options.as_ref())?;
        let restore = Restore::of(&request, &options.criu_work_path);
        let bundle = PathBuf::from(&request.bundle);
        let runtime = Runtime::new(
            &options.binary_name,
            &options.root,
            &self.config.namespace,
            options.systemd_cgroup,
            self.config.program.as_deref(),
            &self.config.environment,
        );
        let unknown = |error: &dyn std::fmt::Display| status(code::UNKNOWN, error.to_string());
        let root = bundle.join("rootfs");
        let plans = rootfs::plan(&request.rootfs, &root).map_err(|error| unknown(&error))?;
        if !plans.is_empty() {
            let made = std::fs::DirBuilder::new().recursive(true).create(&root);
            made.map_err(|error| status(code::UNKNOWN, format!("mkdir {}: {error}", root.display())))?;
        }
        record::write(&bundle, &runtime).map_err(|error| unknown(&error))?;
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let number = self.open_process(&request.id, "", stdio, &runtime, (options.io_uid, options.io_gid))?;
        let shared_pids = spec::shares_pids(&bundle);
        let container = Container {
            bundle,
            runtime,
            init: number,
            execs: BTreeMap::new(),
            paused: false,
            mounted: !plans.is_empty(),
            shared_pids,
            cgroups: String::new(),
            oom_kills: 0,
            oom: None,
            oom_announced: None,
            cgroup: None,
            restore,
            options,
        };
        self.containers.insert(request.id, container);
        self.served = true;
        self.when_logged(caller, number, plans, request.rootfs);
        Ok(None)
    }

    /// Opens the streams of a new process and enters it in the books.
    fn open_process(
        &mut self,
        id: &str,
        exec_id: &str,
        stdio: Stdio,
        runtime: &Runtime,
        owner: (u32, u32),
    ) -> Result<u32, Status> {
        let number = self.number();
        let log_id = if exec_id.is_empty() { id } else { exec_id };
        let ids = (self.config.namespace.as_str(), log_id);
        let opened = stdio::open(&stdio, number, ids, &runtime.environment, owner, &self.poll);
        let (io, logger) = opened.map_err(|error| {
            let text = lighter_stdx::error::chain(&error);
            status(
                code::UNKNOWN,
                format!("failed to create init process I/O: {text}"),
            )
        })?;
        if let Some(logger) = &logger {
            let running = Running {
                process: number,
                idle: None,
                told: false,
            };
            self.loggers.insert(logger.pid, running);
        }
        let process = Process {
            container: id.to_owned(),
            exec_id: exec_id.to_owned(),
            stdio,
            io,
            pid: 0,
            started: false,
            exit: None,
            told: false,
            busy: false,
            waiters: Vec::new(),
            logger,
            deleted: false,
            spec: Vec::new(),
        };
        self.processes.insert(number, process);
        Ok(number)
    }

    /// Starts a process at once, or when its logger is ready.
    fn when_logged(&mut self, caller: Caller, number: u32, plans: Vec<rootfs::Plan>, mounts: Vec<Mount>) {
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        process.busy = true;
        match &mut process.logger {
            Some(logger) => {
                logger.ready.want(&self.poll, crate::poll::READ);
                let since = (self.config.clock)();
                self.deferred.insert(
                    number,
                    Deferred {
                        caller,
                        plans,
                        mounts,
                        since,
                    },
                );
            }
            None => self.begin_process(caller, number, &plans, mounts),
        }
    }

    /// A process's output has where to go, or `failure` says why it has not.
    pub(crate) fn logged(&mut self, number: u32, failure: Option<String>) {
        let Some(deferred) = self.deferred.remove(&number) else {
            return;
        };
        let Deferred {
            caller,
            plans,
            mounts,
            ..
        } = deferred;
        match failure {
            Some(why) => self.not_begun(caller, number, status(code::UNKNOWN, why)),
            None => self.begin_process(caller, number, &plans, mounts),
        }
    }

    fn begin_process(&mut self, caller: Caller, number: u32, plans: &[rootfs::Plan], mounts: Vec<Mount>) {
        let Some(process) = self.processes.get(&number) else {
            return;
        };
        let (id, first) = (process.container.clone(), process.exec_id.is_empty());
        let restores = first
            && self
                .containers
                .get(&id)
                .is_some_and(|found| found.restore.is_some());
        let begun = if restores {
            self.begin_mounts(caller, &id, number, plans, mounts)
        } else if first {
            self.begin_create(caller, &id, number, plans, mounts)
        } else {
            self.begin_exec(caller, &id, number)
        };
        if let Some(process) = self.processes.get_mut(&number).filter(|_| !restores) {
            process.io.handed_over();
        }
        if let Err(why) = begun {
            self.not_begun(caller, number, why);
        }
    }

    /// The runtime was not even called.
    fn not_begun(&mut self, caller: Caller, number: u32, why: Status) {
        let Some(process) = self.processes.get_mut(&number) else {
            return;
        };
        if process.exec_id.is_empty() {
            let id = process.container.clone();
            return self.create_failed(&id, Some(caller), why);
        }
        process.busy = false;
        self.end_io(number);
        self.answer(caller, Err(why));
    }

    fn begin_create(
        &mut self,
        caller: Caller,
        id: &str,
        number: u32,
        plans: &[rootfs::Plan],
        mounts: Vec<Mount>,
    ) -> Result<(), Status> {
        let container = self.container(id)?;
        let bundle = container.bundle.clone();
        let mut arguments: Vec<OsString> = vec!["create".into(), "--bundle".into(), bundle.clone().into()];
        arguments.extend(["--pid-file".into(), bundle.join("init.pid").into()]);
        if container.options.no_pivot_root {
            arguments.push("--no-pivot".into());
        }
        if container.options.no_new_keyring {
            arguments.push("--no-new-keyring".into());
        }
        let console = self.console(number, bundle.join("init.pty"), &mut arguments)?;
        arguments.push(id.into());
        let work = Work::Create {
            process: number,
            console,
            rootfs: mounts,
        };
        self.begin_with_stdio(
            id,
            caller,
            number,
            bundle.join("log.json"),
            arguments,
            plans,
            work,
        )
    }

    fn begin_exec(&mut self, caller: Caller, id: &str, number: u32) -> Result<(), Status> {
        let bundle = self.container(id)?.bundle.clone();
        let Some(process) = self.processes.get(&number) else {
            return Err(not_found());
        };
        let file = |end: &str| bundle.join(format!("{}.{end}", process.exec_id));
        let files = vec![file("pid"), file("json"), file("log")];
        std::fs::write(&files[1], &process.spec)
            .map_err(|error| status(code::UNKNOWN, format!("write {}: {error}", files[1].display())))?;
        let terminal = file("pty");
        let mut arguments: Vec<OsString> = vec!["exec".into(), "--detach".into(), "--process".into()];
        arguments.extend([
            files[1].clone().into(),
            "--pid-file".into(),
            OsString::from(&files[0]),
        ]);
        let console = self.console(number, terminal, &mut arguments)?;
        arguments.push(id.into());
        let log = files[2].clone();
        let work = Work::Exec {
            process: number,
            console,
            files,
        };
        self.begin_with_stdio(id, caller, number, log, arguments, &[], work)
    }

    pub(crate) fn console(
        &self,
        number: u32,
        path: PathBuf,
        arguments: &mut Vec<OsString>,
    ) -> Result<Option<ConsoleSocket>, Status> {
        if !self
            .processes
            .get(&number)
            .is_some_and(|process| process.stdio.terminal)
        {
            return Ok(None);
        }
        let console = ConsoleSocket::bind(path).map_err(|error| {
            status(
                code::UNKNOWN,
                format!("failed to create OCI runtime console socket: {error}"),
            )
        })?;
        arguments.extend(["--console-socket".into(), console.argument()]);
        Ok(Some(console))
    }

    #[expect(clippy::too_many_arguments, reason = "each is one part of one command")]
    pub(crate) fn begin_with_stdio(
        &mut self,
        id: &str,
        caller: Caller,
        number: u32,
        log: PathBuf,
        arguments: Vec<OsString>,
        mounts: &[rootfs::Plan],
        work: Work,
    ) -> Result<(), Status> {
        let Some(process) = self.processes.get_mut(&number) else {
            return Err(not_found());
        };
        // Taken out, so that the descriptors outlive the call and are closed after it.
        let ends = std::mem::take(&mut process.io.for_process);
        let stdio = ends.each_ref().map(|end| end.as_ref().map(AsFd::as_fd));
        let begun = self.begin(
            id,
            Some(caller),
            log,
            Call {
                arguments,
                stdio,
                mounts,
            },
            work,
        );
        begun.map_err(|(why, work)| {
            if let Work::Exec { files, .. } = work {
                for file in files {
                    let _ = rustix::fs::unlink(&file);
                }
            }
            why
        })
    }

    fn start(&mut self, caller: Caller, request: &StartRequest) -> Answer {
        let number = self.number_of_process(&request.id, &request.exec_id)?;
        let container = self.container(&request.id)?;
        let (bundle, restores) = (container.bundle.clone(), container.restore.is_some());
        let Some(process) = self.processes.get_mut(&number) else {
            return Err(not_found());
        };
        if process.started || process.busy || process.exit.is_some() {
            let state = if process.told { "stopped" } else { "running" };
            return Err(status(
                code::FAILED_PRECONDITION,
                format!("cannot start a {state} process: failed precondition"),
            ));
        }
        if !request.exec_id.is_empty() {
            self.when_logged(caller, number, Vec::new(), Vec::new());
            return Ok(None);
        }
        process.busy = true;
        if restores {
            let begun = self.begin_restore(caller, &request.id, number);
            if let Some(process) = self.processes.get_mut(&number) {
                process.busy = begun.is_ok();
                process.io.handed_over();
            }
            return begun.map(|()| None);
        }
        let call = Call {
            arguments: vec!["start".into(), OsString::from(&request.id)],
            ..Call::default()
        };
        let work = Work::Start { process: number };
        if let Err((why, _)) = self.begin(&request.id, Some(caller), bundle.join("log.json"), call, work) {
            if let Some(process) = self.processes.get_mut(&number) {
                process.busy = false;
            }
            return Err(why);
        }
        Ok(None)
    }

    fn delete(&mut self, caller: Caller, request: DeleteRequest) -> Answer {
        if self.has_output(&request) {
            let now = self.now();
            self.deleting.push((caller, request, now));
            return Ok(None);
        }
        self.delete_now(caller, &request)
    }

    /// Whether the process has ended and its output is still on its way to someone.
    pub(crate) fn has_output(&self, request: &DeleteRequest) -> bool {
        let number = self.number_of_process(&request.id, &request.exec_id);
        let process = number.ok().and_then(|number| self.processes.get(&number));
        process.is_some_and(|process| process.told && !process.io.is_done())
    }

    pub(crate) fn delete_now(&mut self, caller: Caller, request: &DeleteRequest) -> Answer {
        let number = self.number_of_process(&request.id, &request.exec_id)?;
        let bundle = self.container(&request.id)?.bundle.clone();
        let Some(process) = self.processes.get_mut(&number) else {
            return Err(not_found());
        };
        if process.busy || (process.started && !process.told) {
            return Err(status(
                code::FAILED_PRECONDITION,
                "cannot delete a running process: failed precondition",
            ));
        }
        if !request.exec_id.is_empty() {
            if !process.started {
                self.end_io(number);
            }
            if let Some(container) = self.containers.get_mut(&request.id) {
                container.execs.remove(&request.exec_id);
            }
            return Ok(Some(self.deleted(number)));
        }
        let forced = !process.told;
        process.busy = true;
        if forced {
            self.end_io(number);
        }
        let mut arguments: Vec<OsString> = vec!["delete".into()];
        if forced {
            arguments.push("--force".into());
        }
        arguments.push(OsString::from(&request.id));
        let call = Call {
            arguments,
            ..Call::default()
        };
        let work = Work::Delete { process: number };
        let begun = self.begin(&request.id, Some(caller), bundle.join("log.json"), call, work);
        if let Err((why, _)) = begun {
            if let Some(process) = self.processes.get_mut(&number) {
                process.busy = false;
            }
            return Err(why);
        }
        // Processes that joined it are gone with it.
        let execs = self
            .containers
            .get_mut(&request.id)
            .map(|container| std::mem::take(&mut container.execs));
        for exec in execs.unwrap_or_default().into_values() {
            self.end_io(exec);
            self.deleted(exec);
        }
        Ok(None)
    }

    fn pids(&mut self, request: &PidsRequest) -> Answer {
        let container = self.container(&request.id)?;
        let mut pids = Vec::new();
        if let Some(dir) = &container.cgroup {
            cgroup::processes(dir, &mut pids);
        }
        if pids.is_empty() {
            // A containerd that comes back takes a shim without processes for a leak and forgets how they ended: a
            // container that was not deleted yet has at least its first one.
            pids.extend(
                self.processes
                    .get(&container.init)
                    .map(|process| process.pid.cast_unsigned()),
            );
        }
        let processes = pids.into_iter().map(|pid| {
            let exec = self.processes.values().find(|process| {
                process.container == request.id
                    && process.pid.cast_unsigned() == pid
                    && !process.exec_id.is_empty()
            });
            let info = exec.map(|process| Any {
                type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
                value: ProcessDetails {
                    exec_id: process.exec_id.clone(),
                }
                .encode_to_vec(),
            });
            ProcessInfo { pid, info }
        });
        Ok(Some(
            PidsResponse {
                processes: processes.collect(),
            }
            .encode_to_vec(),
        ))
    }

    fn freeze(&mut self, caller: Caller, id: &str, freeze: bool) -> Answer {
        let log = self.container(id)?.bundle.join("log.json");
        let (command, work) = if freeze {
            ("pause", Work::Pause)
        } else {
            ("resume", Work::Resume)
        };
        let call = Call {
            arguments: vec![command.into(), id.into()],
            ..Call::default()
        };
        self.begin(id, Some(caller), log, call, work)
            .map_err(|(why, _)| why)?;
        Ok(None)
    }

    fn kill(&mut self, caller: Caller, request: &KillRequest) -> Answer {
        let paused = self.container(&request.id)?.paused;
        let process = self.process(&request.id, &request.exec_id)?;
        if process.pid == 0 {
            return Err(status(
                code::FAILED_PRECONDITION,
                "process not created: failed precondition",
            ));
        }
        let first = request.exec_id.is_empty();
        if first && (request.all || (paused && request.signal == 9)) {
            // The runtime knows the cgroup, and how to kill what is frozen.
            if request.all {
                self.kill_all(&request.id, &request.signal.to_string(), Some(caller), Work::Kill);
                return Ok(None);
            }
            let log = self.container(&request.id)?.bundle.join("log.json");
            let arguments = vec![
                "kill".into(),
                OsString::from(&request.id),
                request.signal.to_string().into(),
            ];
            let call = Call {
                arguments,
                ..Call::default()
            };
            self.begin(&request.id, Some(caller), log, call, Work::Kill)
                .map_err(|(why, _)| why)?;
            return Ok(None);
        }
        if process.exit.is_some() {
            return Err(status(code::NOT_FOUND, "process already finished: not found"));
        }
        // Our child, not collected yet: the pid can be nobody else's.
        match lighter_sys::process::kill(process.pid, request.signal.cast_signed()) {
            Ok(()) => NOTHING,
            Err(error) if error.raw_os_error() == Some(3) => {
                Err(status(code::NOT_FOUND, "process already finished: not found"))
            }
            Err(error) => Err(status(
                code::UNKNOWN,
                format!("unknown error after kill: {error}"),
            )),
        }
    }

    fn exec(&mut self, request: ExecProcessRequest) -> Answer {
        check_id(&request.exec_id)?;
        let container = self.container(&request.id)?;
        let (runtime, init, paused) = (container.runtime.clone(), container.init, container.paused);
        let owner = (container.options.io_uid, container.options.io_gid);
        if container.execs.contains_key(&request.exec_id) {
            return Err(status(
                code::ALREADY_EXISTS,
                format!("id {}: already exists", request.exec_id),
            ));
        }
        let precondition =
            |text: String| status(code::FAILED_PRECONDITION, format!("{text}: failed precondition"));
        if self
            .processes
            .get(&init)
            .is_none_or(|process| process.exit.is_some())
        {
            return Err(precondition(format!(
                "container {} init process is not running",
                request.id
            )));
        }
        if paused {
            return Err(precondition("cannot exec in a paused state".to_owned()));
        }
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let number = self.open_process(&request.id, &request.exec_id, stdio, &runtime, owner)?;
        if let Some(process) = self.processes.get_mut(&number) {
            process.spec = request.spec.map(|spec| spec.value).unwrap_or_default();
        }
        if let Some(container) = self.containers.get_mut(&request.id) {
            container.execs.insert(request.exec_id.clone(), number);
        }
        let event = TaskExecAdded {
            container_id: request.id,
            exec_id: request.exec_id,
        };
        self.publisher.publish(&event, timestamp(self.now()), &self.poll);
        NOTHING
    }

    fn resize(&mut self, request: &ResizePtyRequest) -> Answer {
        let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let process = self.process(&request.id, &request.exec_id)?;
        let resized = process.io.resize(size(request.width), size(request.height));
        resized.map_err(|error| status(code::UNKNOWN, format!("resize: {error}")))?;
        NOTHING
    }

    fn close_io(&mut self, request: &CloseIoRequest) -> Answer {
        let number = self.number_of_process(&request.id, &request.exec_id)?;
        if let Some(process) = self.processes.get_mut(&number).filter(|_| request.stdin) {
            process.io.close_input(&self.poll);
        }
        NOTHING
    }

    fn update(&mut self, caller: Caller, request: &UpdateTaskRequest) -> Answer {
        let container = self.container(&request.id)?;
        let (log, file) = (
            container.bundle.join("log.json"),
            container.bundle.join("update.json"),
        );
        let resources = request
            .resources
            .as_ref()
            .map(|any| any.value.as_slice())
            .unwrap_or_default();
        std::fs::write(&file, resources)
            .map_err(|error| status(code::UNKNOWN, format!("write {}: {error}", file.display())))?;
        let arguments = vec![
            "update".into(),
            "--resources".into(),
            file.clone().into(),
            OsString::from(&request.id),
        ];
        let call = Call {
            arguments,
            ..Call::default()
        };
        self.begin(&request.id, Some(caller), log, call, Work::Update { file })
            .map_err(|(why, _)| why)?;
        Ok(None)
    }

    fn wait_for(&mut self, caller: Caller, request: &WaitRequest) -> Answer {
        let process = self.process(&request.id, &request.exec_id)?;
        match process.exit.filter(|_| process.told) {
            Some(Exit { status, at }) => Ok(Some(
                WaitResponse {
                    exit_status: status,
                    exited_at: Some(at),
                }
                .encode_to_vec(),
            )),
            None => {
                process.waiters.push(caller);
                Ok(None)
            }
        }
    }

    fn stats(&mut self, request: &StatsRequest) -> Answer {
        let stats = stats::of(&self.container(&request.id)?.cgroups)
            .ok_or_else(|| status(code::NOT_FOUND, "cgroup of the container: not found"))?;
        Ok(Some(StatsResponse { stats: Some(stats) }.encode_to_vec()))
    }

    fn connect(&mut self, request: &ConnectRequest) -> Answer {
        let shim_pid = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
        let task_pid = self
            .process(&request.id, "")
            .map_or(0, |process| process.pid.cast_unsigned());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Some(
            ConnectResponse {
                shim_pid,
                task_pid,
                version,
            }
            .encode_to_vec(),
        ))
    }
}

pub(crate) fn read<M: Message + Default>(payload: &[u8]) -> Result<M, Status> {
    M::decode(payload).map_err(|error| status(code::INVALID_ARGUMENT, error.to_string()))
}

/// Names become file names in the bundle.
fn check_id(id: &str) -> Result<(), Status> {
    if id.is_empty() || id.contains('/') || id.starts_with('.') || id.contains('\0') {
        return Err(status(
            code::INVALID_ARGUMENT,
            format!("invalid id {id:?}: invalid argument"),
        ));
    }
    Ok(())
}
