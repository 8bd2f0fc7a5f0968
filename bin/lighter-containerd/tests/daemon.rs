//! The daemon itself: its configuration, what a service manager hands it, who may reach it, plug-ins behind sockets.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]
#![allow(unused_macros, reason = "each suite uses a part of the support")]

#[macro_use]
mod support;

use std::os::unix::fs::PermissionsExt as _;

use lighter_harness::{Machine, OutputExt as _, eventually};
use support::{Layer, ctr_2};

fn program() -> String {
    let program = lighter_harness::dist().join("lighter-containerd");
    program.display().to_string()
}

impl Layer {
    /// The program with other words.
    fn tool(&self, words: &[&str]) -> lighter_harness::Output {
        let mut command = self.host.command(Machine::Host, &[&program()]);
        command.args(words).result()
    }

    /// Starts it again with a configuration file.
    fn configured(&mut self, text: &str) {
        self.stop();
        std::fs::write(self.path("config.toml"), text).unwrap();
        let path = self.path("config.toml");
        self.restart(&["--config", &path]);
    }
}

#[test]
fn the_configuration_is_read_shown_and_what_means_nothing_is_told() {
    let mut layer = Layer::start(&ctr_2());
    let default = layer.tool(&["config", "default"]).ok();
    assert!(default.starts_with("version = 3\n"), "{default}");
    assert!(
        default.contains("root = \"/var/lib/lighter/containerd\""),
        "{default}"
    );
    layer.configured("version = 2\noom_score = -1\n[grpc]\n gid = 12\n[debug]\n level = \"warn\"\n");
    let log = layer.log();
    assert!(
        log.contains("means nothing here") && log.contains("oom_score"),
        "{log}"
    );
    for socket in ["containerd.sock", "containerd.sock.ttrpc"] {
        let stat = layer
            .host
            .sh(&format!("stat -c '%a %u %g' /run/lighter/containerd/{socket}"));
        assert_eq!(stat.trim(), "660 0 12", "{socket}");
    }
    let file = layer.path("config.toml");
    let dump = layer
        .tool(&["--config", &file, "--root", "/srv/x", "config", "dump"])
        .ok();
    assert!(
        dump.contains("root = \"/srv/x\"") && dump.contains("gid = 12"),
        "{dump}"
    );
    // What was dumped says the same.
    std::fs::write(&file, &dump).unwrap();
    assert_eq!(layer.tool(&["--config", &file, "config", "dump"]).ok(), dump);
    for (text, words) in [
        ("version = 1", "version 1 is not supported"),
        ("[grpc]\ngid = -1", "grpc.gid must be between"),
        ("[debug]\nlevel = \"loud\"", "debug.level \"loud\" is none of"),
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = layer.tool(&["--config", &file, "config", "dump"]).fails(1);
        assert!(refused.contains(words), "{refused}");
    }
    let missing = layer.tool(&["--config", "/no/such.toml"]).fails(1);
    assert!(missing.contains("/no/such.toml"), "{missing}");
}

/// The socket is there before the daemon is, so that nobody who comes early is refused; and it is told when we serve.
#[test]
fn a_service_managers_socket_is_taken_over_and_it_is_told() {
    let layer = Layer::start(&ctr_2());
    let script = r#"
        import os, socket, subprocess, sys
        api = socket.socket(socket.AF_UNIX); api.bind("/run/manager.sock"); api.listen(8)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); told.bind("/run/notify.sock"); told.settimeout(20)
        client = subprocess.Popen([sys.argv[2], "-a", "/run/manager.sock", "namespaces", "create", "early"])
        def child():
            os.dup2(api.fileno(), 3, inheritable=True); os.set_inheritable(3, True)
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET="/run/notify.sock")
            os.execv(sys.argv[1], [sys.argv[1], "--root", "/run/r", "--state", "/run/s", "--address", "/run/manager.sock"])
        pid = os.fork()
        if pid == 0: child()
        assert told.recv(100) == b"READY=1\n"
        assert client.wait(20) == 0
        out = subprocess.run([sys.argv[2], "-a", "/run/manager.sock", "namespaces", "ls", "-q"], capture_output=True, text=True, timeout=20)
        assert out.stdout == "early\n", out
        os.kill(pid, 15)
        assert os.waitpid(pid, 0)[1] == 0
        # It is the manager's: it stays.
        assert os.path.exists("/run/manager.sock") and not os.path.exists("/run/manager.sock.ttrpc")
    "#;
    let script = script
        .lines()
        .map(|line| line.strip_prefix("        ").unwrap_or(line));
    let script = script.collect::<Vec<_>>().join("\n");
    let ctr = ctr_2().display().to_string();
    let words = ["python3", "-c", &script, &program(), &ctr];
    layer.host.command(Machine::Host, &words).result().ok();
}

