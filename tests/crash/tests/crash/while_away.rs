//! What happens while no daemon is there to see it.

use std::time::Duration;

use jiff::Timestamp;
use lighter_harness::{Options, eventually, within};

use crate::support::{check_nothing_left, kill, kill_all, revive, session};

/// Kills engine and layer.
fn kill_daemons(session: &mut lighter_harness::Session) {
    session.engine.take().expect("it runs").kill();
    assert_eq!(kill_all(session, "lighter-containerd"), 1);
}

#[test]
fn an_exit_while_all_were_dead_is_reported_with_code_and_time() {
    let mut session = session();
    session
        .docker(&[
            "run",
            "-d",
            "--name",
            "brief",
            "busybox",
            "sh",
            "-c",
            "while [ ! -e /go ]; do usleep 10000; done; echo last words; exit 7",
        ])
        .ok();
    session
        .docker(&[
            "run",
            "-d",
            "--rm",
            "--name",
            "gone",
            "busybox",
            "sh",
            "-c",
            "while [ ! -e /go ]; do usleep 10000; done",
        ])
        .ok();
    let pids = [session.init_pid("brief"), session.init_pid("gone")];
    kill_daemons(&mut session);
    let before = Timestamp::now();
    for pid in pids {
        std::fs::write(format!("/proc/{pid}/root/go"), "").expect("telling it to go on");
        eventually("it ended", || {
            (!std::fs::exists(format!("/proc/{pid}/ns")).ok()?).then_some(())
        });
    }
    let after = Timestamp::now();
    std::thread::sleep(Duration::from_millis(1200));
    revive(&mut session, &Options::default());
    assert_eq!(
        session.inspect("brief", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 7"
    );
    let finished: Timestamp = session
        .inspect("brief", "{{.State.FinishedAt}}")
        .parse()
        .expect("a time");
    let slack = jiff::SignedDuration::from_millis(300);
    assert!(
        finished + slack >= before && finished <= after + slack,
        "{finished} is not between {before} and {after}"
    );
    assert_eq!(session.docker(&["logs", "brief"]).ok(), "last words");
    assert_eq!(session.docker(&["wait", "brief"]).ok(), "7");
    eventually("the other is removed", || {
        (session.docker(&["ps", "-aq"]).ok().lines().count() == 1).then_some(())
    });
    // It is as good as before.
    session.docker(&["start", "brief"]).ok();
    assert_eq!(session.docker(&["wait", "brief"]).ok(), "7");
    session.docker(&["rm", "brief"]).ok();
    check_nothing_left(&session);
}

#[test]
fn a_killed_shim_ends_its_container_within_a_second() {
    let session = session();
    session
        .docker(&["run", "-d", "--name", "orphan", "busybox", "sleep", "1000"])
        .ok();
    let init = session.init_pid("orphan");
    let shims = session.host.running("containerd-shim-lighter-v1");
    assert_eq!(shims.len(), 1);
    kill(shims[0]);
    within(Duration::from_secs(1), "the container's end is seen", || {
        (session.inspect("orphan", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137").then_some(())
    });
    assert!(
        !std::fs::exists(format!("/proc/{init}/ns")).expect("/proc can be read"),
        "its process is gone"
    );
    session.docker(&["start", "orphan"]).ok();
    session.docker(&["rm", "-f", "orphan"]).ok();
    check_nothing_left(&session);
}

#[test]
fn a_shim_killed_while_all_were_dead_is_found_out() {
    let mut session = session();
    session
        .docker(&[
            "run", "-d", "--name", "orphan", "-p", "18080:80", "busybox", "sleep", "1000",
        ])
        .ok();
    kill_daemons(&mut session);
    kill_all(&session, "containerd-shim-lighter-v1");
    revive(&mut session, &Options::default());
    eventually("the container's end is seen", || {
        (session.inspect("orphan", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137").then_some(())
    });
    session.docker(&["start", "orphan"]).ok();
    session.docker(&["rm", "-f", "orphan"]).ok();
    check_nothing_left(&session);
}

#[test]
fn a_restart_policy_goes_on_where_it_was() {
    let mut session = session();
    session
        .docker(&[
            "run",
            "-d",
            "--restart",
            "always",
            "--name",
            "again",
            "busybox",
            "sleep",
            "1000",
        ])
        .ok();
    session
        .docker(&[
            "run",
            "-d",
            "--restart",
            "unless-stopped",
            "--name",
            "stopped",
            "busybox",
            "sleep",
            "1000",
        ])
        .ok();
    session.docker(&["kill", "stopped"]).ok();
    let first = session.init_pid("again");
    kill_daemons(&mut session);
    kill(first);
    revive(&mut session, &Options::default());
    eventually("it runs again", || {
        (session.inspect("again", "{{.State.Status}}") == "running" && session.init_pid("again") != first)
            .then_some(())
    });
    assert_eq!(session.inspect("stopped", "{{.State.Status}}"), "exited");
}
