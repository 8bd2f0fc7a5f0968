//! Hostile ttrpc: lengths, halves, streams, floods, clients that do not read. The shim goes on, and stays small.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use lighter_shim_api::frame::{self, DATA, HEADER_LEN, Header, MAX_LEN, REQUEST, RESPONSE};
use lighter_shim_api::service;
use lighter_shim_api::status::Status;
use lighter_shim_api::task::StateRequest;
use support::Bed;

fn good(stream: u32) -> Vec<u8> {
    let request = StateRequest {
        id: "c1".into(),
        exec_id: String::new(),
    };
    frame::request(stream, service::TASK_V3, "State", 0, &request)
}

fn head(len: usize, stream: u32, kind: u8) -> Vec<u8> {
    let header = Header {
        len,
        stream,
        kind,
        flags: 0,
    };
    header.encode().to_vec()
}

/// Memory of the shim that is its own, in KiB.
fn own_memory(bed: &Bed, shim: u32) -> u64 {
    let text = bed.host.sh(&format!(
        "awk '/^Private_Dirty:/{{print $2}}' /proc/{shim}/smaps_rollup"
    ));
    text.trim().parse().unwrap()
}

#[test]
fn frames_that_lie_end_their_connection_and_nothing_else() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    // Longer than may be, and a request that is none: the shim hangs up.
    let mut no_message = head(3, 1, REQUEST);
    no_message.extend([0xff; 3]);
    for lie in [
        head(MAX_LEN + 1, 1, REQUEST),
        head(u32::MAX as usize, 1, REQUEST),
        no_message,
    ] {
        let mut client = bed.client();
        client.raw().write_all(&lie).unwrap();
        assert_eq!(client.raw().read(&mut [0; 16]).unwrap(), 0);
    }
    // Frames that no server expects are passed over, on whatever stream they come.
    let mut client = bed.client();
    for (stream, kind) in [(0, RESPONSE), (2, DATA), (u32::MAX, 99), (1, RESPONSE)] {
        client.raw().write_all(&head(0, stream, kind)).unwrap();
    }
    for stream in [0, 2, u32::MAX, 1, 1] {
        client.raw().write_all(&good(stream)).unwrap();
        let mut answer = [0; HEADER_LEN];
        client.raw().read_exact(&mut answer).unwrap();
        let header = Header::decode(&answer).unwrap();
        assert_eq!((header.stream, header.kind), (stream, RESPONSE));
        client.raw().read_exact(&mut vec![0; header.len]).unwrap();
    }
    // One byte after the other is as good as all at once.
    for byte in good(7) {
        client.raw().write_all(&[byte]).unwrap();
    }
    let mut answer = [0; HEADER_LEN];
    client.raw().read_exact(&mut answer).unwrap();
    assert_eq!(Header::decode(&answer).unwrap().stream, 7);
    assert_eq!(task.state("").status, Status::Running as i32);
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}

#[test]
fn halves_and_floods_cost_no_memory_that_stays() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    let shim = bed.shim_pid();
    // Fifty that announce much and send little.
    let mut halves: Vec<_> = (0..50).map(|_| bed.client()).collect();
    for client in &mut halves {
        client.raw().write_all(&head(MAX_LEN, 1, REQUEST)).unwrap();
        client.raw().write_all(&[0; 1000]).unwrap();
    }
    // One that asks and asks and never reads: at some point it is not listened to.
    let mut flood = bed.client();
    flood
        .raw()
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let many: Vec<u8> = (0..2000).flat_map(|number| good(2 * number + 1)).collect();
    let mut sent = 0;
    let stopped = loop {
        match flood.raw().write(&many) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
        assert!(sent < 64 << 20, "it is listened to for ever");
    };
    assert_eq!(stopped, ErrorKind::WouldBlock);
    // Others are served meanwhile.
    assert_eq!(task.state("").status, Status::Running as i32);
    let own = own_memory(&bed, shim);
    assert!(own < 6 * 1024, "{own} KiB with a flood");
    drop((halves, flood));
    assert_eq!(task.state("").status, Status::Running as i32);
    lighter_harness::eventually("the memory is given back", || {
        (own_memory(&bed, shim) < 1024).then_some(())
    });
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}
