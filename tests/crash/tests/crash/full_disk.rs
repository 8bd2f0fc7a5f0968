//! A disk that is full: nothing is lost, nothing hangs, and removal makes room.

use lighter_harness::{Client, Engine, Host, Kind, Options, Registry, Session};

use crate::support::{check_nothing_left, revive};

/// Fills the disk and ends with a code of its own.
const FILL: &str = "head -c 100000000 /dev/zero >/f; exit 9";

#[test]
fn a_full_disk_loses_no_exit_and_removal_makes_room() {
    let host = Host::new();
    host.sh(&format!(
        "mkdir -p {0} && mount -t tmpfs -o size=24m tmpfs {0}",
        host.dir().join("lighter").display()
    ));
    let registry = Registry::start(&host);
    let engine = Some(Engine::start(&host, Kind::Lighter, &Options::default()));
    let mut session = Session {
        engine,
        registry,
        client: Client::Stock,
        host,
    };
    session.pull("busybox");

    let run = [
        "run",
        "--name",
        "filler",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        FILL,
    ];
    session.docker(&run).fails(9);
    assert_eq!(
        session.inspect("filler", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 9"
    );
    revive(&mut session, &Options::default());
    assert_eq!(
        session.inspect("filler", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 9"
    );
    session.docker(&["rm", "-f", "filler"]).ok();

    // The room is there again, also for one that removes itself.
    let run = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", FILL];
    session.docker(&run).fails(9);
    assert_eq!(
        session.docker(&["run", "--rm", "busybox", "echo", "room"]).ok(),
        "room"
    );
    assert_eq!(session.docker(&["ps", "-aq"]).ok(), "");
    check_nothing_left(&session);
}
