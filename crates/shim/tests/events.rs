//! What the shim tells whoever listens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use lighter_shim_api::event::open;
use lighter_shim_api::events::*;
use lighter_shim_api::forward::ForwardRequest;
use lighter_shim_api::frame;
use lighter_shim_api::ttrpc::Request;
use lighter_shim_api::types::Envelope;
use lighter_shim_api::{Message, service};
use support::Bed;

/// An event service.
struct Listener {
    listener: UnixListener,
    connection: Option<UnixStream>,
}

impl Listener {
    fn bind(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        let dir = fs::File::open(path.parent().unwrap()).unwrap();
        let short = format!(
            "/proc/self/fd/{}/{}",
            dir.as_raw_fd(),
            path.file_name().unwrap().to_str().unwrap()
        );
        Self {
            listener: UnixListener::bind(short).unwrap(),
            connection: None,
        }
    }

    /// The next event, acknowledged.
    fn next(&mut self) -> Envelope {
        let stream = self
            .connection
            .get_or_insert_with(|| self.listener.accept().unwrap().0);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut head = [0; frame::HEADER_LEN];
        stream.read_exact(&mut head).unwrap();
        let header = frame::Header::decode(&head).unwrap();
        let mut body = vec![0; header.len];
        stream.read_exact(&mut body).unwrap();
        let request = Request::decode(body.as_slice()).unwrap();
        assert_eq!(
            (request.service.as_str(), request.method.as_str()),
            (service::EVENTS, "Forward")
        );
        let mut answer = Vec::new();
        frame::put_response(&mut answer, header.stream, Ok(Vec::new()));
        stream.write_all(&answer).unwrap();
        let envelope = ForwardRequest::decode(request.payload.as_slice())
            .unwrap()
            .envelope
            .unwrap();
        assert_eq!(envelope.namespace, "test");
        assert!(envelope.timestamp.unwrap().seconds > 1_700_000_000);
        envelope
    }

    #[track_caller]
    fn expect<E: lighter_shim_api::event::Event>(&mut self) -> E {
        let envelope = self.next();
        open(&envelope).unwrap_or_else(|| panic!("{} came, not {}", envelope.topic, E::TOPIC))
    }
}

#[test]
fn a_life_is_told_in_order() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut events = Listener::bind(&bed.events);
    let mut task = bed.task();
    let pid = task.create();
    task.start("");
    let create: TaskCreate = events.expect();
    assert_eq!(
        (create.container_id.as_str(), create.pid, create.rootfs.len()),
        ("c1", pid, 1)
    );
    assert_eq!(events.expect::<TaskStart>().pid, pid);
    task.exec("e", &["true"], false);
    let exec = task.start("e");
    assert_eq!(events.expect::<TaskExecAdded>().exec_id, "e");
    assert_eq!(events.expect::<TaskExecStarted>().pid, exec);
    let exit: TaskExit = events.expect();
    assert_eq!(
        (
            exit.container_id.as_str(),
            exit.id.as_str(),
            exit.pid,
            exit.exit_status
        ),
        ("c1", "e", exec, 0)
    );
    task.kill("", 9);
    let exit: TaskExit = events.expect();
    assert_eq!((exit.id.as_str(), exit.pid, exit.exit_status), ("c1", pid, 137));
    task.delete("");
    let delete: TaskDelete = events.expect();
    assert_eq!(
        (delete.pid, delete.exit_status, delete.exited_at),
        (pid, 137, exit.exited_at)
    );
}

#[test]
fn nobody_listening_stops_nothing_and_who_comes_back_hears() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    let pid = task.create();
    task.start("");
    let mut events = Listener::bind(&bed.events);
    events.expect::<TaskCreate>();
    events.expect::<TaskStart>();
    // The listener dies.
    drop(events);
    fs::remove_file(&bed.events).unwrap();
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    let mut events = Listener::bind(&bed.events);
    assert_eq!(events.expect::<TaskExit>().pid, pid);
    task.delete("");
    events.expect::<TaskDelete>();
}

#[test]
fn a_listener_that_never_reads_stops_nothing() {
    let bed = Bed::new(&["sleep", "1000"]);
    let _events = Listener::bind(&bed.events);
    let mut task = bed.task();
    task.create();
    task.start("");
    for number in 0..300 {
        let name = format!("e{number}");
        task.exec(&name, &["true"], false);
        task.delete(&name);
    }
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
}

#[test]
fn an_oom_kill_is_told_before_the_exit() {
    let bed = Bed::new(&["sh", "-c", "x=0123456789; while true; do x=$x$x; done"]);
    let path = bed.bundle().join("config.json");
    let limited = fs::read_to_string(&path).unwrap().replace(
        "\"linux\":{",
        "\"linux\":{\"resources\":{\"memory\":{\"limit\":16777216,\"swap\":16777216}},",
    );
    fs::write(path, limited).unwrap();
    let mut events = Listener::bind(&bed.events);
    let mut task = bed.task();
    task.create();
    task.start("");
    assert_eq!(task.wait(""), 137);
    events.expect::<TaskCreate>();
    events.expect::<TaskStart>();
    assert_eq!(events.expect::<TaskOom>().container_id, "c1");
    assert_eq!(events.expect::<TaskExit>().exit_status, 137);
}

#[test]
fn an_oom_kill_is_told_while_the_container_goes_on() {
    let bed = Bed::new(&[
        "sh",
        "-c",
        "sh -c 'x=0123456789; while true; do x=$x$x; done'; sleep 1000",
    ]);
    bed.edit_config(|config| {
        config["linux"]["resources"] =
            serde_json::json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
    });
    let mut events = Listener::bind(&bed.events);
    let mut task = bed.task();
    task.create();
    task.start("");
    events.expect::<TaskCreate>();
    events.expect::<TaskStart>();
    assert_eq!(events.expect::<TaskOom>().container_id, "c1");
    assert_eq!(task.state("").exit_status, 0);
    task.kill("", 9);
    events.expect::<TaskExit>();
}
