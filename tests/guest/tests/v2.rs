//! The runtime's own suites once more, under pure cgroup v2 and under systemd: a test here is a test program there, whole, in
//! a guest of its own. What this machine's hierarchy is does not matter to them.
//!
//! A harness of its own: a new file in `crates/runtime/tests` is a new test here without a line changed.

#![allow(missing_docs, reason = "a test program")]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use lighter_guest::{Guest, Kind, Program, programs, verdicts};

/// Whole programs that a guest does not run.
const NOT_HERE: &[(&str, &str)] = &[
    ("checkpoint", "this kernel has no CONFIG_CHECKPOINT_RESTORE"),
    ("documents", "parsers only: no kernel has a part in it"),
    (
        "differential",
        "the peers are not in the guest, and hundreds of containers take too long",
    ),
    ("faults", "a start for each system call takes too long"),
];

/// Tests that fail for what a User-mode Linux lacks.
const LACKS: &[(&str, &str, &str)] = &[
    (
        "command_line",
        "a_new_specification_is_runcs",
        "no runc to compare with",
    ),
    (
        "process",
        "later_processes_run_on_their_processors",
        "one processor",
    ),
    ("process", "the_memory_policy_is_set", "no NUMA"),
    (
        "process",
        "what_makes_no_sense_is_refused_by_its_field",
        "no NUMA: the policy is refused by the kernel first",
    ),
    (
        "process",
        "the_personality_is_set",
        "uname names one machine, whatever the personality",
    ),
    (
        "process",
        "a_real_time_policy_is_set",
        "CONFIG_RT_GROUP_SCHED: a group of v2 has no real-time budget there, and no file to give it one",
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut filters: Vec<&str> = Vec::new();
    let has = |flag: &str| arguments.iter().any(|word| word == flag);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            // The flags with a value of their own.
            "--format" | "--test-threads" | "--color" | "--skip" | "-Z" => drop(words.next()),
            word if word.starts_with('-') => {}
            word => filters.push(word),
        }
    }
    let chosen = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if has("--exact") {
                    name == *filter
                } else {
                    name.contains(filter)
                }
            })
    };
    let mut out = std::io::stdout();
    let mut failed = false;
    for program in programs("crates/runtime") {
        let name = format!("runtime::{}", program.name);
        if !chosen(&name) || has("--ignored") || NOT_HERE.iter().any(|(other, _)| *other == program.name) {
            continue;
        }
        if has("--list") {
            let _ = writeln!(out, "{name}: test");
            continue;
        }
        failed |= !passes(&program, &mut out);
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs a program in a guest and says what became of each of its tests.
fn passes(program: &Program, out: &mut std::io::Stdout) -> bool {
    let kind = if program.name == "systemd" {
        Kind::Systemd
    } else {
        Kind::Plain
    };
    let deps = program.path.parent().and_then(|deps| deps.parent());
    let skips: String = LACKS
        .iter()
        .filter(|(name, ..)| *name == program.name)
        .map(|(_, test, why)| {
            let _ = writeln!(out, "{}::{test}: not here: {why}", program.name);
            format!(" --skip {test}")
        })
        .collect();
    // One processor: a second thread only fills the waits of the first.
    let script = format!(
        "cd /tmp; [ \"$(stat -fc %T /sys/fs/cgroup)\" = cgroup2fs ] || exit 99; exec {} --test-threads=2 --exact{skips}",
        program.path.display()
    );
    let guest = Guest::new(kind).sees(deps.expect("a build directory"));
    let ran = guest.limit(Duration::from_secs(150)).run(&script);
    let verdicts = verdicts(&ran.output);
    for verdict in &verdicts {
        let word = if verdict.passed { "ok" } else { "FAILED" };
        let _ = writeln!(out, "{}::{}: {word}", program.name, verdict.test);
    }
    let passed = ran.code == 0 && verdicts.iter().all(|verdict| verdict.passed);
    let seconds = ran.took.as_secs_f32();
    let _ = writeln!(
        out,
        "{}: {} tests in {seconds:.1} s, exit code {}",
        program.name,
        verdicts.len(),
        ran.code
    );
    if !passed {
        let _ = writeln!(out, "{}", ran.output);
    }
    passed
}
