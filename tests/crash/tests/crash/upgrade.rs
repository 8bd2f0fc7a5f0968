//! The binaries are replaced and the daemons restarted.

use std::path::{Path, PathBuf};

use lighter_harness::{Engine, Kind, Options, dist};

use crate::support::{Prober, session_with};

fn copy(to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(dist()).expect("our programs").flatten() {
        if !entry.path().is_file() {
            continue;
        }
        // By rename, as packages do: a running program's file cannot be written to.
        let new = to.join(".new");
        std::fs::copy(entry.path(), &new).expect("copying a program");
        std::fs::rename(&new, to.join(entry.file_name())).expect("putting it in place");
    }
}

/// A directory that goes, whatever becomes of the test.
struct Programs(PathBuf);

impl Drop for Programs {
    fn drop(&mut self) {
        // Nobody is left who could do more about it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn replaced_binaries_and_a_restart_are_an_upgrade() {
    let programs = Path::new("/var/tmp").join(format!("lighter-upgrade-{}", std::process::id()));
    copy(&programs);
    let _goes = Programs(programs.clone());
    let options = Options {
        programs: Some(programs.clone()),
        ..Options::default()
    };
    let mut session = session_with(&options);
    let script = "mkdir /www; echo hello >/www/index.html; httpd -f -h /www -p 80";
    session
        .docker(&[
            "run", "-d", "--name", "web", "-p", "18080:80", "busybox", "sh", "-c", script,
        ])
        .ok();
    let init = session.init_pid("web");
    lighter_harness::eventually("the server is up", || {
        (session.host.sh("curl -s http://127.0.0.1:18080/ || true") == "hello").then_some(())
    });
    let prober = Prober::start(
        &session,
        lighter_harness::Machine::Host,
        "http://127.0.0.1:18080/",
    );
    copy(&programs);
    session.engine.take().expect("it runs").stop();
    session.engine = Some(Engine::start(&session.host, Kind::Lighter, &options));
    assert_eq!(session.init_pid("web"), init);
    assert_eq!(session.docker(&["exec", "web", "echo", "here"]).ok(), "here");
    for daemon in ["lighterd", "lighter-containerd"] {
        let pids = session.host.running(daemon);
        assert_eq!(pids.len(), 1, "{daemon}");
        let exe = std::fs::read_link(format!("/proc/{}/exe", pids[0])).expect("its program");
        assert!(
            !exe.display().to_string().ends_with("(deleted)"),
            "{daemon} is the new one"
        );
    }
    prober.finish("the published port over an upgrade", 0);
    session.docker(&["rm", "-f", "web"]).ok();
}
