//! Images under containerd's own client, of 1.6 and of 2.1: imported, pulled, run, and gone.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

#[macro_use]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use lighter_harness::{OutputExt as _, Registry, eventually};
use support::{Layer, ctr_2};

with_both_clients! {
    an_imported_image_runs
    an_image_is_pulled_run_and_removed
}

const IMPORTED: &str = "docker.io/test/busybox:latest";

/// An import by way of content, images and diffs: 2.1 would else ask for a transfer from a stream.
fn import(layer: &Layer, ctr: &Path) -> Command {
    let mut command = layer.command(&["images", "import"]);
    if ctr == ctr_2() {
        command.arg("--local");
    }
    command.arg(layer.path("image.tar"));
    command
}

fn an_imported_image_runs(ctr: &Path) {
    let layer = Layer::start(ctr);
    import(&layer, ctr).result().ok();
    let list = layer.ctr(&["images", "ls"]).ok();
    assert!(list.contains(IMPORTED) && list.contains("linux/amd64"), "{list}");
    let script = "echo $PATH; cat; echo of its own >/new; ls /new";
    let mut words = vec!["run", "--rm", "--runtime", "io.containerd.lighter.v1"];
    let cgroup = format!("{}/one", layer.host.cgroup_parent());
    words.extend(["--cgroup", &cgroup, IMPORTED, "one", "sh", "-c", script]);
    let mut client = layer
        .command(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "/bin");
    // Only now: `ctr` forgets to tell of an end that it sees before it knows the task.
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"from outside\n").unwrap();
    drop(stdin);
    let rest: Vec<_> = output.map(Result::unwrap).collect();
    assert_eq!(rest, ["from outside", "/new"]);
    assert!(client.wait().unwrap().success());
    // What one wrote, another does not see.
    let ran = layer.run_from(&["--rm"], IMPORTED, "two", &["ls", "/new"]);
    assert_eq!(ran.code, 1, "{ran}");
    let list = layer.ctr(&["snapshots", "ls"]).ok();
    assert_eq!(list.lines().count(), 2, "the image's one layer is left: {list}");
    eventually("nothing is left", || layer.leftovers().is_empty().then_some(()));
}

fn an_image_is_pulled_run_and_removed(ctr: &Path) {
    let layer = Layer::start(ctr);
    let _registry = Registry::start(&layer.host);
    let name = format!("{}/library/busybox:latest", Registry::ADDRESS);
    layer.ctr(&["images", "pull", "--plain-http", &name]).ok();
    let ran = layer.run_from(&["--rm"], &name, "one", &["echo", "pulled"]);
    assert_eq!(ran.ok(), "pulled");
    assert!(layer.ctr(&["content", "ls", "-q"]).ok().lines().count() >= 3);
    layer.ctr(&["images", "rm", "--sync", &name]).ok();
    assert_eq!(layer.ctr(&["images", "ls", "-q"]).ok(), "");
    assert_eq!(layer.ctr(&["content", "ls", "-q"]).ok(), "");
    assert_eq!(
        layer.ctr(&["snapshots", "ls"]).ok().lines().count(),
        1,
        "only its heading"
    );
    let none = format!("{}/library/no-such:latest", Registry::ADDRESS);
    let error = layer.ctr(&["images", "pull", "--plain-http", &none]).fails(1);
    assert!(error.contains("not found"), "{error}");
}
