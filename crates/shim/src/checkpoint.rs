//! Checkpoints of a container, and containers that come back from one.
//!
//! A container that is created from a checkpoint is only mounted; its processes are there once it is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lighter_shim_api::events::{TaskCheckpointed, TaskStart};
use lighter_shim_api::frame::{code, status};
use lighter_shim_api::runc_options::CheckpointOptions;
use lighter_shim_api::task::{CheckpointTaskRequest, CreateTaskRequest, StartResponse};
use lighter_shim_api::ttrpc::Status;
use lighter_shim_api::types::Mount;
use prost::Message;

use crate::container::Caller;
use crate::operation::{Operation, Work, pid_from};
use crate::runtime::{Call, ConsoleSocket};
use crate::server::{Server, timestamp};
use crate::task::{Answer, read};
use crate::{child, rootfs};

/// Where a container comes back from.
#[derive(Debug, Clone)]
pub(crate) struct Restore {
    /// Directory of the images.
    pub(crate) images: String,
    /// Directory of the images that these build on; empty: none.
    parent: String,
    /// CRIU's working directory.
    work: PathBuf,
}

impl Restore {
    pub(crate) fn of(request: &CreateTaskRequest, work: &str) -> Option<Self> {
        if request.checkpoint.is_empty() {
            return None;
        }
        let work = match work {
            "" => Path::new(&request.bundle).join("criu-work"),
            work => PathBuf::from(work),
        };
        Some(Self {
            images: request.checkpoint.clone(),
            parent: request.parent_checkpoint.clone(),
            work,
        })
    }
}

fn make_directory(path: &Path) -> Result<(), Status> {
    let made = std::fs::DirBuilder::new().recursive(true).create(path);
    made.map_err(|error| {
        status(
            code::UNKNOWN,
            format!("mkdir {}: {}", path.display(), child::words(&error)),
        )
    })
}

/// The end of CRIU's log: why it failed.
fn keep_log(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(from)?;
    let mut end = vec![0; 64 * 1024];
    let begin = file.metadata()?.len().saturating_sub(end.len() as u64);
    let count = file.read_at(&mut end, begin)?;
    std::fs::write(to, &end[..count])
}

/// CRIU's working directory has files only.
fn remove_files(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let _ = rustix::fs::unlink(entry.path());
    }
    let _ = rustix::fs::rmdir(dir);
}