/// CVE-2021-41103, CVE-2024-25621: directories that others could enter; here the root is closed, also one that an older program left
/// open, and so is every bundle's inside.
#[test]
fn cve_2021_41103_cve_2024_25621_nobody_else_enters_the_directories() {
    let mut layer = Layer::start(&ctr_2());
    layer.stop();
    let root = layer.path("root");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    layer.restart(&[]);
    layer.run(&["-d"], "one", &["/bin/sleep", "1000"]).ok();
    // As any other user: setuid programs, keys and logs inside images and bundles are out of reach, and the socket refuses.
    let bundle = "/run/lighter/containerd/io.containerd.runtime.v2.task/default/one";
    let nobody = |script: &str| {
        let words = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
            script,
        ];
        layer.host.command(Machine::Host, &words).result()
    };
    for path in [
        root.as_str(),
        &format!("{root}/snapshots"),
        &format!("{root}/content"),
        bundle,
    ] {
        assert_ne!(nobody(&format!("ls {path}/")).code, 0, "{path} is listed");
    }
    for path in [
        &format!("{root}/meta.db"),
        "/run/lighter/containerd/lock",
        &format!("{bundle}/config.json"),
        &format!("{bundle}/task.json"),
    ] {
        assert!(
            layer
                .host
                .sh(&format!("test -e {path} && echo there"))
                .contains("there"),
            "{path}"
        );
        assert_ne!(nobody(&format!("cat {path}")).code, 0, "{path} is read");
    }
    let ctr = ctr_2().display().to_string();
    let refused = nobody(&format!(
        "{ctr} --connect-timeout 1s -a /run/lighter/containerd/containerd.sock version"
    ));
    assert_ne!(refused.code, 0, "{refused}");
    layer.ctr(&["task", "kill", "-s", "KILL", "one"]).ok();
    layer.becomes("one", "STOPPED");
    layer.ctr(&["task", "rm", "one"]);
}

/// CVE-2020-15257: an abstract socket is reached by everybody in the network namespace, also by a container in the host's.
#[test]
fn cve_2020_15257_no_socket_is_abstract() {
    let layer = Layer::start(&ctr_2());
    layer.run(&["-d"], "one", &["/bin/sleep", "1000"]).ok();
    let sockets = layer.host.sh("cut -c54- /proc/net/unix | grep '^ *@' || true");
    assert_eq!(sockets.trim(), "");
    let modes = layer.host.sh("stat -c '%a' /run/lighter/containerd/s/*");
    assert!(modes.lines().all(|mode| mode.ends_with("00")), "{modes}");
    layer.ctr(&["task", "kill", "-s", "KILL", "one"]).ok();
    layer.becomes("one", "STOPPED");
    layer.ctr(&["task", "rm", "one"]);
}

