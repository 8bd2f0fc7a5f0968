//! A shim with nothing to do does nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;

use lighter_harness::eventually;
use lighter_shim_api::task::CreateTaskRequest;
use support::Bed;

/// How often the shim has gone to sleep.
fn sleeps(bed: &Bed, shim: u32) -> String {
    bed.host
        .sh(&format!("grep ^voluntary /proc/{shim}/status"))
        .trim()
        .to_owned()
}

/// Somebody who would hear events: the shim of a layer that is away tries again each second.
fn listen(bed: &Bed) -> UnixListener {
    let dir = fs::File::open(bed.events.parent().unwrap()).unwrap();
    let name = bed.events.file_name().unwrap().display();
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).unwrap()
}

/// Waits until a second passes without a wake-up.
fn rests(bed: &Bed, shim: u32) {
    eventually("a second without a wake-up", || {
        let before = sleeps(bed, shim);
        bed.host.sh("sleep 1");
        (sleeps(bed, shim) == before).then_some(())
    });
}

#[test]
fn a_shim_whose_container_waits_never_wakes() {
    let bed = Bed::new(&["sleep", "1000"]);
    let _listener = listen(&bed);
    let mut task = bed.task();
    task.create();
    task.start("");
    let shim = bed.shim_pid();
    rests(&bed, shim);
}

#[test]
fn a_fifo_that_nobody_reads_costs_nothing_until_somebody_does() {
    let bed = Bed::new(&["sh", "-c", "echo hello; exec sleep 1000"]);
    let (out, err) = (bed.fifo("out"), bed.fifo("err"));
    let _listener = listen(&bed);
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdout: out.clone(),
        stderr: err.clone(),
        ..bed.create_request()
    });
    task.start("");
    let shim = bed.shim_pid();
    rests(&bed, shim);
    // A reader wakes it, and has all that was written before it came.
    let mut reader = BufReader::new(fs::File::open(&out).unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    // The other one is waited for still, and nothing is asked meanwhile.
    rests(&bed, shim);
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    assert_eq!(reader.read_to_string(&mut line).unwrap(), 0);
    // The end is there for a reader that comes after it.
    assert_eq!(fs::read_to_string(&err).unwrap(), "");
    task.delete("");
    bed.is_clean();
}
