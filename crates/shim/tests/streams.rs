//! What a process reads and writes, whoever listens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use lighter_harness::eventually;
use lighter_shim_api::attach;
use lighter_shim_api::log_uri;
use lighter_shim_api::task::*;
use support::{Attached, Bed};

/// Numbered lines from 1 to `last`.
fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn every_line_is_logged_with_nobody_attached() {
    let bed = Bed::new(&["sh", "-c", "seq 1 50000; seq 1 100 >&2; echo -n end"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    assert_eq!(task.wait(""), 0);
    assert_eq!(bed.logged("stdout"), numbers(50_000) + "end");
    assert_eq!(bed.logged("stderr"), numbers(100));
    assert!(!bed.attach_path().exists(), "the socket goes with the process");
}

#[test]
fn clients_that_come_before_the_start_get_everything() {
    let bed = Bed::new(&["sh", "-c", "seq 1 20000; echo err >&2"]);
    let mut task = bed.task();
    task.create();
    let (one, two) = (
        Attached::new(&bed.attach_path()),
        Attached::new(&bed.attach_path()),
    );
    let gone = Attached::new(&bed.attach_path());
    drop(gone);
    task.start("");
    assert_eq!(one.read_to_end(), (numbers(20_000), "err\n".to_owned()));
    assert_eq!(two.read_to_end(), (numbers(20_000), "err\n".to_owned()));
    // The end frame was sent before the exit was told; all is logged.
    assert_eq!(task.wait(""), 0);
    assert_eq!(bed.logged("stdout"), numbers(20_000));
}

#[test]
fn a_slow_client_stops_the_process_and_loses_nothing() {
    let bed = Bed::new(&["sh", "-c", "seq 1 400000; sleep 1000"]);
    let mut task = bed.task();
    task.create();
    let mut slow = Attached::new(&bed.attach_path());
    task.start("");
    // 15 MB do not fit into pipe, buffers and a socket: the log stops growing while nobody reads.
    let size = || fs::metadata(bed.log()).map_or(0, |data| data.len());
    let mut last = (0, 0);
    eventually("the log stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        last = if size() == last.0 {
            (last.0, last.1 + 1)
        } else {
            (size(), 0)
        };
        (last.0 > 0 && last.1 > 20).then_some(())
    });
    // The log does not hold everything, and the shim answers.
    assert!(!bed.logged("stdout").contains("\n400000\n"));
    assert_eq!(task.state("").status, 2);
    let text = slow.until("\n400000\n");
    assert_eq!(text, numbers(400_000));
    assert_eq!(bed.logged("stdout"), numbers(400_000));
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    assert_eq!(slow.read_to_end(), (String::new(), String::new()));
}

#[test]
fn a_client_that_never_reads_does_not_hold_the_exit() {
    let bed = Bed::new(&["sh", "-c", "seq 1 400000"]);
    let mut task = bed.task();
    task.create();
    let stuck = Attached::new(&bed.attach_path());
    task.start("");
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    task.delete("");
    // What it had coming is still sent.
    let (text, _) = stuck.read_to_end();
    assert!(numbers(400_000).starts_with(&text));
}

#[test]
fn input_is_held_open_until_it_is_closed() {
    let bed = Bed::new(&["cat"]);
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdin: log_uri::STDIN.into(),
        ..bed.create_request()
    });
    task.start("");
    let mut first = Attached::new(&bed.attach_path());
    first.send(attach::STDIN, b"one\n");
    first.until("one\n");
    drop(first);
    let mut second = Attached::new(&bed.attach_path());
    // More than a pipe holds, in one frame.
    let big = numbers(60_000);
    let mut writer = second.stream.try_clone().unwrap();
    let sent = big.clone();
    let sender = std::thread::spawn(move || {
        writer
            .write_all(&attach::header(attach::STDIN, sent.len() as u32))
            .unwrap();
        writer.write_all(sent.as_bytes()).unwrap();
        writer.write_all(&attach::header(attach::CLOSE_STDIN, 0)).unwrap();
    });
    assert_eq!(second.until("60000\n"), big);
    sender.join().unwrap();
    assert_eq!(second.read_to_end(), (String::new(), String::new()));
    assert_eq!(task.wait(""), 0);
    assert_eq!(bed.logged("stdout"), format!("one\n{big}"));
}

#[test]
fn close_io_ends_the_input() {
    let bed = Bed::new(&["cat"]);
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdin: log_uri::STDIN.into(),
        ..bed.create_request()
    });
    task.start("");
    task.close_io("");
    assert_eq!(task.wait(""), 0);
    task.delete("");
}

