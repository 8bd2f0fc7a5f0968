//! A disk that is full, or broken, at each single write.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::io::Errno;

use crate::check;
use crate::daemon::Daemon;
use crate::faulty::Faults;
use crate::kills::{clear, must, reference};
use crate::operations::{self, Operation};

/// In CI as many faults as this takes.
const BUDGET: Duration = Duration::from_secs(4);

#[test]
fn a_full_disk_at_any_write_breaks_one_operation_and_nothing_else() {
    breaks_one_operation(Errno::NOSPC, true);
}

#[test]
fn an_input_output_error_at_any_write_breaks_one_operation_and_nothing_else() {
    breaks_one_operation(Errno::IO, false);
}

fn breaks_one_operation(error: Errno, lasting: bool) {
    let name = if lasting { "ENOSPC from" } else { "EIO" };
    let mut daemon = Daemon::start();
    let mut random = StdRng::seed_from_u64(lighter_crash::seed());
    let rounds = crate::rounds();
    let trees = reference(&daemon);
    daemon.kill();
    let faults = Faults {
        error: error.raw_os_error(),
        lasting,
    };
    let mut injector = daemon.restart_with(faults);
    // How many writes each has.
    let writes: Vec<u64> = Operation::ALL
        .iter()
        .map(|operation| {
            must(
                &daemon,
                operations::prepare(&daemon.channel, *operation),
                "counting",
            );
            injector.arm(0);
            must(&daemon, operations::run(&daemon.channel, *operation), "counting");
            let (count, _) = injector.disarm();
            clear(&daemon, "counting");
            count
        })
        .collect();
    println!("{name}: writes of {:?}: {writes:?}", Operation::ALL);
    assert!(writes.iter().all(|count| *count > 0));
    let mut left: Vec<Vec<u64>> = writes.iter().map(|count| (1..=*count).collect()).collect();
    let (begun, mut tried, mut refused) = (Instant::now(), 0, 0);
    for which in (0..Operation::ALL.len()).cycle() {
        let enough = rounds.map_or(begun.elapsed() >= BUDGET, |rounds| tried >= rounds);
        if enough || left.iter().all(Vec::is_empty) {
            break;
        }
        if left[which].is_empty() {
            continue;
        }
        let at = random.random_range(0..left[which].len());
        let at = left[which].swap_remove(at);
        let operation = Operation::ALL[which];
        let about = format!("{name} at write {at} of {operation:?}");
        must(&daemon, operations::prepare(&daemon.channel, operation), &about);
        injector.arm(at);
        let work = operations::run(&daemon.channel, operation);
        let ended = daemon
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await });
        let (_, failed) = injector.disarm();
        let ended = ended.unwrap_or_else(|_| panic!("{about}: it hangs"));
        assert!(daemon.is_alive(), "{about}: the layer died");
        refused += u32::from(ended.is_err());
        if let Err(status) = &ended {
            assert!(failed > 0, "{about}: {status}, and nothing had failed");
            let told = status.message().to_lowercase();
            // SQLite has words of its own, the same for every error of a sync.
            let named = ["no space", "full", "i/o error", "input/output"]
                .iter()
                .any(|words| told.contains(words));
            assert!(named, "{about}: it does not say what failed: {status}");
        }
        // With the disk well again it goes on as it is, and after a kill as well.
        if random.random_bool(0.5) {
            daemon.kill();
            drop(injector);
            injector = daemon.restart_with(faults);
        }
        must(&daemon, operations::run(&daemon.channel, operation), &about);
        if operation == Operation::Remove {
            // An image that is gone already has nothing collected: the next collection takes what could not be removed.
            must(&daemon, operations::collect(&daemon.channel), &about);
        }
        check::whole(&daemon, &trees, &about);
        if let Operation::Pull | Operation::Unpack = operation {
            let there = check::trees(&daemon, &check::snapshots(&daemon));
            assert_eq!(there, trees, "{about}: the image's layers");
        }
        clear(&daemon, &about);
        tried += 1;
    }
    println!("{name}: {tried} faults, {refused} operations failed by them");
    assert!(refused > 0);
    daemon.kill();
}
