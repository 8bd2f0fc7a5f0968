//! What a write survives, and what that costs: real processes, killed and traced.
//!
//! The tests start this program again as the child; it then runs only [`child`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use lighter_meta::{Db, Durability, Read as _};

const DATABASE: &str = "LIGHTER_META_TEST_DATABASE";
const MODE: &str = "LIGHTER_META_TEST_MODE";

/// What the child does; nothing when a person runs the tests.
#[test]
fn child() {
    let (Ok(path), Ok(mode)) = (std::env::var(DATABASE), std::env::var(MODE)) else {
        return;
    };
    let db = Db::open(Path::new(&path), 1).unwrap();
    let tell = |text: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    let put = |durability, key: String| db.write(durability, move |tx| tx.put("b", &key, &[7; 300]));
    match mode.as_str() {
        "forever" => {
            let before = count(&db);
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (tell, put) = (&tell, &put);
                    scope.spawn(move || {
                        for number in before.. {
                            let durability = if thread == 0 {
                                Durability::Power
                            } else {
                                Durability::Kill
                            };
                            let key = format!("{thread}-{number}");
                            put(durability, key.clone()).unwrap();
                            tell(&format!("wrote {key}"));
                        }
                    });
                }
            });
        }
        _ => {
            // The first durable write also syncs the new file's directory.
            put(Durability::Power, "first".into()).unwrap();
            tell("MARK durable");
            for number in 0..10 {
                put(Durability::Power, format!("durable-{number}")).unwrap();
            }
            tell("MARK kill-safe");
            for number in 0..100 {
                put(Durability::Kill, format!("kill-safe-{number}")).unwrap();
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // Each followed at once by what asks for more: an fsync each, and none of their own a tenth of a second later.
            tell("MARK settled");
            for number in 0..10 {
                put(Durability::Soon, format!("settled-{number}")).unwrap();
                runtime.block_on(db.settle()).unwrap();
                runtime.block_on(db.settle()).unwrap();
            }
            tell("MARK taken along");
            put(Durability::Soon, "taken along".into()).unwrap();
            put(Durability::Power, "by this".into()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(200));
            tell("MARK alone");
            put(Durability::Soon, "alone".into()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            // A write that came to nothing is committed without an fsync, and must not pass for one.
            tell("MARK failed");
            put(Durability::Soon, "before a failure".into()).unwrap();
            let failed = db.write(Durability::Power, |_| Err::<(), _>(lighter_meta::Error::Closed));
            assert!(failed.is_err());
            runtime.block_on(db.settle()).unwrap();
            tell("MARK together");
            let (go_on, gate) = std::sync::mpsc::channel::<()>();
            // The writer is held up, so that all of these are queued when it goes on.
            let (begun, holding) = std::sync::mpsc::channel::<()>();
            let held = db.write_async(Durability::Kill, move |_| {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                Ok::<(), lighter_meta::Error>(())
            });
            // Alone: none of them is in its batch.
            holding.recv().unwrap();
            let writes: Vec<_> = (0..50)
                .map(|number| {
                    db.write_async(Durability::Power, move |tx| {
                        tx.put("b", &format!("group-{number}"), b"")
                    })
                })
                .collect();
            go_on.send(()).unwrap();
            runtime.block_on(async {
                held.await.unwrap();
                for write in writes {
                    write.await.unwrap();
                }
            });
            tell("MARK end");
        }
    }
}

/// The number of keys, so that a child goes on where the last one was killed.
fn count(db: &Db) -> u64 {
    let mut keys = 0;
    let each = &mut |_: &str, _: &[u8]| {
        keys += 1;
        Ok(())
    };
    db.read(|tx| tx.scan("b", "", each)).unwrap();
    keys
}

fn child_command(program: &str, arguments: &[&str], database: &Path, mode: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command
        .env(DATABASE, database)
        .env(MODE, mode)
        .stdout(Stdio::piped());
    command
}

#[test]
fn a_killed_writer_loses_nothing_that_it_was_told_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("meta.db");
    let program = std::env::current_exe().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..12_usize {
        let mut child = child_command(program.to_str().unwrap(), &[], &database, "forever")
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Each round dies at another place: after so many answers, in the middle of what follows.
        let after = 1 + round * 37;
        let mut seen = 0;
        while seen < after {
            let line = lines
                .next()
                .expect("the child writes until it is killed")
                .unwrap();
            if let Some((_, key)) = line.split_once("wrote ") {
                acknowledged.push(key.to_owned());
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had told before it died, and was still in the pipe.
        acknowledged.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|line| Some(line.split_once("wrote ")?.1.to_owned())),
        );
        let db = Db::open(&database, 1).unwrap();
        for key in &acknowledged {
            let value = db.read(|tx| tx.get("b", key)).unwrap();
            assert_eq!(
                value.as_deref(),
                Some([7; 300].as_slice()),
                "round {round}: {key}"
            );
        }
    }
    println!("{} writes, 12 kills", acknowledged.len());
}

/// Syncs between each `MARK` and the next.
fn syncs(trace: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for line in trace.lines() {
        if let Some((_, mark)) = line.split_once("MARK ") {
            found.push((mark.split('\\').next().unwrap().to_owned(), 0));
        } else if let Some((_, count)) = found.last_mut()
            && (line.contains("fsync(") || line.contains("fdatasync("))
        {
            *count += 1;
        }
    }
    found
}

#[test]
fn a_durable_write_costs_one_fsync_a_kill_safe_one_none_a_soon_safe_one_one_later_and_a_group_shares_one() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let program = std::env::current_exe().unwrap();
    let options = "-f -qq -s 64 -e trace=fsync,fdatasync,write -o";
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.extend([trace.to_str().unwrap(), program.to_str().unwrap()]);
    let output = child_command("strace", &arguments, &dir.path().join("meta.db"), "count").output();
    let output = output.expect("this test needs strace");
    assert!(output.status.success(), "{output:?}");
    let found = syncs(&std::fs::read_to_string(&trace).unwrap());
    let expected = [
        ("durable", 10),
        ("kill-safe", 0),
        ("settled", 10),
        ("taken along", 1),
        ("alone", 1),
        ("failed", 1),
        ("together", 1),
        ("end", 0),
    ];
    // Closing the database at the end folds the log, which syncs: not counted here.
    let found: Vec<(&str, usize)> = found
        .iter()
        .map(|(mark, count)| (mark.as_str(), if mark == "end" { 0 } else { *count }))
        .collect();
    assert_eq!(found, expected);
}
