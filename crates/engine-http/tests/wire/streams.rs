//! Connections that become streams, and bodies that have no end yet.

use lighter_harness::{Client, Kind, Session};
use serde_json::{Value, json};

use crate::both;
use crate::wire::{UPGRADE, Wire, ask, create, start};

fn cat(session: &Session, tty: bool) -> String {
    create(
        session,
        json!({"Image": "busybox", "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true, "Tty": tty}),
    )
}

fn attach(id: &str) -> String {
    format!("POST /v1.51/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1")
}

/// Frames of one stream may be cut anywhere.
fn read_until(wire: &mut Wire, number: u8, expected: &str) {
    let mut found = String::new();
    while found.len() < expected.len() {
        let (stream, text) = wire.frame().unwrap();
        assert_eq!(stream, number);
        found.push_str(&text);
    }
    assert_eq!(found, expected);
}

/// What one stream carried.
fn demultiplexed(mut bytes: &[u8], number: u8) -> String {
    let mut text = String::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[0] == number {
            text.push_str(std::str::from_utf8(&rest[..length]).unwrap());
        }
        bytes = &rest[length..];
    }
    text
}

/// JSON in a path's parameter.
fn encoded(value: &Value) -> String {
    value
        .to_string()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect()
}

/// Of ours only: Docker loses them.
#[test]
fn bytes_that_came_with_the_request_belong_to_the_stream() {
    let session = Session::start(Kind::Lighter, Client::Stock);
    for headers in [UPGRADE, ""] {
        let id = cat(&session, false);
        let mut wire = Wire::open(&session);
        wire.send(&attach(&id), headers, "", "early\n");
        wire.head();
        start(&session, &id);
        read_until(&mut wire, 1, "early\n");
    }
}

both! {
    fn an_attached_connection_carries_both_ways_and_each_side_may_end_first(session: &Session) {
        let id = cat(session, false);
        let mut wire = Wire::open(session);
        wire.send(&attach(&id), UPGRADE, "", "");
        let head = wire.head();
        assert_eq!(head.status, "101 UPGRADED");
        assert_eq!(head.header("Content-Type"), Some("application/vnd.docker.multiplexed-stream"));
        assert_eq!((head.header("Connection"), head.header("Upgrade")), (Some("Upgrade"), Some("tcp")));
        start(session, &id);
        wire.write("first\n");
        read_until(&mut wire, 1, "first\n");
        wire.write("last\n");
        wire.close_input();
        read_until(&mut wire, 1, "last\n");
        assert_eq!(wire.frame(), None);
    }

    fn a_large_stream_loses_nothing(session: &Session) {
        let id = create(session, json!({"Image": "busybox", "Cmd": ["seq", "200000"]}));
        let mut wire = Wire::open(session);
        wire.send(&attach(&id), UPGRADE, "", "");
        wire.head();
        start(session, &id);
        let mut found = String::new();
        while let Some((_, text)) = wire.frame() {
            found.push_str(&text);
        }
        assert!(found.lines().map(|line| line.parse::<u32>().unwrap()).eq(1..=200_000));
    }

    fn clients_of_old_take_the_connection_without_asking(session: &Session) {
        let id = cat(session, false);
        let mut wire = Wire::open(session);
        wire.send(&attach(&id), "", "", "");
        let head = wire.head();
        assert_eq!(head.status, "200 OK");
        assert_eq!(head.header("Content-Type"), Some("application/vnd.docker.raw-stream"));
        start(session, &id);
        wire.write("hello\n");
        read_until(&mut wire, 1, "hello\n");
        wire.close_input();
        assert_eq!(wire.frame(), None);
    }

    fn a_terminal_is_one_raw_stream(session: &Session) {
        let id = cat(session, true);
        let mut wire = Wire::open(session);
        wire.send(&attach(&id), UPGRADE, "", "");
        let head = wire.head();
        assert_eq!(head.header("Content-Type"), Some("application/vnd.docker.raw-stream"));
        start(session, &id);
        wire.write("hello\n");
        // The terminal's echo, then what cat writes.
        assert_eq!(wire.exactly(14), b"hello\r\nhello\r\n");
        let (head, _) = ask(session, &format!("POST /v1.51/containers/{id}/resize?h=40&w=120"), "");
        assert_eq!(head.status, "200 OK");
        // End of input, as a terminal has it.
        wire.write("\u{4}");
        assert_eq!(wire.rest(), "");
    }

    fn a_client_that_vanishes_leaves_the_container_alone(session: &Session) {
        let body = json!({"Image": "busybox", "Cmd": ["cat"], "OpenStdin": true});
        let id = create(session, body);
        let mut first = Wire::open(session);
        first.send(&attach(&id), UPGRADE, "", "");
        first.head();
        start(session, &id);
        first.write("one\n");
        read_until(&mut first, 1, "one\n");
        drop(first);
        let mut second = Wire::open(session);
        second.send(&attach(&id), UPGRADE, "", "");
        second.head();
        second.write("two\n");
        read_until(&mut second, 1, "two\n");
    }

    fn an_exec_takes_its_connection(session: &Session) {
        let id = create(session, json!({"Image": "busybox", "Cmd": ["sleep", "60"]}));
        start(session, &id);
        let exec = |body: Value| {
            let (_, answer) = ask(session, &format!("POST /v1.51/containers/{id}/exec"), &body.to_string());
            serde_json::from_str::<Value>(&answer).unwrap()["Id"].as_str().unwrap().to_owned()
        };
        let script = "cat; echo done >&2; exit 7";
        let attached = json!({
            "Cmd": ["sh", "-c", script], "AttachStdin": true, "AttachStdout": true, "AttachStderr": true
        });
        for headers in [UPGRADE, ""] {
            let exec = exec(attached.clone());
            let mut wire = Wire::open(session);
            wire.send(&format!("POST /v1.51/exec/{exec}/start"), headers, "{}", "");
            assert_eq!(wire.head().status, if headers.is_empty() { "200 OK" } else { "101 UPGRADED" });
            wire.write("in\n");
            wire.close_input();
            // Docker may send the two streams in any order.
            let all = wire.rest();
            assert_eq!(demultiplexed(all.as_bytes(), 1), "in\n");
            assert_eq!(demultiplexed(all.as_bytes(), 2), "done\n");
            let (_, answer) = ask(session, &format!("GET /v1.51/exec/{exec}/json"), "");
            let state: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((&state["Running"], &state["ExitCode"]), (&json!(false), &json!(7)));
        }
        // What cannot be started says so on its stream; the code is in its state.
        let exec = exec(json!({"Cmd": ["/nope"], "AttachStdout": true, "AttachStderr": true}));
        let mut wire = Wire::open(session);
        wire.send(&format!("POST /v1.51/exec/{exec}/start"), UPGRADE, "{}", "");
        assert_eq!(wire.head().status, "101 UPGRADED");
        let (_, text) = wire.frame().unwrap();
        assert!(text.contains("/nope") && text.contains("no such file or directory"), "{text}");
        let (_, answer) = ask(session, &format!("GET /v1.51/exec/{exec}/json"), "");
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["ExitCode"], 127);
    }

    fn the_head_of_a_wait_comes_before_the_end(session: &Session) {
        let id = create(session, json!({"Image": "busybox", "Cmd": ["sh", "-c", "exit 3"]}));
        let mut wire = Wire::open(session);
        wire.send(&format!("POST /v1.51/containers/{id}/wait?condition=next-exit"), "", "", "");
        // Clients start the container only when they have it.
        let head = wire.head();
        assert_eq!((head.status.as_str(), head.header("Transfer-Encoding")), ("200 OK", Some("chunked")));
        start(session, &id);
        let body: Value = serde_json::from_slice(&wire.body(&head)).unwrap();
        assert_eq!(body, json!({"StatusCode": 3}));
        let (head, body) = ask(session, &format!("POST /v1.51/containers/{id}/wait?condition=never"), "");
        assert_eq!(head.status, "400 Bad Request", "{body}");
    }

    fn logs_come_framed_and_follow_until_the_end(session: &Session) {
        let script = "echo one; echo two >&2; cat; echo three";
        let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "OpenStdin": true, "StdinOnce": true});
        let id = create(session, body);
        let mut input = Wire::open(session);
        input.send(&format!("POST /v1.51/containers/{id}/attach?stream=1&stdin=1"), UPGRADE, "", "");
        input.head();
        start(session, &id);
        let mut wire = Wire::open(session);
        wire.send(&format!("GET /v1.51/containers/{id}/logs?stdout=1&stderr=1&follow=1"), "", "", "");
        let head = wire.head();
        assert_eq!(head.header("Content-Type"), Some("application/vnd.docker.multiplexed-stream"));
        let mut found = Vec::new();
        // Two pipes have no order between them.
        while found.len() < 2 * (8 + 4) {
            found.extend(wire.chunk());
        }
        input.close_input();
        found.extend(wire.body(&head));
        let of = |number: u8| demultiplexed(&found, number);
        assert_eq!((of(1).as_str(), of(2).as_str()), ("one\nthree\n", "two\n"));

        let get = |query: &str| ask(session, &format!("GET /v1.51/containers/{id}/logs?{query}"), "").1;
        assert_eq!(get("stdout=1&tail=1"), "\x01\0\0\0\0\0\0\x06three\n");
        assert_eq!(get("stderr=1"), "\x02\0\0\0\0\0\0\x04two\n");
        assert_eq!(get("stdout=1&until=1"), "");
        let stamped = get("stdout=1&tail=1&timestamps=1");
        let (time, line) = stamped[8..].split_once(' ').unwrap();
        assert_eq!((time.len(), line), ("2026-11-24T09:03:35.162484714Z".len(), "three\n"));
    }

    fn events_tell_the_past_and_the_present(session: &Session) {
        let id = create(session, json!({"Image": "busybox", "Cmd": ["true"], "Labels": {"a": "b"}}));
        let mut wire = Wire::open(session);
        let filters = encoded(&json!({"container": {&*id: true}, "type": {"container": true}}));
        wire.send(&format!("GET /v1.51/events?since=1&filters={filters}"), "", "", "");
        assert_eq!(wire.head().header("Content-Type"), Some("application/json"));
        let mut event = || {
            let line = loop {
                let line = String::from_utf8(wire.chunk()).unwrap();
                if !line.trim().is_empty() {
                    break line;
                }
            };
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["Actor"]["ID"], json!(id));
            assert_eq!(event["Actor"]["Attributes"]["a"], "b");
            event["Action"].as_str().unwrap().to_owned()
        };
        assert_eq!(event(), "create");
        start(session, &id);
        assert_eq!(event(), "start");
        assert_eq!(event(), "die");
    }
}
