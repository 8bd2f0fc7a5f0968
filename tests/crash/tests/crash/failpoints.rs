//! Death between any two steps of a create, a start, an exit and a removal.

use lighter_harness::{Client, Kind, Options, Session, eventually};

use crate::support::{check_nothing_left, revive, try_docker};

/// Dies at `point` while a container is run, stopped and removed; then everything must still be possible.
fn survives(point: &str) {
    let dying = Options {
        flags: vec![format!("--abort-at={point}")],
        ..Options::default()
    };
    let mut session = Session::start_with(Kind::Lighter, Client::Stock, &dying);
    // A layer that dies while it unpacks fails this pull; what it fetched is there for the next.
    try_docker(&session, &["pull", "-q", "busybox"]);
    session.pull("busybox");
    let script = "trap 'exit 0' TERM; echo line 1; while :; do usleep 10000; done";
    let run = [
        "run", "-d", "--name", "cc", "-p", "18080:80", "busybox", "sh", "-c", script,
    ];
    try_docker(&session, &run);
    try_docker(&session, &["stop", "-t", "2", "cc"]);
    try_docker(&session, &["rm", "-f", "cc"]);
    // The engine is gone, or tells of a layer that was: a moment after the client has heard of it.
    eventually(&format!("{point} is come to"), || {
        let log = std::fs::read_to_string(session.host.dir().join("engine.log")).expect("the engine's log");
        let died = session.host.running("lighterd").is_empty() || log.contains("lighter-containerd died");
        died.then_some(())
    });
    revive(&mut session, &Options::default());

    // A state that existed or was about to: it is there and can be used, or it is not and can be made.
    let there = session
        .docker(&["ps", "-a", "--filter", "name=cc", "--format", "{{.State}}"])
        .ok();
    println!("{point}: after the restart the container is {there:?}");
    match there.as_str() {
        "" => {
            session.docker(&run).ok();
        }
        "running" => {}
        "created" | "exited" => {
            session.docker(&["start", "cc"]).ok();
        }
        other => panic!("{point}: a container in the state {other}"),
    }
    assert_eq!(session.docker(&["exec", "cc", "echo", "here"]).ok(), "here");
    eventually("it wrote its line", || {
        session
            .docker(&["logs", "cc"])
            .ok()
            .ends_with("line 1")
            .then_some(())
    });
    session.docker(&["stop", "cc"]).ok();
    assert_eq!(
        session.inspect("cc", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 0"
    );
    session.docker(&["rm", "cc"]).ok();
    check_nothing_left(&session);
}

macro_rules! points {
    ($($name:ident: $point:literal,)*) => {
        $(#[test] fn $name() { survives($point); })*
    };
}

points! {
    created_snapshot_made: "engine.create.prepared",
    created_and_recorded: "engine.create.recorded",
    started_network_there: "engine.start.networked",
    started_record_in_the_layer: "engine.start.recorded",
    started_task_created: "engine.start.created",
    started_and_not_recorded: "engine.start.started",
    exited_and_recorded: "engine.exit.recorded",
    exited_and_cleaned_up: "engine.exit.cleaned",
    removal_marked: "engine.remove.marked",
    removed_and_not_forgotten: "engine.remove.wiped",
    network_recorded: "network.setup.recorded",
    network_wired: "network.setup.wired",
    network_unpinned: "network.teardown.unpinned",
    layer_bundle_made: "layer.create.bundle",
    layer_shim_forked: "layer.create.shim",
    layer_shim_bootstrapped: "layer.create.bootstrap",
    layer_task_created: "layer.create.task",
    layer_task_recorded: "layer.create.recorded",
    layer_before_the_start: "layer.start.before",
    layer_started: "layer.start.started",
    layer_task_deleted: "layer.delete.task",
    layer_shim_shut_down: "layer.delete.shutdown",
    layer_unmounted: "layer.delete.unmounted",
    layer_bundle_hidden: "layer.delete.hidden",
    snapshot_forgotten: "snapshots.remove.forgotten",
    snapshot_directory_made: "snapshots.prepare.made",
}
