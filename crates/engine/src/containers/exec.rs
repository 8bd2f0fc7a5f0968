//! Further processes in a running container.

mod registry;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lighter_containerd_api::any;
use lighter_containerd_api::tasks::{
    DeleteProcessRequest, ExecProcessRequest, ResizePtyRequest, StartRequest,
};
use lighter_engine_api::{ExecCreateRequest, ExecInspectResponse, ProcessConfig};
use lighter_shim_api::log_uri::{self, Driver, LogUri};
use lighter_stdx::failpoint;
use tokio::sync::watch;
use tonic::Code;

pub(crate) use registry::Execs;
use registry::{Exec, State};

use super::attach::{Connection, Wish};
use super::detach::Keys;
use super::{Attached, Container, Phase, View, check, exit, start};
use crate::spec::{self, user};
use crate::{Engine, Error, Kind, Result};

/// How long a client whose output has ended waits to be told that the process has.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to start a process that was created.
#[derive(Debug, Clone, Default)]
pub struct ExecStartOptions {
    /// Nobody will look at it.
    pub detach: bool,
    /// Whether the client sees one stream.
    pub tty: bool,
    /// Height and width of its terminal.
    pub console_size: Option<[u32; 2]>,
}

/// A container in which a process can be started; `name` is what the caller calls it.
fn active<'a>(container: &'a Container, name: &'a str) -> Result<Arc<View>> {
    let (view, id) = (container.view(), &container.id);
    match view.state.phase {
        Phase::Running => Ok(view),
        Phase::Paused => Err(Error::conflict(format!(
            "Container {name} is paused, unpause the container before exec"
        ))),
        Phase::Restarting => Err(Error::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        ))),
        _ => Err(Error::conflict(format!("container {id} is not running"))),
    }
}

impl Engine {
    /// Notes what is to be run in a container, and answers with the id that starts it.
    pub async fn exec_create(&self, name: &str, request: ExecCreateRequest) -> Result<String> {
        let container = self.inner.containers.find(name)?;
        let view = active(&container, name)?;
        check::exec(&request)?;
        // Here and not when it starts: then a client would have to read it on the stream.
        user_of(&view, &request)?;
        let keys = Keys::parse(&request.detach_keys);
        let keys = keys.map_err(|text| Error::invalid(format!("Invalid escape keys ({text}) provided")))?;
        let state = watch::Sender::new(State::Created);
        let exec = Exec {
            id: crate::names::id(),
            container: container.id.clone(),
            request,
            keys,
            state,
        };
        let id = exec.id.clone();
        self.tell(&view, &exec, &format!("exec_create: {}", exec.command()), None);
        self.inner.execs.insert(Arc::new(exec));
        Ok(id)
    }

    /// Runs it. On failure the code that it is said to have ended with tells why, as a shell's would: 126 or 127.
    pub async fn exec_start(&self, id: &str, options: ExecStartOptions) -> Result<Option<Attached>> {
        let exec = self.inner.execs.find(id)?;
        let container = self
            .inner
            .containers
            .find(&exec.container)
            .map_err(|_| not_running(&exec.container))?;
        let view = active(&container, &exec.container)?;
        let mut before = State::Created;
        exec.state.send_if_modified(|state| {
            before = *state;
            if before == State::Created {
                *state = State::Running(0);
            }
            false
        });
        match before {
            State::Created => {}
            State::Running(_) => {
                return Err(Error::conflict(format!(
                    "Error: Exec command {id} is already running"
                )));
            }
            State::Ended { .. } => {
                return Err(Error::conflict(format!(
                    "Error: Exec command {id} has already run"
                )));
            }
        }
        // Whoever asked may go away in the middle; what was begun is brought to its end.
        let engine = self.clone();
        let started = tokio::spawn(async move { engine.exec_run(&exec, &view, options).await });
        started
            .await
            .unwrap_or_else(|_| Err(Error::system("the start of an exec was broken off")))
    }

    async fn exec_run(
        &self,
        exec: &Arc<Exec>,
        view: &View,
        options: ExecStartOptions,
    ) -> Result<Option<Attached>> {
        self.tell(view, exec, &format!("exec_start: {}", exec.command()), None);
        match self.exec_bring_up(exec, view, &options).await {
            Ok((pid, attached)) => {
                exec.state.send_if_modified(|state| match state {
                    State::Running(known) => {
                        *known = pid;
                        true
                    }
                    _ => false,
                });
                tokio::spawn(watch_over(self.clone(), exec.clone()));
                Ok(attached)
            }
            Err(error) => {
                // As dockerd has it: what keeps an exec from running is the command's fault until it is known better.
                let code = match start::exit_code(&error) {
                    start::FAILED => start::NOT_EXECUTABLE,
                    code => code,
                };
                self.exec_discard(exec).await;
                self.exec_ended(exec, code);
                Err(error)
            }
        }
    }

