//! `kill -9` at random moments of a pull, an unpacking, a commit, a removal and a collection.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::check::{self, Trees};
use crate::daemon::{Daemon, request};
use crate::operations::{self, Operation};

/// In CI as many rounds as this takes.
const BUDGET: Duration = Duration::from_secs(8);

#[test]
fn a_layer_that_is_killed_at_any_moment_is_whole_at_its_next_start() {
    let mut daemon = Daemon::start();
    let mut random = StdRng::seed_from_u64(lighter_crash::seed());
    let rounds = crate::rounds();
    let trees = reference(&daemon);
    // How long each takes when nobody dies: the moments are within it, and a little after.
    let mut takes: Vec<Duration> = Operation::ALL
        .iter()
        .map(|operation| time(&daemon, *operation))
        .collect();
    let begun = Instant::now();
    let (mut done, mut interrupted) = (0, [0; 5]);
    while rounds.map_or(begun.elapsed() < BUDGET, |rounds| done < rounds) {
        let which = done % Operation::ALL.len();
        let operation = Operation::ALL[which];
        let after = takes[which].mul_f64(random.random_range(0.0..1.1));
        let about = format!("round {done}: {operation:?}, killed after {after:?}");
        must(&daemon, operations::prepare(&daemon.channel, operation), &about);
        let channel = daemon.channel.clone();
        let running = daemon
            .runtime
            .spawn(async move { operations::run(&channel, operation).await });
        std::thread::sleep(after);
        daemon.kill();
        let ended = daemon
            .runtime
            .block_on(running)
            .expect("the client does not panic");
        match ended {
            Err(_) => interrupted[which] += 1,
            // It takes less than it did.
            Ok(()) => takes[which] = takes[which].mul_f64(0.97),
        }
        let (well, said) = crate::damage::look(&daemon, false);
        assert!(well, "{about}: {said}");
        daemon.restart();
        check::whole(&daemon, &trees, &about);
        if let (Ok(()), Operation::Pull) = (&ended, operation) {
            let get = lighter_containerd_api::images::GetImageRequest {
                name: operations::image(),
            };
            let mut images =
                lighter_containerd_api::images::images_client::ImagesClient::new(daemon.channel.clone());
            let there = daemon.runtime.block_on(images.get(request(get)));
            there.unwrap_or_else(|error| panic!("{about}: what was told to be there is not: {error}"));
        }
        settle(&daemon, &trees, operation, &about);
        done += 1;
    }
    println!(
        "{done} kills, of these in the middle of {:?}: {interrupted:?}",
        Operation::ALL
    );
    assert!(interrupted.iter().sum::<u32>() > 0, "none was interrupted");
}

/// The same operation succeeds; what it made is right; then all of it can be taken away, and nothing stays.
pub(crate) fn settle(daemon: &Daemon, trees: &Trees, operation: Operation, about: &str) {
    must(daemon, operations::run(&daemon.channel, operation), about);
    check::whole(daemon, trees, about);
    if let Operation::Pull | Operation::Unpack = operation {
        let there = check::trees(daemon, &check::snapshots(daemon));
        assert_eq!(there, *trees, "{about}: the image's layers");
    }
    clear(daemon, about);
}

/// Takes everything away.
pub(crate) fn clear(daemon: &Daemon, about: &str) {
    must(daemon, operations::remove(&daemon.channel, true), about);
    must(daemon, operations::end_leases(&daemon.channel), about);
    // What the labels of roots kept.
    must(daemon, operations::unroot(&daemon.channel), about);
    must(daemon, operations::collect(&daemon.channel), about);
    check::empty(daemon, about);
}

/// What the image's layers hold.
pub(crate) fn reference(daemon: &Daemon) -> Trees {
    must(daemon, operations::pull(&daemon.channel, true), "the first pull");
    let trees = check::trees(daemon, &check::snapshots(daemon));
    assert_eq!(trees.len(), 2, "the image has two layers");
    clear(daemon, "the first pull");
    trees
}

fn time(daemon: &Daemon, operation: Operation) -> Duration {
    must(daemon, operations::prepare(&daemon.channel, operation), "once");
    let begun = Instant::now();
    must(daemon, operations::run(&daemon.channel, operation), "once");
    let took = begun.elapsed();
    clear(daemon, "once");
    took
}

#[track_caller]
pub(crate) fn must<T>(
    daemon: &Daemon,
    work: impl Future<Output = Result<T, tonic::Status>>,
    about: &str,
) -> T {
    let result = daemon.runtime.block_on(async {
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, work).await.expect("it does not hang")
    });
    result.unwrap_or_else(|error| panic!("{about}: {error}"))
}
