//! A private host with a root file system, the real shim on it, and a client of the task service.

#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lighter_harness::{Host, Machine};
use lighter_shim_api::attach::{self, HEADER_LEN};
use lighter_shim_api::log_uri::{self, Driver, LogUri};
use lighter_shim_api::task::*;
use lighter_shim_api::ttrpc::{Response, Status};
use lighter_shim_api::types::Mount;
use lighter_shim_api::{Any, Message, frame, service};

/// A container's directory on a host, and the shim that serves it.
pub(crate) struct Bed {
    pub(crate) host: Host,
    pub(crate) base: PathBuf,
    pub(crate) id: String,
    /// What `start` printed.
    pub(crate) printed: String,
    /// Named by `CreateTaskRequest`'s options.
    pub(crate) runtime: String,
    pub(crate) events: PathBuf,
}

/// Path of the shim under test.
pub(crate) fn program() -> PathBuf {
    lighter_harness::dist().join("containerd-shim-lighter-v1")
}

fn runtime() -> String {
    // Empty: the one beside the shim.
    std::env::var("LIGHTER_TEST_RUNTIME").unwrap_or_default()
}

impl Bed {
    /// A host with a shim that was started for container `c1`.
    pub(crate) fn new(arguments: &[&str]) -> Bed {
        Self::with(arguments, false, &[("MAX_SHIM_VERSION", "3")])
    }

    pub(crate) fn terminal(arguments: &[&str]) -> Bed {
        Self::with(arguments, true, &[("MAX_SHIM_VERSION", "3")])
    }

    pub(crate) fn with(arguments: &[&str], terminal: bool, environment: &[(&str, &str)]) -> Bed {
        let host = Host::new();
        // Longer than a socket's path may be.
        let base = host.dir().join("a-directory-with-a-rather-long-name".repeat(3));
        let mut bed = Bed {
            events: base.join("events.sock"),
            base,
            id: "c1".into(),
            printed: String::new(),
            runtime: runtime(),
            host,
        };
        bed.make_image();
        bed.make_bundle(arguments, terminal);
        bed.printed = bed.start(environment);
        bed
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.base.join(&self.id)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.base.join("c1-json.log")
    }

    pub(crate) fn attach_path(&self) -> PathBuf {
        self.base.join("c1.attach")
    }

    pub(crate) fn log_uri(&self) -> LogUri {
        LogUri {
            driver: Driver::JsonFile,
            path: self.log().display().to_string(),
            max_size: None,
            max_file: 1,
            attach: self.attach_path().display().to_string(),
        }
    }