#[test]
fn without_stdin_input_is_at_its_end() {
    let bed = Bed::new(&["cat"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    assert_eq!(task.wait(""), 0);
}

#[test]
fn a_terminal_echoes_is_resized_and_ends() {
    let bed = Bed::terminal(&["sh"]);
    let mut task = bed.task();
    task.create_with(bed.terminal_request());
    let resize = ResizePtyRequest {
        id: bed.id.clone(),
        width: 101,
        height: 33,
        ..Default::default()
    };
    task.client.call::<()>("ResizePty", &resize).unwrap();
    task.start("");
    let mut attached = Attached::new(&bed.attach_path());
    attached.send(attach::STDIN, b"stty size\n");
    attached.until("33 101\r\n");
    let resize = ResizePtyRequest {
        id: bed.id.clone(),
        width: 80,
        height: 24,
        ..Default::default()
    };
    task.client.call::<()>("ResizePty", &resize).unwrap();
    attached.send(attach::STDIN, b"stty size; echo e$((40 + 2))d\n");
    let text = attached.until("e42d\r\n");
    assert!(text.contains("24 80\r\n"), "{text:?}");
    // Detached and attached again: the shell is still there.
    drop(attached);
    let mut attached = Attached::new(&bed.attach_path());
    attached.send(attach::STDIN, b"exit 5\n");
    let (out, err) = attached.read_to_end();
    assert!(out.contains("exit 5") && err.is_empty(), "{out:?}");
    assert_eq!(task.wait(""), 5);
    assert!(bed.logged("stdout").contains("e42d\r\n"));
}

#[test]
fn a_terminals_last_words_are_not_lost() {
    for _ in 0..5 {
        let bed = Bed::terminal(&["sh", "-c", "seq 1 5000"]);
        let mut task = bed.task();
        task.create_with(bed.terminal_request());
        let attached = Attached::new(&bed.attach_path());
        task.start("");
        let (out, _) = attached.read_to_end();
        assert_eq!(out, numbers(5000).replace('\n', "\r\n"));
    }
}

#[test]
fn processes_join_the_container() {
    let bed = Bed::new(&["sleep", "1000"]);
    let mut task = bed.task();
    task.create();
    task.start("");
    task.exec("one", &["sh", "-c", "cat; echo err >&2; exit 3"], false);
    let mut attached = Attached::new(&bed.base.join("one"));
    let pid = task.start("one");
    assert_eq!(task.state("one").pid, pid);
    attached.send(attach::STDIN, b"hello\n");
    attached.send(attach::CLOSE_STDIN, b"");
    assert_eq!(attached.read_to_end(), ("hello\n".into(), "err\n".into()));
    assert_eq!(task.wait("one"), 3);
    assert_eq!(task.delete("one").exit_status, 3);
    // On a terminal.
    task.exec("two", &["sh"], true);
    let mut attached = Attached::new(&bed.base.join("two"));
    task.start("two");
    attached.send(attach::STDIN, b"stty -echo; echo $((6*7)); exit 9\n");
    let (out, _) = attached.read_to_end();
    assert!(out.contains("42\r\n"), "{out:?}");
    assert_eq!(task.wait("two"), 9);
    task.delete("two");
    // By a signal.
    task.exec("three", &["sleep", "1000"], false);
    task.start("three");
    task.kill("three", 15);
    assert_eq!(task.wait("three"), 143);
    task.delete("three");
    // A program that is not there.
    task.exec("four", &["/no/such"], false);
    let attached = Attached::new(&bed.base.join("four"));
    let start = StartRequest {
        id: bed.id.clone(),
        exec_id: "four".into(),
    };
    let error = task.client.call::<StartResponse>("Start", &start).unwrap_err();
    assert!(
        error.message.starts_with("OCI runtime exec failed: "),
        "{}",
        error.message
    );
    assert_eq!(attached.read_to_end(), (String::new(), String::new()));
    task.delete("four");
    // Processes end with the container.
    task.exec("five", &["sleep", "1000"], false);
    task.start("five");
    task.kill("", 9);
    assert_eq!(task.wait(""), 137);
    assert_eq!(task.wait("five"), 137);
    task.delete("");
    let names: Vec<_> = fs::read_dir(bed.bundle())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !names.iter().any(|name| name.to_string_lossy().contains("five")),
        "{names:?}"
    );
}

#[test]
fn fifos_work_as_containerd_defines_them() {
    let bed = Bed::new(&["sh", "-c", "cat; echo err >&2"]);
    let fifo = |name: &str| bed.base.join(name).display().to_string();
    bed.host
        .sh(&format!("mkfifo {} {} {}", fifo("in"), fifo("out"), fifo("err")));
    let mut task = bed.task();
    // Nobody has the fifos open yet: nothing blocks.
    task.create_with(CreateTaskRequest {
        stdin: fifo("in"),
        stdout: fifo("out"),
        stderr: fifo("err"),
        ..bed.create_request()
    });
    task.start("");
    let open = |name: &str| fs::OpenOptions::new().read(true).open(fifo(name)).unwrap();
    let (mut out, mut err) = (open("out"), open("err"));
    let mut input = fs::OpenOptions::new().write(true).open(fifo("in")).unwrap();
    let big = numbers(100_000);
    let sent = big.clone();
    let sender = std::thread::spawn(move || input.write_all(sent.as_bytes()).unwrap());
    let mut text = vec![0; big.len()];
    out.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), big);
    sender.join().unwrap();
    // The writer is gone, and that is no end; CloseIO is.
    task.close_io("");
    let (mut rest, mut errors) = (String::new(), String::new());
    out.read_to_string(&mut rest).unwrap();
    err.read_to_string(&mut errors).unwrap();
    assert_eq!((rest.as_str(), errors.as_str()), ("", "err\n"));
    assert_eq!(task.wait(""), 0);
}

