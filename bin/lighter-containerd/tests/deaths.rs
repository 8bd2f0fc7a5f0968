//! The layer dies between any two steps of a container's life: the next one finds a state that existed or was about to.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod support;

use lighter_harness::eventually;
use support::{Layer, ctr_1};

/// Steps of `create` and `start`.
const BIRTH: [&str; 7] = [
    "layer.create.bundle",
    "layer.create.shim",
    "layer.create.bootstrap",
    "layer.create.task",
    "layer.create.recorded",
    "layer.start.before",
    "layer.start.started",
];
/// Steps of `delete`.
const DEATH: [&str; 4] = [
    "layer.delete.task",
    "layer.delete.shutdown",
    "layer.delete.unmounted",
    "layer.delete.hidden",
];

/// Steps of an exit.
const EXIT: [&str; 2] = ["layer.exit.heard", "layer.exit.recorded"];

/// Whatever is left can be taken away, the name is free again, and nothing stays.
fn is_whole(layer: &Layer, point: &str) {
    layer.ctr(&["task", "delete", "-f", "one"]);
    layer.ctr(&["containers", "delete", "one"]);
    assert_eq!(layer.ctr(&["containers", "ls", "-q"]).ok(), "", "{point}");
    assert_eq!(layer.ctr(&["task", "ls", "-q"]).ok(), "", "{point}");
    eventually(&format!("nothing is left after {point}"), || {
        layer.leftovers().is_empty().then_some(())
    });
    let again = layer.run(&["--rm"], "one", &["/bin/echo", "whole"]);
    assert_eq!(again.ok(), "whole", "{point}");
    eventually(&format!("nothing is left after {point}"), || {
        layer.leftovers().is_empty().then_some(())
    });
}

#[test]
fn a_death_while_a_task_is_made_leaves_it_or_nothing() {
    let mut layer = Layer::start(&ctr_1());
    for point in BIRTH {
        assert_eq!(layer.stop(), Some(0));
        layer.restart(&["--abort-at", point]);
        let run = layer.run(&["-d"], "one", &["/bin/sleep", "1000"]);
        assert_ne!(run.code, 0, "{point}: {run}");
        layer.ends();
        layer.restart(&[]);
        let status = layer.status("one");
        let expected: &[Option<&str>] = match point {
            "layer.create.bundle" | "layer.create.shim" | "layer.create.bootstrap" => &[None],
            "layer.create.task" | "layer.create.recorded" | "layer.start.before" => &[Some("CREATED")],
            _ => &[Some("RUNNING")],
        };
        assert!(expected.contains(&status.as_deref()), "{point}: {status:?}");
        is_whole(&layer, point);
    }
}

#[test]
fn a_death_while_an_exit_is_recorded_loses_no_exit() {
    let mut layer = Layer::start(&ctr_1());
    for point in EXIT {
        assert_eq!(layer.stop(), Some(0));
        layer.restart(&["--abort-at", point]);
        // The client may or may not hear of its start before the layer dies of its exit.
        layer.run(&["-d"], "one", &["/bin/sh", "-c", "exit 9"]);
        layer.ends();
        layer.restart(&[]);
        layer.becomes("one", "STOPPED");
        let deleted = layer.ctr(&["task", "delete", "one"]);
        assert!(deleted.stderr.contains("exit code 9"), "{point}: {deleted}");
        is_whole(&layer, point);
    }
}

#[test]
fn a_death_while_a_task_is_deleted_loses_no_exit() {
    let mut layer = Layer::start(&ctr_1());
    for point in DEATH {
        assert_eq!(layer.stop(), Some(0));
        layer.restart(&["--abort-at", point]);
        layer.run(&["-d"], "one", &["/bin/sh", "-c", "exit 9"]).ok();
        layer.becomes("one", "STOPPED");
        let deleted = layer.ctr(&["task", "delete", "one"]);
        assert_ne!(deleted.code, 0, "{point}: {deleted}");
        layer.ends();
        layer.restart(&[]);
        // It is there with its code, or it is deleted.
        if layer.status("one").is_some() {
            let deleted = layer.ctr(&["task", "delete", "one"]);
            assert!(deleted.stderr.contains("exit code 9"), "{point}: {deleted}");
        }
        is_whole(&layer, point);
    }
}