impl Server {
    pub(crate) fn checkpoint(&mut self, caller: Caller, request: &CheckpointTaskRequest) -> Answer {
        let container = self.container(&request.id)?;
        let (bundle, configured) = (container.bundle.clone(), container.options.criu_work_path.clone());
        let options: CheckpointOptions = match &request.options {
            Some(any) => read(&any.value)?,
            None => CheckpointOptions::default(),
        };
        let images = if request.path.is_empty() {
            &options.image_path
        } else {
            &request.path
        };
        if images.is_empty() {
            return Err(status(
                code::INVALID_ARGUMENT,
                "a checkpoint needs a path: invalid argument",
            ));
        }
        let given = [options.work_path.as_str(), configured.as_str()]
            .into_iter()
            .find(|path| !path.is_empty());
        let own = bundle.join("criu-work");
        let work_dir = given.map_or_else(|| own.clone(), PathBuf::from);
        make_directory(&work_dir)?;
        let mut arguments: Vec<OsString> = ["checkpoint", "--image-path"].map(OsString::from).to_vec();
        arguments.extend([images.into(), "--work-path".into(), work_dir.clone().into()]);
        let flags = [
            (!options.exit, "--leave-running"),
            (options.open_tcp, "--tcp-established"),
            (options.external_unix_sockets, "--ext-unix-sk"),
            (options.terminal, "--shell-job"),
            (options.file_locks, "--file-locks"),
        ];
        arguments.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag.into()));
        for namespace in &options.empty_namespaces {
            arguments.extend(["--empty-ns".into(), OsString::from(namespace)]);
        }
        arguments.push(OsString::from(&request.id));
        let call = Call {
            arguments,
            ..Call::default()
        };
        let work = Work::Checkpoint {
            images: images.clone(),
            work: work_dir,
            keep: given.is_some(),
        };
        self.begin(&request.id, Some(caller), bundle.join("log.json"), call, work)
            .map_err(|(why, _)| why)?;
        Ok(None)
    }

    /// A checkpoint was made, or not.
    pub(crate) fn checkpointed(
        &mut self,
        id: String,
        images: String,
        work: &Path,
        keep: bool,
        failed: Option<String>,
    ) -> Option<String> {
        let failed = failed.map(|text| {
            let bundle = self.containers.get(&id).map(|container| container.bundle.clone());
            let kept = bundle.unwrap_or_default().join("criu-dump.log");
            match keep_log(&work.join("dump.log"), &kept) {
                Ok(()) => format!("{text} path= {}", kept.display()),
                // The runtime has failed before CRIU began.
                Err(_) => text,
            }
        });
        if !keep {
            remove_files(work);
        }
        if failed.is_none() {
            let event = TaskCheckpointed {
                container_id: id,
                checkpoint: images,
            };
            let now = timestamp(self.now());
            self.publisher.publish(&event, now, &self.poll);
        }
        failed
    }

    /// The creation of a container that comes back: its root is mounted.
    pub(crate) fn begin_mounts(
        &mut self,
        caller: Caller,
        id: &str,
        number: u32,
        plans: &[rootfs::Plan],
        mounts: Vec<Mount>,
    ) -> Result<(), Status> {
        let work = || match plans
            .iter()
            .find_map(|plan| plan.make().err().map(|error| (plan, error)))
        {
            Some((plan, error)) => Err(plan.failure(&error)),
            None => Ok(()),
        };
        let started = child::run(work)
            .map_err(|error| status(code::UNKNOWN, format!("fork: {}", child::words(&error))))?;
        let operation = Operation {
            work: Work::Mount {
                process: number,
                rootfs: mounts,
            },
            container: id.to_owned(),
            caller: Some(caller),
            report: started.report,
            log: PathBuf::new(),
            log_from: 0,
        };
        self.operations.insert(started.pid, operation);
        Ok(())
    }

    /// The start of a container that comes back.
    pub(crate) fn begin_restore(&mut self, caller: Caller, id: &str, number: u32) -> Result<(), Status> {
        let container = self.container(id)?;
        let (bundle, options) = (container.bundle.clone(), &container.options);
        let Some(restore) = container.restore.clone() else {
            return Ok(());
        };
        let mut arguments: Vec<OsString> = ["restore", "--detach", "--no-subreaper", "--image-path"]
            .map(OsString::from)
            .to_vec();
        arguments.extend([
            restore.images.into(),
            "--work-path".into(),
            restore.work.clone().into(),
        ]);
        if !restore.parent.is_empty() {
            arguments.extend(["--parent-path".into(), OsString::from(restore.parent)]);
        }
        arguments.extend(["--bundle".into(), bundle.clone().into()]);
        arguments.extend(["--pid-file".into(), bundle.join("init.pid").into()]);
        if options.no_pivot_root {
            arguments.push("--no-pivot".into());
        }
        make_directory(&restore.work)?;
        let console = self.console(number, bundle.join("init.pty"), &mut arguments)?;
        arguments.push(id.into());
        let work = Work::Restore {
            process: number,
            console,
        };
        let log = bundle.join("log.json");
        self.begin_with_stdio(id, caller, number, log, arguments, &[], work)
    }

    /// A container has come back, or not.
    pub(crate) fn restored(
        &mut self,
        id: &str,
        number: u32,
        caller: Option<Caller>,
        console: Option<ConsoleSocket>,
        failed: Option<String>,
    ) {
        let Some(bundle) = self.containers.get(id).map(|container| container.bundle.clone()) else {
            return;
        };
        let result = match failed {
            Some(text) => Err(text),
            None => pid_from(&bundle.join("init.pid"))
                .ok_or_else(|| "failed to retrieve OCI runtime container pid".to_owned()),
        };
        match result.and_then(|pid| self.adopt(number, pid, console).map(|()| pid)) {
            Ok(pid) => {
                self.enter_cgroup(id, pid);
                let pid = pid.cast_unsigned();
                if let Some(process) = self.processes.get_mut(&number) {
                    process.started = true;
                }
                let event = TaskStart {
                    container_id: id.to_owned(),
                    pid,
                };
                let now = timestamp(self.now());
                self.publisher.publish(&event, now, &self.poll);
                self.reply(caller, Ok(StartResponse { pid }.encode_to_vec()));
            }
            Err(text) => self.reply(caller, Err(status(code::UNKNOWN, text))),
        }
        self.settled(number);
    }
}
