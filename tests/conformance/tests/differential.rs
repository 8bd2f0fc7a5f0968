//! Generated configurations through ours, runc and crun of today.

use std::path::Path;
use std::process::Stdio;

use lighter_conformance::launch::{Programs, host, remove_groups};

/// Configurations a worker, for each of `LIGHTER_ROUNDS`.
const CASES: u64 = 50;
const WORKERS: u64 = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn the_process_inside_sees_what_it_sees_under_runc() {
    let (seed, rounds) = (number("LIGHTER_SEED", 28), number("LIGHTER_ROUNDS", 3));
    println!("LIGHTER_SEED={seed} LIGHTER_ROUNDS={rounds}");
    let peers = lighter_harness::lab().join("peers");
    let runtime = lighter_harness::dist().join("lighter-runc");
    let programs = Programs {
        peers: &peers,
        runtime: &runtime,
        probe: Path::new(env!("CARGO_BIN_EXE_probe")),
        inside: Path::new(env!("CARGO_BIN_EXE_differ")),
    };
    let workers = (0..WORKERS).map(|worker| {
        let group = format!("lt-diff-{}-{worker}", std::process::id());
        let words = [seed, worker, rounds * CASES].map(|number| number.to_string());
        let most = number("LIGHTER_MOST", 0).to_string();
        let words: Vec<String> = words.into_iter().chain([group.clone(), most]).collect();
        let child = host(programs, &words)
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv of util-linux");
        (group, child)
    });
    let workers: Vec<_> = workers.collect();
    let mut failed = false;
    for (group, child) in workers {
        let output = child.wait_with_output().expect("the host ends");
        remove_groups(&group);
        println!("{}", String::from_utf8_lossy(&output.stdout));
        failed |= !output.status.success();
    }
    assert!(!failed, "differences, above; LIGHTER_SEED={seed} repeats them");
}