    fn make_image(&self) {
        let bin = self.base.join("image/bin");
        for dir in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            fs::create_dir_all(self.base.join("image").join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in [
            "sh", "cat", "sleep", "echo", "true", "seq", "stty", "head", "dd", "kill", "ps", "wc", "yes",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
    }

    pub(crate) fn make_bundle(&self, arguments: &[&str], terminal: bool) {
        let bundle = self.bundle();
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        fs::create_dir_all(self.base.join("upper")).unwrap();
        fs::create_dir_all(self.base.join("work")).unwrap();
        let config = format!(
            r#"{{"ociVersion":"1.0.2","process":{},"root":{{"path":"rootfs"}},"hostname":"c1",
            "mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},
            {{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}},
            {{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance","ptmxmode=0666","mode=0620"]}}],
            "linux":{{"cgroupsPath":"{}/{}","namespaces":[{{"type":"pid"}},{{"type":"ipc"}},{{"type":"uts"}},{{"type":"mount"}}]}}}}"#,
            process(arguments, terminal),
            self.host.cgroup_parent(),
            self.id,
        );
        fs::write(bundle.join("config.json"), config).unwrap();
    }

    /// `start` with the caller's options in a file.
    pub(crate) fn start_with_input(&self, input: &Path) -> String {
        let input = fs::File::open(input).unwrap();
        String::from_utf8(self.verb_with("start", &[("MAX_SHIM_VERSION", "3")], input.into())).unwrap()
    }

    /// Runs the shim's verb on the host; its output.
    pub(crate) fn verb(&self, verb: &str, environment: &[(&str, &str)]) -> Vec<u8> {
        self.verb_with(verb, environment, Stdio::null())
    }

    fn verb_with(&self, verb: &str, environment: &[(&str, &str)], input: Stdio) -> Vec<u8> {
        let program = program();
        let mut words = vec![
            "env".to_owned(),
            "-C".to_owned(),
            self.bundle().display().to_string(),
        ];
        words.push(format!(
            "LIGHTER_SHIM_SOCKET_DIR={}",
            self.base.join("s").display()
        ));
        words.push(format!("TTRPC_ADDRESS={}", self.events.display()));
        words.extend(environment.iter().map(|(key, value)| format!("{key}={value}")));
        words.push(program.display().to_string());
        words.extend(
            [
                "-namespace",
                "test",
                "-id",
                &self.id,
                "-address",
                "/run/none.sock",
                "-bundle",
            ]
            .map(str::to_owned),
        );
        words.push(self.bundle().display().to_string());
        words.push(verb.to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = self
            .host
            .command(Machine::Host, &words)
            .stdin(input)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    pub(crate) fn start(&self, environment: &[(&str, &str)]) -> String {
        String::from_utf8(self.verb("start", environment)).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        let start = self.printed.find("unix://").unwrap() + "unix://".len();
        let path: String = self.printed[start..].chars().take_while(|c| *c != '"').collect();
        Client::connect(Path::new(&path))
    }

    pub(crate) fn options(&self) -> Any {
        let options = lighter_shim_api::runc_options::Options {
            binary_name: self.runtime.clone(),
            root: self.base.join("runtime").display().to_string(),
            ..Default::default()
        };
        Any {
            type_url: service::RUNC_OPTIONS.into(),
            value: options.encode_to_vec(),
        }
    }

    /// Goes on with another container, in the group `pod`: its bundle, and the shim of the group.
    pub(crate) fn join_pod(&mut self, id: &str, arguments: &[&str]) {
        self.id = id.into();
        self.make_bundle(arguments, false);
        self.edit_config(|config| {
            config["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
        });
        self.printed = self.start(&[("MAX_SHIM_VERSION", "3")]);
    }

    pub(crate) fn edit_config(&self, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.bundle().join("config.json");
        let mut config = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        edit(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    /// A request without output, on a root that containers may share.
    pub(crate) fn quiet_request(&self) -> CreateTaskRequest {
        let mut request = self.create_request();
        request.rootfs[0].options = vec![format!("lowerdir={0}/image:{0}/upper", self.base.display())];
        CreateTaskRequest {
            stdout: String::new(),
            stderr: String::new(),
            ..request
        }
    }

    /// A program of the host.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.base.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    pub(crate) fn fifo(&self, name: &str) -> String {
        let path = self.base.join(name).display().to_string();
        self.host.sh(&format!("mkfifo {path}"));
        path
    }

    /// Fails when something of the container is left.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        lighter_harness::eventually("nothing is left", || {
            let left = self.host.sh(&format!(
                "find /sys/fs/cgroup/*{} -mindepth 1 -type d 2>/dev/null || true; ls {}/runtime/* 2>/dev/null || true; \
                 grep -o '[^ ]*/rootfs ' /proc/self/mountinfo || true",
                self.host.cgroup_parent(),
                self.base.display()
            ));
            left.trim().is_empty().then_some(())
        });
    }

    /// A request with an overlay for its root and the log for its output.
    pub(crate) fn create_request(&self) -> CreateTaskRequest {
        let path = |name: &str| self.base.join(name).display().to_string();
        let uri = self.log_uri().to_string();
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle().display().to_string(),
            rootfs: vec![Mount {
                r#type: "overlay".into(),
                source: "overlay".into(),
                target: String::new(),
                options: vec![
                    format!("lowerdir={}", path("image")),
                    format!("upperdir={}", path("upper")),
                    format!("workdir={}", path("work")),
                ],
            }],
            stdout: uri.clone(),
            stderr: uri,
            options: Some(self.options()),
            ..Default::default()
        }
    }

    pub(crate) fn terminal_request(&self) -> CreateTaskRequest {
        CreateTaskRequest {
            terminal: true,
            stderr: String::new(),
            stdin: log_uri::STDIN.into(),
            ..self.create_request()
        }
    }

    pub(crate) fn exec_request(
        &self,
        exec_id: &str,
        arguments: &[&str],
        terminal: bool,
    ) -> ExecProcessRequest {
        let uri = LogUri {
            driver: Driver::None,
            path: "/".into(),
            max_file: 1,
            attach: self.base.join(exec_id).display().to_string(),
            max_size: None,
        };
        let uri = uri.to_string();
        ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec_id.into(),
            terminal,
            stdin: log_uri::STDIN.into(),
            stdout: uri.clone(),
            stderr: if terminal { String::new() } else { uri },
            spec: Some(Any {
                type_url: service::OCI_PROCESS.into(),
                value: process(arguments, terminal).into_bytes(),
            }),
        }
    }

    /// What the log says was written to `stream`.
    pub(crate) fn logged(&self, stream: &str) -> String {
        let mut text = String::new();
        for line in fs::read_to_string(self.log()).unwrap_or_default().lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            if value["stream"] == stream {
                text.push_str(value["log"].as_str().unwrap());
            }
        }
        text
    }

