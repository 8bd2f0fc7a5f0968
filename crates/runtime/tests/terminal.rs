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
        .command("runc run -d c; runc exec -d -t -u 1000 --console-socket socket c sh -c 'tty; id -u; stat -c %u $(tty); read x; exit 4'; read go; runc delete -f c")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (_, terminal) = accept(&listener);
    assert_eq!(
        until(&terminal, "1000\r\n1000\r\n"),
        "/dev/pts/0\r\n1000\r\n1000\r\n"
    );
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
}

/// Who holds the terminal is said in one way only, in runc's words.
#[test]
fn a_console_socket_is_for_who_detaches_with_a_terminal() {
    let host = Host::new();
    let mut config = host.config(&["sleep", "100"]);
    let _listener = UnixListener::bind(host.path("socket")).unwrap();
    host.write(&config);
    let detach = "cannot allocate tty if runc will detach without setting console socket";
    let stay = "cannot use console socket if runc will not detach or allocate tty";
    let text = host.ok(
        "for c in create 'run -d' run; do runc $c --console-socket socket c 2>&1; done; runc run -d c; runc exec -d -t c true 2>&1; \
         runc exec -d --console-socket socket c true 2>&1; runc exec -t --console-socket socket c true 2>&1; runc delete -f c",
    );
    let lines: Vec<&str> = text.lines().collect();
    for (line, expected) in lines.iter().zip([stay, stay, stay, detach, stay, stay]) {
        assert!(line.ends_with(expected), "{text}");
    }
    assert_eq!(lines.len(), 6, "{text}");
    config["process"]["terminal"] = json!(true);
    host.write(&config);
    let text = host.ok("runc create c 2>&1; runc run -d c 2>&1; runc run --console-socket socket c 2>&1; ls -A /run/lighter-runc 2>/dev/null; true");
    let lines: Vec<&str> = text.lines().collect();
    for (line, expected) in lines.iter().zip([detach, detach, stay]) {
        assert!(line.ends_with(expected), "{text}");
    }
    assert_eq!(lines.len(), 3, "{text}");
}

/// A relayed terminal puts nothing into the output, and hears the size and the signals that ours does.
#[test]
fn a_relayed_terminal_follows_ours() {
    let host = Host::new();
    let mut config = host.config(&[
        "sh",
        "-c",
        "trap 'stty size' WINCH; trap 'echo interrupted; exit 6' INT; stty size; while :; do sleep 0.05; done",
    ]);
    config["process"]["terminal"] = json!(true);
    host.write(&config);
    let (ours, theirs) = terminal_pair(24, 80);
    let mut child = host
        .command("runc run c; echo code $?")
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    // Our own terminal still ends its lines as it does.
    assert_eq!(until(&ours, "24 80\r\n"), "24 80\r\n");
    lighter_sys::pty::set_size(ours.as_fd(), 40, 100).unwrap();
    let runtime = runtime_of(child.id());
    lighter_sys::process::kill(runtime, 28).unwrap();
    assert_eq!(until(&ours, "40 100\r\n"), "40 100\r\n");
    // Typed, the key is the container's terminal's to understand.
    rustix::io::write(&ours, b"\x03").unwrap();
    assert!(until(&ours, "code 6").contains("interrupted\r\n"));
    assert!(child.wait().unwrap().success());
}

fn terminal_pair(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    let ours =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    let theirs = lighter_sys::pty::open_peer(ours.as_fd()).unwrap();
    lighter_sys::pty::set_size(ours.as_fd(), rows, columns).unwrap();
    (ours, theirs)
}

/// The runtime's process among the descendants of `unshare`.
fn runtime_of(unshare: u32) -> i32 {
    let mut wanted = vec![unshare.to_string()];
    while let Some(pid) = wanted.pop() {
        if std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("\0run\0c\0"))
        {
            return pid.parse().unwrap();
        }
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        wanted.extend(children.split_whitespace().map(str::to_owned));
    }
    panic!("no runtime below {unshare}");
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