#[test]
fn a_vanished_fifo_reader_kills_nobody() {
    let bed = Bed::new(&["sh", "-c", "seq 1 100; sleep 0.2; seq 101 200"]);
    let out = bed.base.join("out").display().to_string();
    bed.host.sh(&format!("mkfifo {out}"));
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdout: out.clone(),
        stderr: String::new(),
        ..bed.create_request()
    });
    let reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(0o4000)
        .open(&out)
        .unwrap();
    task.start("");
    drop(reader);
    assert_eq!(task.wait(""), 0);
    task.delete("");
}

#[test]
fn output_goes_to_a_file() {
    let bed = Bed::new(&["sh", "-c", "echo out; echo err >&2"]);
    let path = bed.base.join("deep/er/out put");
    let uri = format!("file://{}", path.display().to_string().replace(' ', "%20"));
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdout: uri.clone(),
        stderr: uri,
        ..bed.create_request()
    });
    task.start("");
    assert_eq!(task.wait(""), 0);
    let text = fs::read_to_string(path).unwrap();
    assert!(text == "out\nerr\n" || text == "err\nout\n", "{text:?}");
}

#[test]
fn output_goes_to_a_program() {
    let bed = Bed::new(&["sh", "-c", "echo out; echo err >&2; exit 4"]);
    let logger = bed.base.join("logger");
    let script = format!(
        "#!/bin/sh\ncd {}\necho \"$CONTAINER_NAMESPACE $CONTAINER_ID $*\" >logger.who\nexec 5>&-\ncat <&4 >logger.err &\ncat <&3 >logger.out; wait\n",
        bed.base.display()
    );
    fs::write(&logger, script).unwrap();
    bed.host.sh(&format!("chmod +x {}", logger.display()));
    let uri = format!("binary://{}?key=a%20value", logger.display());
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdout: uri.clone(),
        stderr: uri,
        ..bed.create_request()
    });
    task.start("");
    assert_eq!(task.wait(""), 4);
    let read = |name: &str| fs::read_to_string(bed.base.join(name)).unwrap_or_default();
    eventually("the program has everything", || {
        (read("logger.out") == "out\n" && read("logger.err") == "err\n").then_some(())
    });
    assert_eq!(read("logger.who"), "test c1 key a value\n");
}

#[test]
fn a_log_is_rotated() {
    let bed = Bed::new(&["seq", "1", "3000"]);
    let uri = log_uri::LogUri {
        max_size: Some(100_000),
        max_file: 3,
        ..bed.log_uri()
    }
    .to_string();
    let mut task = bed.task();
    task.create_with(CreateTaskRequest {
        stdout: uri.clone(),
        stderr: uri,
        ..bed.create_request()
    });
    task.start("");
    assert_eq!(task.wait(""), 0);
    let size = |end: &str| {
        fs::metadata(format!("{}{end}", bed.log().display()))
            .unwrap()
            .len()
    };
    assert!(size("") < 100_100 && (100_000..100_100).contains(&size(".1")) && size(".2") >= 100_000);
    assert!(bed.logged("stdout").ends_with("2999\n3000\n"));
}