    pub(crate) fn shim_pid(&self) -> u32 {
        let request = ConnectRequest { id: self.id.clone() };
        self.client()
            .call::<ConnectResponse>("Connect", &request)
            .unwrap()
            .shim_pid
    }

    pub(crate) fn task(&self) -> Task<'_> {
        Task {
            bed: self,
            client: self.client(),
        }
    }
}

fn process(arguments: &[&str], terminal: bool) -> String {
    let arguments = serde_json::to_string(arguments).unwrap();
    format!(
        r#"{{"terminal":{terminal},"user":{{"uid":0,"gid":0}},"args":{arguments},"env":["PATH=/bin","TERM=xterm"],"cwd":"/"}}"#
    )
}

/// The usual calls on container `c1`.
pub(crate) struct Task<'a> {
    pub(crate) bed: &'a Bed,
    pub(crate) client: Client,
}

impl Task<'_> {
    pub(crate) fn create(&mut self) -> u32 {
        let request = self.bed.create_request();
        self.create_with(request)
    }

    #[track_caller]
    pub(crate) fn create_with(&mut self, request: CreateTaskRequest) -> u32 {
        self.client
            .call::<CreateTaskResponse>("Create", &request)
            .unwrap()
            .pid
    }

    #[track_caller]
    pub(crate) fn start(&mut self, exec_id: &str) -> u32 {
        let request = StartRequest {
            id: self.bed.id.clone(),
            exec_id: exec_id.into(),
        };
        self.client.call::<StartResponse>("Start", &request).unwrap().pid
    }

    #[track_caller]
    pub(crate) fn wait(&mut self, exec_id: &str) -> u32 {
        let request = WaitRequest {
            id: self.bed.id.clone(),
            exec_id: exec_id.into(),
        };
        self.client
            .call::<WaitResponse>("Wait", &request)
            .unwrap()
            .exit_status
    }

    #[track_caller]
    pub(crate) fn kill(&mut self, exec_id: &str, signal: u32) {
        let request = KillRequest {
            id: self.bed.id.clone(),
            exec_id: exec_id.into(),
            signal,
            all: false,
        };
        self.client.call::<()>("Kill", &request).unwrap();
    }

    #[track_caller]
    pub(crate) fn delete(&mut self, exec_id: &str) -> DeleteResponse {
        let request = DeleteRequest {
            id: self.bed.id.clone(),
            exec_id: exec_id.into(),
        };
        self.client.call("Delete", &request).unwrap()
    }

    #[track_caller]
    pub(crate) fn state(&mut self, exec_id: &str) -> StateResponse {
        let request = StateRequest {
            id: self.bed.id.clone(),
            exec_id: exec_id.into(),
        };
        self.client.call("State", &request).unwrap()
    }

    #[track_caller]
    pub(crate) fn close_io(&mut self, exec_id: &str) {
        let request = CloseIoRequest {
            id: self.bed.id.clone(),
            exec_id: exec_id.into(),
            stdin: true,
        };
        self.client.call::<()>("CloseIO", &request).unwrap();
    }

    #[track_caller]
    pub(crate) fn exec(&mut self, exec_id: &str, arguments: &[&str], terminal: bool) {
        let request = self.bed.exec_request(exec_id, arguments, terminal);
        self.client.call::<()>("Exec", &request).unwrap();
    }

    pub(crate) fn shutdown(&mut self) {
        self.client
            .call::<()>(
                "Shutdown",
                &ShutdownRequest {
                    id: self.bed.id.clone(),
                    now: false,
                },
            )
            .unwrap();
    }
}