    async fn exec_bring_up(
        &self,
        exec: &Arc<Exec>,
        view: &View,
        options: &ExecStartOptions,
    ) -> Result<(u32, Option<Attached>)> {
        let layer = &self.inner.layer;
        let request = &exec.request;
        let socket = self.config().attach_socket(&exec.id);
        let process = process(view, request, options, &self.inner.held)?;
        let process = serde_json::to_vec(&process)
            .map_err(|error| Error::system("specification").with_source(error))?;
        let output = LogUri {
            driver: Driver::None,
            path: "/".to_owned(),
            max_size: None,
            max_file: 1,
            attach: socket.to_string_lossy().into_owned(),
        };
        let output = output.to_string();
        let stdin = request.attach_stdin && !options.detach;
        let asked = ExecProcessRequest {
            container_id: exec.container.clone(),
            stdin: if stdin {
                log_uri::STDIN.to_owned()
            } else {
                String::new()
            },
            stderr: if request.tty {
                String::new()
            } else {
                output.clone()
            },
            stdout: output,
            terminal: request.tty,
            spec: Some(any::json(any::PROCESS, process)),
            exec_id: exec.id.clone(),
        };
        layer
            .tasks()
            .exec(asked)
            .await
            .map_err(|status| refused(&exec.container, &status))?;
        failpoint::hit("engine.exec.created");
        let attached = match options.detach {
            true => None,
            false => {
                let connection = Connection::open(&socket).await;
                let connection = connection
                    .map_err(|error| Error::system("attach to the output of an exec").with_source(error))?;
                let wish = Wish {
                    stdin,
                    stdout: request.attach_stdout,
                    stderr: request.attach_stderr,
                    tty: options.tty,
                    keys: request.tty.then(|| exec.keys.clone()),
                    close: !request.tty,
                };
                Some(until_ended(wish.of(connection), exec.state.subscribe()))
            }
        };
        let asked = StartRequest {
            container_id: exec.container.clone(),
            exec_id: exec.id.clone(),
        };
        let started = layer
            .tasks()
            .start(asked)
            .await
            .map_err(|status| refused(&exec.container, &status))?;
        failpoint::hit("engine.exec.started");
        Ok((started.into_inner().pid, attached))
    }

    fn exec_ended(&self, exec: &Exec, code: i64) {
        if !exec.end(code) {
            return;
        }
        self.inner.execs.retire(&exec.id);
        if let Ok(container) = self.inner.containers.find(&exec.container) {
            self.tell(&container.view(), exec, "exec_die", Some(code));
        }
    }

    /// Has the layer forget it.
    async fn exec_discard(&self, exec: &Exec) {
        let asked = DeleteProcessRequest {
            container_id: exec.container.clone(),
            exec_id: exec.id.clone(),
        };
        match self.inner.layer.tasks().delete_process(asked).await {
            Err(status) if status.code() != Code::NotFound => {
                tracing::debug!(%status, exec = exec.id, "the layer keeps an exec that has ended");
            }
            _ => {}
        }
    }

    /// What is known of it.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        let exec = self.inner.execs.find(id)?;
        let request = &exec.request;
        let (running, exit_code, pid) = match exec.now() {
            State::Created => (false, None, 0),
            State::Running(pid) => (true, None, pid),
            State::Ended { code, pid } => (false, Some(code), pid),
        };
        let command = request.cmd.as_deref().unwrap_or_default();
        Ok(ExecInspectResponse {
            id: exec.id.clone(),
            running,
            exit_code,
            process_config: ProcessConfig {
                tty: request.tty,
                entrypoint: command.first().cloned().unwrap_or_default(),
                arguments: command.get(1..).unwrap_or_default().to_vec(),
                privileged: Some(request.privileged),
                user: request.user.clone(),
            },
            open_stdin: request.attach_stdin,
            open_stderr: request.attach_stderr,
            open_stdout: request.attach_stdout,
            can_remove: false,
            container_id: exec.container.clone(),
            detach_keys: request.detach_keys.clone(),
            pid: i64::from(pid),
        })
    }

    /// Tells its terminal its size.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let exec = self.inner.execs.find(id)?;
        if !matches!(exec.now(), State::Running(pid) if pid != 0) {
            return Err(Error::invalid("exec process is not started"));
        }
        let asked = ResizePtyRequest {
            container_id: exec.container.clone(),
            exec_id: exec.id.clone(),
            width: width.into(),
            height: height.into(),
        };
        let resized = self.inner.layer.tasks().resize_pty(asked).await;
        resized.map(drop).map_err(|status| Error::from_layer(&status))
    }

    fn tell(&self, view: &View, exec: &Exec, action: &str, code: Option<i64>) {
        let mut attributes = view.record.attributes();
        attributes.insert("execID".to_owned(), exec.id.clone());
        if let Some(code) = code {
            attributes.insert("exitCode".to_owned(), code.to_string());
        }
        self.inner
            .events
            .publish("container", action, exec.container.clone(), attributes);
    }
}