#[test]
fn an_event_is_published_from_standard_input() {
    let layer = Layer::start(&ctr_2());
    let out = layer.path("events");
    let mut listener = layer.command(&["events"]);
    let mut listener = listener
        .stdout(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    // containerd.events.TaskOOM of the container "one".
    let publish = format!(
        r"printf '\n\031containerd.events.TaskOOM\022\005\n\003one' | {} --address /run/lighter/containerd/containerd.sock publish --namespace ns --topic /tasks/oom",
        program()
    );
    eventually("the event is heard", || {
        layer.host.sh(&publish);
        let heard = std::fs::read_to_string(&out).unwrap();
        heard
            .contains("ns /tasks/oom {\"container_id\":\"one\"}")
            .then_some(())
    });
    listener.kill().unwrap();
    listener.wait().unwrap();
    let bad = "printf x | ".to_owned() + &program() + " publish --namespace ns --topic /x || echo refused";
    assert!(layer.host.sh(&bad).contains("refused"));
}

/// A snapshotter of another program: here another layer of ours, with its own root.
#[test]
fn a_proxied_snapshotter_serves_containers() {
    let mut layer = Layer::start(&ctr_2());
    let own = program();
    layer.configured(
        "[proxy_plugins.far]\ntype = \"snapshot\"\naddress = \"/run/other.sock\"\nknown_as = \"overlayfs\"\n",
    );
    layer.host.sh(&format!(
        "setsid sh -c 'echo $$ >/run/other.pid; exec {own} --root {} --state /run/other --address /run/other.sock' >/dev/null 2>&1 </dev/null &",
        layer.path("other")
    ));
    let shown = layer.ctr(&["plugins", "ls", "-d", "id==far"]).ok();
    assert!(
        shown.contains("io.containerd.snapshotter.v1") && shown.contains("/run/other.sock"),
        "{shown}"
    );
    let far = |words: &[&str]| layer.ctr(&[&["snapshots", "--snapshotter", "far"], words].concat());
    eventually("the other serves", || (far(&["ls"]).code == 0).then_some(()));
    far(&["prepare", "one"]).ok();
    far(&["commit", "base", "one"]).ok();
    far(&["label", "base", "a=b"]).ok();
    let mounts = far(&["prepare", "--mounts", "two", "base"]).ok();
    assert!(mounts.contains(&layer.path("other")), "{mounts}");
    assert!(far(&["ls"]).ok().contains("base"));
    assert!(far(&["info", "base"]).ok().contains("\"a\": \"b\""));
    let twice = far(&["prepare", "two", "base"]).fails(1);
    assert!(twice.contains("already exists"), "{twice}");
    let missing = far(&["info", "three"]).fails(1);
    assert!(missing.contains("not found"), "{missing}");
    // Ours has none of it, and theirs is in the namespace that it was made in.
    assert!(!layer.ctr(&["snapshots", "ls"]).ok().contains("base"));
    let other = layer
        .host
        .sh(&format!("{} -a /run/other.sock snapshots ls", ctr_2().display()));
    assert!(other.contains("base") && other.contains("two"), "{other}");
    far(&["rm", "two"]).ok();
    far(&["rm", "base"]).ok();
    layer.host.sh("kill $(cat /run/other.pid)");
    eventually("its absence is told", || {
        let away = far(&["ls"]);
        (away.code == 1 && away.stderr.contains("far:")).then_some(())
    });
}

#[test]
fn sandboxes_are_kept_and_one_whose_shim_has_none_leaves_nothing() {
    let layer = Layer::start(&ctr_2());
    let config = layer.path("sandbox.json");
    std::fs::write(&config, "{}").unwrap();
    let none = |namespace: &str| {
        let list = layer.ctr(&["-n", namespace, "sandboxes", "ls"]).ok();
        assert_eq!(list.lines().count(), 1, "{list}");
    };
    none("default");
    // The shim of containerd has no sandboxes: it says so, and nothing of it stays.
    let shim = lighter_harness::lab().join("peers/usr/bin/containerd-shim-runc-v2");
    let shim = shim.display().to_string();
    let run = |id: &str| layer.ctr(&["sandboxes", "run", "--runtime", &shim, &config, id]);
    let refused = run("box").fails(1);
    assert!(
        refused.contains("failed to create sandbox box: service containerd.runtime.sandbox.v1.Sandbox"),
        "{refused}"
    );
    eventually("its shim ends", || {
        let running = layer.host.running("containerd-shim-runc-v2");
        running.is_empty().then_some(())
    });
    let state = "/run/lighter/containerd/io.containerd.sandbox.controller.v1.shim/default";
    assert_eq!(layer.host.sh(&format!("ls -A {state}")), "");
    // Its record is there, as with containerd, and can be removed.
    let list = layer.ctr(&["sandboxes", "ls"]).ok();
    assert!(
        list.contains("box") && list.contains("containerd-shim-runc-v2"),
        "{list}"
    );
    let twice = run("box").fails(1);
    assert!(twice.contains("already exists"), "{twice}");
    none("other");
    layer.ctr(&["sandboxes", "rm", "box"]).ok();
    none("default");
}

#[test]
fn a_sandbox_of_our_shim_runs_and_leaves_nothing() {
    let layer = Layer::start(&ctr_2());
    let config = layer.path("sandbox.json");
    std::fs::write(&config, "{}").unwrap();
    let runtime = "io.containerd.lighter.v1";
    layer
        .ctr(&["sandboxes", "run", "--runtime", runtime, &config, "box"])
        .ok();
    assert_eq!(layer.host.running("containerd-shim-lighter-v1").len(), 1);
    layer.ctr(&["sandboxes", "rm", "box"]).ok();
    eventually("its shim ends", || {
        let running = layer.host.running("containerd-shim-lighter-v1");
        running.is_empty().then_some(())
    });
    let state = "/run/lighter/containerd/io.containerd.sandbox.controller.v1.shim/default";
    assert_eq!(layer.host.sh(&format!("ls -A {state}")), "");
}

/// CVE-2026-53488: an image's labels became a container's, and a plug-in that restarts containers ran the program that one of them
/// names as a logger. Here labels start and run nothing, whoever wrote them.
///
/// CVE-2026-50195, CVE-2026-53489 and CVE-2026-53492 cannot apply: they are in the restoring of CRI checkpoints, and there is no CRI here; what
/// a task is restored from is named by the client, and no name, path or annotation in it is followed. (CVE-2022-23648 is CRI's, too: volumes of
/// an image are made by the engine alone, inside the container's own root.)
#[test]
fn cve_2026_53488_labels_run_nothing() {
    let mut layer = Layer::start(&ctr_2());
    let logger = layer.path("logger");
    std::fs::write(&logger, format!("#!/bin/sh\ntouch {}\n", layer.path("ran"))).unwrap();
    std::fs::set_permissions(&logger, std::fs::Permissions::from_mode(0o755)).unwrap();
    let uri = format!("containerd.io/restart.loguri=binary://{logger}");
    let flags = [
        "--label",
        "containerd.io/restart.status=running",
        "--label",
        &uri,
        "--label",
        "containerd.io/restart.policy=always",
    ];
    layer
        .run(&[&flags[..], &["-d"]].concat(), "one", &["/bin/true"])
        .ok();
    layer.becomes("one", "STOPPED");
    layer.ctr(&["task", "rm", "one"]);
    // A start looks at all that there is, as the peer's plug-in did.
    assert_eq!(layer.stop(), Some(0));
    layer.restart(&[]);
    assert_eq!(layer.status("one"), None);
    assert!(!std::path::Path::new(&layer.path("ran")).exists());
}
