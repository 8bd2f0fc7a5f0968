//! What callers may ask of the runtime and of the shim itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use lighter_harness::{Machine, eventually};
use lighter_shim_api::info::RuntimeInfo;
use lighter_shim_api::runc_options::Options;
use lighter_shim_api::task::*;
use lighter_shim_api::{Any, Message, cgroups_v1, cgroups_v2, runtime_options, service};
use support::{Bed, program};

/// A runtime that writes down how it was called.
fn recorder(bed: &Bed) -> String {
    let real = lighter_harness::dist().join("lighter-runc");
    bed.script(
        "recorder",
        &format!(
            "echo \"$@\" >>$(dirname $0)/calls; exec {} \"$@\"",
            real.display()
        ),
    )
}

fn runc(options: &Options) -> Any {
    Any {
        type_url: service::RUNC_OPTIONS.into(),
        value: options.encode_to_vec(),
    }
}

fn life(bed: &Bed, options: Any) -> String {
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        options: Some(options),
        ..bed.create_request()
    });
    task.start("");
    assert_eq!(task.wait(""), 0);
    task.delete("");
    fs::read_to_string(bed.base.join("calls")).unwrap()
}

#[test]
fn options_reach_the_runtime() {
    let bed = Bed::new(&["busybox", "stat", "-L", "-c", "%u:%g", "/proc/self/fd/1"]);
    let calls = life(
        &bed,
        runc(&Options {
            binary_name: recorder(&bed),
            root: bed.base.join("runtime").display().to_string(),
            no_pivot_root: true,
            no_new_keyring: true,
            io_uid: 1234,
            io_gid: 4321,
            ..Default::default()
        }),
    );
    let create = calls.lines().next().unwrap();
    assert!(
        create.contains("--no-pivot") && create.contains("--no-new-keyring"),
        "{create}"
    );
    assert!(
        create.contains(&format!("--root {}/runtime/test", bed.base.display())),
        "{create}"
    );
    assert!(!calls.contains("--systemd-cgroup"));
    // Who owns the pipe may open it anew.
    assert_eq!(bed.logged("stdout"), "1234:4321\n");
}

#[test]
fn options_as_text_mean_the_same() {
    let bed = Bed::new(&["busybox", "stat", "-L", "-c", "%u:%g", "/proc/self/fd/1"]);
    let text = format!(
        "BinaryName = \"{}\"\nRoot = '{}/runtime'\nNoPivotRoot = true\nIoUid = 77\n",
        recorder(&bed),
        bed.base.display()
    );
    let generic = |options: runtime_options::Options| Any {
        type_url: service::RUNTIME_OPTIONS.into(),
        value: options.encode_to_vec(),
    };
    let body = runtime_options::Options {
        config_body: text.clone().into_bytes(),
        ..Default::default()
    };
    assert!(life(&bed, generic(body)).contains("--no-pivot"));
    fs::remove_file(bed.base.join("calls")).unwrap();
    bed.make_bundle(&["true"], false);
    let path = bed.base.join("options.toml");
    fs::write(&path, text).unwrap();
    let file = runtime_options::Options {
        config_path: path.display().to_string(),
        ..Default::default()
    };
    assert!(life(&bed, generic(file)).contains("--no-pivot"));
    assert_eq!(bed.logged("stdout"), "77:0\n");
}

#[test]
fn a_wish_for_systemd_is_passed_on_also_to_the_clean_up() {
    let bed = Bed::new(&["true"]);
    let real = lighter_harness::dist().join("lighter-runc");
    // There is no systemd here: what is asked for it is written down, and done without.
    let script = format!(
        "echo \"$@\" >>$(dirname $0)/calls; for a; do shift; [ $a = --systemd-cgroup ] || set -- \"$@\" $a; done; exec {} \"$@\"",
        real.display()
    );
    let options = Options {
        binary_name: bed.script("recorder", &script),
        root: bed.base.join("runtime").display().to_string(),
        systemd_cgroup: true,
        ..Default::default()
    };
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        options: Some(runc(&options)),
        ..bed.create_request()
    });
    let shim = bed.shim_pid();
    bed.host.sh(&format!("kill -9 {shim}"));
    bed.verb("delete", &[]);
    let calls = fs::read_to_string(bed.base.join("calls")).unwrap();
    assert!(
        calls.lines().all(|call| call.contains("--systemd-cgroup")),
        "{calls}"
    );
    assert!(
        calls.lines().last().unwrap().contains("delete --force c1"),
        "{calls}"
    );
    bed.is_clean();
}

#[test]
fn a_shim_tells_what_it_is() {
    let bed = Bed::new(&["true"]);
    let run = |flag: &str| {
        let mut command = bed
            .host
            .command(Machine::Host, &[&program().display().to_string(), flag]);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert!(
        String::from_utf8(run("-v"))
            .unwrap()
            .starts_with("io.containerd.lighter.v1:\n  Version:")
    );
    let info = RuntimeInfo::decode(run("-info").as_slice()).unwrap();
    assert_eq!(info.name, "io.containerd.lighter.v1");
    let features: serde_json::Value = serde_json::from_slice(&info.features.unwrap().value).unwrap();
    assert!(features["ociVersionMax"].is_string(), "{features}");
}

#[test]
fn a_shim_goes_where_its_caller_wants_it() {
    let mut bed = Bed::new(&["true"]);
    bed.id = "c2".into();
    bed.make_bundle(&["true"], false);
    let group = format!("{}/shims", bed.host.cgroup_parent());
    bed.host.sh(&format!("mkdir -p /sys/fs/cgroup/pids{group}"));
    let options = runc(&Options {
        shim_cgroup: group.clone(),
        ..Default::default()
    });
    let file = bed.base.join("options.pb");
    fs::write(&file, options.encode_to_vec()).unwrap();
    bed.printed = bed.start_with_input(&file);
    let shim = bed.shim_pid();
    let cgroups = bed.host.sh(&format!("cat /proc/{shim}/cgroup"));
    assert!(cgroups.contains(&format!("pids:{group}")), "{cgroups}");
    bed.host.sh(&format!("kill -9 {shim}"));
    eventually("the cgroup can go", || {
        bed.host
            .sh(&format!("rmdir /sys/fs/cgroup/pids{group} 2>&1 || true"))
            .is_empty()
            .then_some(())
    });
}

#[test]
fn metrics_are_whole() {
    let bed = Bed::new(&[
        "sh",
        "-c",
        "sleep 1000 & x=0; while [ $x -lt 20000 ]; do x=$((x+1)); done; wait",
    ]);
    let mut task = bed.task();
    task.create();
    task.start("");
    let request = StatsRequest { id: "c1".into() };
    eventually("it used some time", || {
        let stats: StatsResponse = task.client.call("Stats", &request).unwrap();
        let any = stats.stats.unwrap();
        if any.type_url == service::CGROUPS_V2 {
            let metrics = cgroups_v2::Metrics::decode(any.value.as_slice()).unwrap();
            return (metrics.cpu.unwrap().usage_usec > 1000 && metrics.pids.unwrap().current >= 2)
                .then_some(());
        }
        assert_eq!(any.type_url, service::CGROUPS_V1);
        let metrics = cgroups_v1::Metrics::decode(any.value.as_slice()).unwrap();
        let (memory, cpu) = (metrics.memory.unwrap(), metrics.cpu.unwrap().usage.unwrap());
        assert!(memory.usage.unwrap().limit > 0 && metrics.blkio.is_some() && !cpu.per_cpu.is_empty());
        (cpu.total > 1_000_000 && metrics.pids.unwrap().current >= 2 && memory.total_rss > 0).then_some(())
    });
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}
