//! Logs written by hand in the exact format, read back.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use lighter_logs::{Entry, Error, Query, Source, entries};
use tokio::sync::oneshot;

struct Log {
    dir: tempfile::TempDir,
    file: File,
    rotations: usize,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("c-json.log")).unwrap();
        Self {
            dir,
            file,
            rotations: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("c-json.log")
    }

    fn raw(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// Writes the numbers, each at so many seconds after 1970; odd ones to stderr.
    fn write(&mut self, numbers: impl IntoIterator<Item = i64>) {
        for number in numbers {
            let stream = if number % 2 == 0 { "stdout" } else { "stderr" };
            let time = Timestamp::from_second(number).unwrap();
            self.raw(&format!(
                "{{\"log\":\"{number}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n"
            ));
        }
    }

    fn rotate(&mut self) {
        let name = |number: usize| match number {
            0 => self.path(),
            number => PathBuf::from(format!("{}.{number}", self.path().display())),
        };
        for number in (0..=self.rotations).rev() {
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        self.rotations += 1;
        self.file = File::create(self.path()).unwrap();
    }
}

fn number(entry: &Entry) -> i64 {
    std::str::from_utf8(&entry.line).unwrap().trim().parse().unwrap()
}

async fn read(path: &Path, query: Query) -> Vec<i64> {
    let found: Vec<Entry> = entries(path.to_owned(), query, None).try_collect().await.unwrap();
    found.iter().map(number).collect()
}

fn seconds(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp::from_second(seconds).unwrap())
}

type Followed = Pin<Box<dyn Stream<Item = Result<Entry, Error>> + Send>>;

/// A follower, and what ends the writer.
fn follow(log: &Log, query: Query) -> (Followed, oneshot::Sender<()>) {
    let (sender, receiver) = oneshot::channel();
    let ended = Box::pin(async move {
        receiver.await.ok();
    });
    (Box::pin(entries(log.path(), query, Some(ended))), sender)
}

async fn some(follower: &mut Followed, count: usize) -> Vec<i64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(number(&follower.next().await.unwrap().unwrap()));
    }
    numbers
}

#[tokio::test]
async fn all_is_read_the_oldest_file_first() {
    let mut log = Log::new();
    for start in [0, 10, 20] {
        log.write(start..start + 10);
        if start < 20 {
            log.rotate();
        }
    }
    let found: Vec<Entry> = entries(log.path(), Query::default(), None)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(number).collect::<Vec<_>>(),
        (0..30).collect::<Vec<_>>()
    );
    assert_eq!(found[3].source, Source::Stderr);
    assert_eq!(found[3].time, Timestamp::from_second(3).unwrap());
}

#[tokio::test]
async fn the_tail_reaches_over_files_and_blocks() {
    let mut log = Log::new();
    log.write(0..5000);
    log.rotate();
    log.write(5000..5010);
    for (tail, first) in [
        (0, 5010),
        (1, 5009),
        (10, 5000),
        (11, 4999),
        (4000, 1010),
        (5010, 0),
        (9999, 0),
    ] {
        let query = Query {
            tail: Some(tail),
            ..Query::default()
        };
        assert_eq!(
            read(&log.path(), query).await,
            (first..5010).collect::<Vec<_>>(),
            "{tail}"
        );
    }
}

#[tokio::test]
async fn since_and_until_include_their_moments() {
    let mut log = Log::new();
    log.write(0..10);
    let query = Query {
        since: seconds(3),
        until: seconds(6),
        ..Query::default()
    };
    assert_eq!(read(&log.path(), query).await, [3, 4, 5, 6]);
    // The tail is cut first, as Docker does.
    let query = Query {
        tail: Some(3),
        until: seconds(7),
        ..Query::default()
    };
    assert_eq!(read(&log.path(), query).await, [7]);
}

#[tokio::test]
async fn half_lines_and_nonsense_are_passed_over() {
    let mut log = Log::new();
    log.write(0..2);
    log.raw("{\"log\":\"ha");
    log.write(2..3);
    log.raw("nonsense\n\n");
    log.write(3..4);
    log.raw("{\"log\":\"4\\n\",\"stream\":\"std");
    assert_eq!(read(&log.path(), Query::default()).await, [0, 1, 2, 3]);
    let query = Query {
        tail: Some(1),
        ..Query::default()
    };
    assert_eq!(read(&log.path(), query).await, [3]);
}

#[tokio::test]
async fn no_log_is_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        read(&dir.path().join("c-json.log"), Query::default())
            .await
            .is_empty()
    );
    let ended = Box::pin(std::future::ready(()));
    let gone = dir.path().join("gone/c-json.log");
    assert_eq!(entries(gone, Query::default(), Some(ended)).count().await, 0);
}

#[tokio::test]
async fn a_follower_sees_what_comes_and_ends_when_the_writer_has() {
    let mut log = Log::new();
    log.write(0..3);
    let (mut follower, ended) = follow(
        &log,
        Query {
            tail: Some(1),
            ..Query::default()
        },
    );
    assert_eq!(some(&mut follower, 1).await, [2]);
    log.write(3..5);
    assert_eq!(some(&mut follower, 2).await, [3, 4]);
    // A line is told when it is whole.
    log.raw("{\"log\":\"5\\n\",\"stream\":\"stdout\",");
    log.raw("\"time\":\"1970-01-01T00:00:05Z\"}\n");
    assert_eq!(some(&mut follower, 1).await, [5]);
    log.write(6..8);
    ended.send(()).unwrap();
    assert_eq!(some(&mut follower, 2).await, [6, 7]);
    assert!(follower.next().await.is_none());
}

#[tokio::test]
async fn a_follower_goes_through_rotations_without_a_gap() {
    let mut log = Log::new();
    log.write(0..2);
    let (mut follower, ended) = follow(&log, Query::default());
    assert_eq!(some(&mut follower, 2).await, [0, 1]);
    log.write(2..4);
    log.rotate();
    log.write(4..6);
    assert_eq!(some(&mut follower, 4).await, [2, 3, 4, 5]);
    // Two at once.
    log.write(6..7);
    log.rotate();
    log.write(7..8);
    log.rotate();
    log.write(8..9);
    assert_eq!(some(&mut follower, 3).await, [6, 7, 8]);
    drop(ended);
    assert!(follower.next().await.is_none());
}

#[tokio::test]
async fn a_follower_may_come_before_the_log() {
    let mut log = Log::new();
    fs::remove_file(log.path()).unwrap();
    let (mut follower, ended) = follow(&log, Query::default());
    let waiting = tokio::spawn(async move { (some(&mut follower, 1).await, follower) });
    tokio::task::yield_now().await;
    log.file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log.path())
        .unwrap();
    log.write(7..8);
    let (found, mut follower) = waiting.await.unwrap();
    assert_eq!(found, [7]);
    drop(ended);
    assert!(follower.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_between_a_fast_writer_and_its_follower() {
    let mut log = Log::new();
    let (follower, ended) = follow(&log, Query::default());
    let reading = tokio::spawn(follower.map(|entry| number(&entry.unwrap())).collect::<Vec<_>>());
    let writing = tokio::task::spawn_blocking(move || {
        for start in 0..40 {
            log.write(start * 100..start * 100 + 100);
            if start % 7 == 6 {
                log.rotate();
            }
        }
        ended.send(()).unwrap();
        log
    });
    let _log = writing.await.unwrap();
    assert_eq!(reading.await.unwrap(), (0..4000).collect::<Vec<_>>());
}