fn not_running(container: &str) -> Error {
    Error::conflict(format!("container {container} is not running"))
}

/// What the layer said of an exec that does not run.
fn refused(container: &str, status: &tonic::Status) -> Error {
    let ended = status.code() == Code::FailedPrecondition && status.message().contains("is not running");
    if ended || status.code() == Code::NotFound {
        // Its container has ended and we have not been told yet.
        return not_running(container);
    }
    let mut error = Error::from_layer(status);
    // A layer may say before it which of its own processes it was, which means nothing to the user.
    if let Some(place) = error.message.find("OCI runtime exec failed") {
        error.message.replace_range(..place, "");
    }
    if error.kind != Kind::Unavailable {
        error.kind = Kind::InvalidParameter;
    }
    error
}

/// As whom it runs, by the container's own files.
fn user_of(view: &View, request: &ExecCreateRequest) -> Result<spec::User> {
    let record = &view.record;
    let name = match request.user.as_str() {
        "" => record.config.user.as_str(),
        name => name,
    };
    let groups = record.host_config.group_add.clone().unwrap_or_default();
    user::resolve(name, &groups, &user::Rootfs::Process(view.state.pid))
}

/// The process as the runtime wants it.
fn process(
    view: &View,
    request: &ExecCreateRequest,
    options: &ExecStartOptions,
    held: &[String],
) -> Result<spec::Process> {
    let record = &view.record;
    let user = user_of(view, request)?;
    let mut process = spec::exec(record, user, request.privileged, held)?;
    process.args = request.cmd.clone().unwrap_or_default();
    process.terminal = request.tty;
    let size = options
        .console_size
        .or(request.console_size)
        .filter(|[height, width]| *height > 0 && *width > 0);
    process.console_size = size
        .filter(|_| request.tty)
        .map(|[height, width]| spec::ConsoleSize { height, width });
    if !request.working_dir.is_empty() {
        process.cwd.clone_from(&request.working_dir);
    }
    terminal(
        &mut process.env,
        record.config.tty,
        request.tty,
        record.config.env.as_deref().unwrap_or_default(),
    );
    spec::add_environment(&mut process.env, request.env.iter().flatten());
    Ok(process)
}

/// `TERM` is the engine's to set for a process at a terminal, whatever the container's first process has.
fn terminal(env: &mut Vec<String>, was: bool, is: bool, own: &[String]) {
    const TERM: &str = "TERM=xterm";
    let named = |variable: &String| variable.starts_with("TERM=");
    if is && !env.iter().any(named) {
        env.push(TERM.to_owned());
    } else if was && !is && !own.iter().any(named) {
        env.retain(|variable| variable != TERM);
    }
}

/// The output ends when the process's end is known, so that a client that asks for the code then gets it.
fn until_ended(attached: Attached, mut state: watch::Receiver<State>) -> Attached {
    let known = async move {
        let ended = state.wait_for(|state| matches!(state, State::Ended { .. }));
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::debug!("the output of an exec has ended and the process has not");
        }
        None
    };
    let Attached { output, input, tty } = attached;
    let tail = stream::once(known).filter_map(std::future::ready);
    Attached {
        output: Box::pin(output.chain(tail)),
        input,
        tty,
    }
}

/// Waits for it to end.
async fn watch_over(engine: Engine, exec: Arc<Exec>) {
    let mut state = exec.state.subscribe();
    let ended = tokio::select! {
        ended = exit::wait(&engine.inner.layer, &exec.container, &exec.id) => ended,
        // Its container ended.
        _ = state.wait_for(|state| matches!(state, State::Ended { .. })) => return,
    };
    engine.exec_ended(&exec, i64::from(ended.code));
    engine.exec_discard(&exec).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_name_and_only_a_terminal_has() {
        let env = |was: bool, is: bool, own: &[&str]| {
            let own: Vec<String> = own.iter().map(|text| (*text).to_owned()).collect();
            let mut env: Vec<String> = if was {
                vec!["TERM=xterm".to_owned()]
            } else {
                Vec::new()
            };
            spec::add_environment(&mut env, &own);
            terminal(&mut env, was, is, &own);
            env
        };
        assert_eq!(env(false, true, &[]), ["TERM=xterm"]);
        assert!(env(true, false, &[]).is_empty());
        assert_eq!(env(true, false, &["TERM=vt100"]), ["TERM=vt100"]);
        assert_eq!(env(false, true, &["TERM=vt100"]), ["TERM=vt100"]);
    }
}
