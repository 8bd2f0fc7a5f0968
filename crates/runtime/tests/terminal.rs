//! Terminals: sent over the console socket, or relayed by `run`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Host;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// Reads from a terminal until `text` has come, or the end.
fn until(terminal: &OwnedFd, text: &str) -> String {
    let mut found = String::new();
    let mut buffer = [0; 4096];
    while !found.contains(text) {
        let limit = rustix::event::Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_ne!(
            poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&limit)).unwrap(),
            0,
            "{text:?} in {found:?}"
        );
        match rustix::io::read(terminal, &mut buffer) {
            Ok(length) if length > 0 => found.push_str(&String::from_utf8_lossy(&buffer[..length])),
            // EIO: the other side is closed.
            _ => break,
        }
    }
    found
}

fn accept(listener: &UnixListener) -> (String, OwnedFd) {
    let (socket, _) = listener.accept().unwrap();
    let mut name = [0; 100];
    let (length, mut fds) = lighter_sys::fdpass::receive(socket.as_fd(), &mut name).unwrap();
    (
        String::from_utf8_lossy(&name[..length]).into_owned(),
        fds.pop().unwrap(),
    )
}

#[test]
fn the_terminal_is_sent_over_the_console_socket() {
    let host = Host::new();
    let mut config = host.config(&[
        "sh",
        "-c",
        "tty; stty size; ls -l /dev/console | grep -o ^c; tty < /dev/console; read x; echo got $x",
    ]);
    config["process"]["terminal"] = json!(true);
    config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    host.write(&config);
    let listener = UnixListener::bind(host.path("socket")).unwrap();
    let mut child = host
        .command(
            "runc run -d --console-socket socket c && within 'runc state c | grep stopped'; runc delete -f c",
        )
        .spawn()
        .unwrap();
    let (name, terminal) = accept(&listener);
    assert_eq!(name, "/dev/pts/0");
    assert!(until(&terminal, "/dev/console").starts_with("/dev/pts/0\r\n33 77\r\nc\r\n"));
    rustix::io::write(&terminal, b"hello\n").unwrap();
    assert!(until(&terminal, "got hello").contains("got hello"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let host = Host::new();
    host.write(&host.config(&["sleep", "100"]));
    let listener = UnixListener::bind(host.path("socket")).unwrap();
    let mut child = host
        .command("runc run -d c; runc exec -t -u 1000 --console-socket socket c sh -c 'tty; id -u; stat -c %u $(tty); exit 4'; [ $? = 4 ] && runc delete -f c")
        .spawn()
        .unwrap();
    let (_, terminal) = accept(&listener);
    assert_eq!(until(&terminal, "no end"), "/dev/pts/0\r\n1000\r\n1000\r\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn run_relays_a_terminal() {
    let host = Host::new();
    let mut config = host.config(&["sh", "-c", "tty; read x; echo got $x; exit 5"]);
    config["process"]["terminal"] = json!(true);
    host.write(&config);
    let mut command = host.command("runc run c; echo code $?");
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("/dev/pts/0\n") && text.contains("got hello\n") && text.ends_with("code 5\n"),
        "{text:?}"
    );
}