/// A connection to a task service; one request at a time.
pub(crate) struct Client {
    stream: UnixStream,
    next: u32,
    pub(crate) service: &'static str,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Client {
        let stream = connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client {
            stream,
            next: 1,
            service: service::TASK_V3,
        }
    }

    /// The connection itself, for what is no request.
    pub(crate) fn raw(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    pub(crate) fn send(&mut self, method: &str, request: &impl Message) {
        let bytes = frame::request(self.next, self.service, method, 0, request);
        self.next += 2;
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn receive<R: Message + Default>(&mut self) -> Result<R, Status> {
        let mut head = [0; frame::HEADER_LEN];
        self.stream.read_exact(&mut head).unwrap();
        let header = frame::Header::decode(&head).unwrap();
        assert_eq!(header.kind, frame::RESPONSE);
        let mut body = vec![0; header.len];
        self.stream.read_exact(&mut body).unwrap();
        let response = Response::decode(body.as_slice()).unwrap();
        match response.status {
            Some(status) if status.code != 0 => Err(status),
            _ => Ok(R::decode(response.payload.as_slice()).unwrap()),
        }
    }

    pub(crate) fn call<R: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<R, Status> {
        self.send(method, request);
        self.receive()
    }
}

/// A socket path may be long.
pub(crate) fn connect(path: &Path) -> std::io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let dir = fs::File::open(path.parent().unwrap())?;
    UnixStream::connect(format!(
        "/proc/self/fd/{}/{}",
        dir.as_raw_fd(),
        path.file_name().unwrap().to_str().unwrap()
    ))
}

/// A client of an attach socket.
pub(crate) struct Attached {
    pub(crate) stream: UnixStream,
}

impl Attached {
    pub(crate) fn new(path: &Path) -> Attached {
        let stream = connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut attached = Attached { stream };
        assert_eq!(attached.frame(), (attach::READY, Vec::new()));
        attached
    }

    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; HEADER_LEN];
        self.stream.read_exact(&mut head).unwrap();
        let (kind, length) = attach::parse(&head);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).unwrap();
        (kind, payload)
    }

    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) {
        self.stream
            .write_all(&attach::header(kind, payload.len() as u32))
            .unwrap();
        self.stream.write_all(payload).unwrap();
    }

    /// Everything up to the end frame: stdout, stderr. Then the shim closes.
    pub(crate) fn read_to_end(mut self) -> (String, String) {
        let mut texts = [Vec::new(), Vec::new()];
        loop {
            match self.frame() {
                (attach::END, _) => break,
                (kind @ (attach::STDOUT | attach::STDERR), payload) => {
                    texts[usize::from(kind - 1)].extend(payload)
                }
                (kind, _) => panic!("frame {kind}"),
            }
        }
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0, "closed after the end");
        let [out, err] = texts.map(|text| String::from_utf8(text).unwrap());
        (out, err)
    }

    /// Reads stdout until it contains `text`.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let (kind, payload) = self.frame();
            assert_eq!(kind, attach::STDOUT, "waiting for {text:?} after {all:?}");
            all.push_str(&String::from_utf8_lossy(&payload));
        }
        all
    }
}
