//! What ends up in the files, and in which.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use lighter_log_write::{JsonFile, Limits, Stream, Time};

const NOW: Time = Time {
    seconds: 1_700_000_000,
    nanos: 5_000_000,
};
const LATER: Time = Time {
    seconds: 1_700_000_001,
    nanos: 0,
};
const NEVER: Limits = Limits {
    max_size: None,
    max_file: 1,
};

fn dir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("log-write-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn logs(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            line.split("\"log\":\"")
                .nth(1)
                .unwrap()
                .split("\",\"stream")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn lines_are_written_whole_and_streams_apart() {
    let dir = dir("whole");
    let path = dir.join("log");
    let mut log = JsonFile::open(&path, NEVER).unwrap();
    log.write(Stream::Stdout, b"one\ntw", NOW).unwrap();
    log.write(Stream::Stderr, b"err\n", NOW).unwrap();
    log.write(Stream::Stdout, b"o\n\nrest", LATER).unwrap();
    log.finish(Stream::Stdout, LATER).unwrap();
    log.finish(Stream::Stderr, LATER).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        r#"{"log":"one\n","stream":"stdout","time":"2023-11-14T22:13:20.005Z"}
{"log":"err\n","stream":"stderr","time":"2023-11-14T22:13:20.005Z"}
{"log":"two\n","stream":"stdout","time":"2023-11-14T22:13:21Z"}
{"log":"\n","stream":"stdout","time":"2023-11-14T22:13:21Z"}
{"log":"rest","stream":"stdout","time":"2023-11-14T22:13:21Z"}
"#
    );
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_long_line_comes_in_pieces_of_16_kib_whatever_the_chunks() {
    for chunk in [1000, 4096, 16_384, 40_000] {
        let dir = dir(&format!("pieces{chunk}"));
        let path = dir.join("log");
        let mut log = JsonFile::open(&path, NEVER).unwrap();
        let mut text = vec![b'x'; 2 * 16_384];
        text.extend_from_slice(b"\nshort\n");
        for part in text.chunks(chunk) {
            log.write(Stream::Stdout, part, NOW).unwrap();
        }
        let lengths: Vec<_> = logs(&path).iter().map(String::len).collect();
        assert_eq!(lengths, [16_384, 16_384, 2, 7], "chunks of {chunk}");
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_full_file_is_rotated_and_the_oldest_goes() {
    let dir = dir("rotate");
    let path = dir.join("log");
    let mut log = JsonFile::open(
        &path,
        Limits {
            max_size: Some(130),
            max_file: 3,
        },
    )
    .unwrap();
    // Each line has 67 bytes: two fill a file. In one chunk, so that a batch is split too.
    let text: String = (0..9).map(|n| format!("{n}\n")).collect();
    log.write(Stream::Stdout, text.as_bytes(), NOW).unwrap();
    assert_eq!(logs(&path), [r"8\n"]);
    assert_eq!(logs(&dir.join("log.1")), [r"6\n", r"7\n"]);
    assert_eq!(logs(&dir.join("log.2")), [r"4\n", r"5\n"]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn with_one_file_a_full_file_is_emptied() {
    let dir = dir("one");
    let path = dir.join("log");
    let mut log = JsonFile::open(
        &path,
        Limits {
            max_size: Some(130),
            max_file: 1,
        },
    )
    .unwrap();
    log.write(Stream::Stdout, b"0\n1\n2\n", NOW).unwrap();
    assert_eq!(logs(&path), [r"2\n"]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_restart_appends_and_ends_a_torn_line() {
    let dir = dir("restart");
    let path = dir.join("log");
    JsonFile::open(&path, NEVER)
        .unwrap()
        .write(Stream::Stdout, b"one\n", NOW)
        .unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| {
            use std::io::Write;
            file.write_all(b"{\"log\":\"to")
        })
        .unwrap();
    JsonFile::open(&path, NEVER)
        .unwrap()
        .write(Stream::Stdout, b"two\n", NOW)
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains("one") && lines[1] == "{\"log\":\"to" && lines[2].contains("two"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_full_disk_loses_lines_but_leaves_none_torn() {
    let mut log = JsonFile::open(Path::new("/dev/full"), NEVER).unwrap();
    let error = log.write(Stream::Stdout, b"one\n", NOW).unwrap_err();
    assert!(matches!(error, lighter_log_write::Error::Write { .. }));
}
