//! Containers by containerd's API: a root of busybox, a script.

use std::collections::HashMap;

use lighter_containerd_api::any;
use lighter_containerd_api::containers::containers_client::ContainersClient;
use lighter_containerd_api::containers::{
    Container, CreateContainerRequest, DeleteContainerRequest, container::Runtime,
};
use lighter_containerd_api::runc::Options;
use lighter_containerd_api::tasks::tasks_client::TasksClient;
use lighter_containerd_api::tasks::{
    CreateTaskRequest, DeleteTaskRequest, KillRequest, StartRequest, WaitRequest,
};
use lighter_containerd_api::types::Mount;
use lighter_harness::{Host, eventually};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::daemon::{Daemon, request};

/// A container to be made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) script: String,
    /// A program in the place of the runtime.
    pub(crate) runtime: String,
    /// Where its output goes.
    pub(crate) stdout: String,
    /// `hooks` of the runtime specification.
    pub(crate) hooks: Value,
    rootfs: String,
    cgroup: String,
}

impl Plan {
    pub(crate) fn new(host: &Host, id: &str, script: &str) -> Plan {
        let rootfs = host.dir().join("rootfs").display().to_string();
        host.sh(&format!(
            "[ -e {rootfs} ] || {{ mkdir -p {rootfs}/{{bin,proc,dev,sys,tmp}}; cp /bin/busybox {rootfs}/bin/
            for name in sh echo sleep true; do ln -s busybox {rootfs}/bin/$name; done; }}"
        ));
        Plan {
            id: id.to_owned(),
            script: script.to_owned(),
            runtime: String::new(),
            stdout: String::new(),
            hooks: json!({}),
            rootfs,
            cgroup: format!("{}/{id}", host.cgroup_parent()),
        }
    }

    fn spec(&self) -> Value {
        json!({
            "ociVersion": "1.2.0",
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
                "args": ["/bin/sh", "-c", self.script],
            },
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "hooks": self.hooks,
            "linux": {
                "cgroupsPath": self.cgroup,
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            },
        })
    }

    /// The container's record.
    pub(crate) async fn record(&self, channel: &Channel) -> Result<(), Status> {
        let options = (!self.runtime.is_empty()).then(|| {
            any::pack(&Options {
                binary_name: self.runtime.clone(),
                ..Default::default()
            })
        });
        let container = Container {
            id: self.id.clone(),
            runtime: Some(Runtime {
                name: "io.containerd.lighter.v1".to_owned(),
                options,
            }),
            spec: Some(any::json(any::SPEC, self.spec().to_string().into_bytes())),
            labels: HashMap::new(),
            ..Default::default()
        };
        let create = CreateContainerRequest {
            container: Some(container),
        };
        ContainersClient::new(channel.clone())
            .create(request(create))
            .await
            .map(drop)
    }

    /// The task; its pid.
    pub(crate) async fn create(&self, channel: &Channel) -> Result<u32, Status> {
        let create = CreateTaskRequest {
            container_id: self.id.clone(),
            rootfs: vec![Mount {
                r#type: "bind".to_owned(),
                source: self.rootfs.clone(),
                options: vec!["rbind".to_owned(), "rw".to_owned()],
                ..Default::default()
            }],
            stdout: self.stdout.clone(),
            ..Default::default()
        };
        let created = TasksClient::new(channel.clone()).create(request(create)).await;
        created.map(|answer| answer.into_inner().pid)
    }

    pub(crate) async fn start(&self, channel: &Channel) -> Result<(), Status> {
        let start = StartRequest {
            container_id: self.id.clone(),
            exec_id: String::new(),
        };
        TasksClient::new(channel.clone())
            .start(request(start))
            .await
            .map(drop)
    }

    /// Record, task, start.
    pub(crate) async fn run(&self, channel: &Channel) -> Result<(), Status> {
        self.record(channel).await?;
        self.create(channel).await?;
        self.start(channel).await
    }

    pub(crate) async fn kill(&self, channel: &Channel) -> Result<(), Status> {
        let kill = KillRequest {
            container_id: self.id.clone(),
            exec_id: String::new(),
            signal: 9,
            all: false,
        };
        TasksClient::new(channel.clone())
            .kill(request(kill))
            .await
            .map(drop)
    }

    /// The exit code.
    pub(crate) async fn wait(&self, channel: &Channel) -> Result<u32, Status> {
        let wait = WaitRequest {
            container_id: self.id.clone(),
            exec_id: String::new(),
        };
        let ended = TasksClient::new(channel.clone()).wait(request(wait)).await;
        ended.map(|answer| answer.into_inner().exit_status)
    }

    /// Takes task and record away.
    pub(crate) async fn delete(&self, channel: &Channel) -> Result<(), Status> {
        let delete = DeleteTaskRequest {
            container_id: self.id.clone(),
        };
        TasksClient::new(channel.clone()).delete(request(delete)).await?;
        self.forget(channel).await
    }

    /// Takes the record away.
    pub(crate) async fn forget(&self, channel: &Channel) -> Result<(), Status> {
        let delete = DeleteContainerRequest { id: self.id.clone() };
        ContainersClient::new(channel.clone())
            .delete(request(delete))
            .await
            .map(drop)
    }

    /// A whole life, killed.
    pub(crate) async fn live(&self, channel: &Channel) -> Result<u32, Status> {
        self.run(channel).await?;
        self.kill(channel).await?;
        let code = self.wait(channel).await?;
        self.delete(channel).await?;
        Ok(code)
    }
}

/// Nothing of any container is left: no shim, no bundle, no socket, no mount, no cgroup.
#[track_caller]
pub(crate) fn nothing_left(daemon: &Daemon) {
    let mut last = String::new();
    let left = || {
        daemon.host.sh(&format!(
            "ls /run/lighter/containerd/s; ls -A /run/lighter/containerd/io.containerd.runtime.v2.task/* 2>/dev/null || true
            grep runtime.v2.task /proc/mounts || true; pidof containerd-shim-lighter-v1 || true
            find /sys/fs/cgroup/*{0} -mindepth 1 -type d 2>/dev/null || true",
            daemon.host.cgroup_parent()
        ))
    };
    eventually("nothing is left", || {
        let now = left();
        if now != last {
            println!("left: {now:?}");
            last.clone_from(&now);
        }
        now.is_empty().then_some(())
    });
}
