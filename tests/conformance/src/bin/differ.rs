//! Runs on a private host: draws configurations, runs each through the three runtimes, prints what differs.
#![expect(clippy::print_stdout, reason = "its product")]

use lighter_conformance::compare::{Difference, compare};
use lighter_conformance::generate::{Case, case};
use lighter_conformance::host::{Host, RUNTIMES, documents};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Enough to see what is wrong; each takes time to shrink.
const MOST: usize = 8;

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |index: usize| {
        words
            .get(index)
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (seed, worker, rounds) = (number(1), number(2), number(3));
    let most = if number(5) == 0 {
        MOST
    } else {
        usize::try_from(number(5)).unwrap_or(MOST)
    };
    let cgroup = words.get(4).map_or("", String::as_str);
    let host = match Host::new(cgroup) {
        Ok(host) => host,
        Err(error) => {
            println!("the host could not be made: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&worker.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
    );
    let strategy = case();
    let (mut failures, mut refused, mut ran) = (0, 0, 0);
    for _ in 0..rounds {
        let Ok(mut tree) = strategy.new_tree(&mut runner) else {
            continue;
        };
        let (mut found, was_refused) = differences(&host, &tree.current());
        if was_refused {
            refused += 1
        } else {
            ran += 1
        };
        if found.is_empty() {
            continue;
        }
        let mut smallest = tree.current();
        for _ in 0..24 {
            if !tree.simplify() {
                break;
            }
            let (smaller, _) = differences(&host, &tree.current());
            let same = smaller
                .iter()
                .any(|one| found.iter().any(|other| one.what == other.what));
            if same {
                (found, smallest) = (smaller, tree.current());
            } else if !tree.complicate() {
                break;
            }
        }
        report(&smallest, &found);
        failures += 1;
        if failures == most {
            println!("... and no more are looked for");
            break;
        }
    }
    println!("worker {worker}: {ran} ran, {refused} were refused, {failures} differ");
    if failures == 0 {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

fn differences(host: &Host, case: &Case) -> (Vec<Difference>, bool) {
    let mut seen = Vec::new();
    for runtime in RUNTIMES {
        match host.run(case, runtime) {
            Ok(one) => seen.push(one),
            Err(error) => {
                let values = [runtime.name.to_owned(), error.to_string(), String::new()];
                return (
                    vec![Difference {
                        what: "the suite itself".into(),
                        values,
                    }],
                    true,
                );
            }
        }
    }
    let refused = seen[1].refused.is_some();
    let Ok(seen) = seen.try_into() else {
        return (Vec::new(), refused);
    };
    (compare(case, &seen), refused)
}

fn report(case: &Case, found: &[Difference]) {
    println!("\n== changes {:?}\n== exec {:?}", case.changes, case.exec);
    for difference in found.iter().take(12) {
        println!("-- {}", difference.what);
        for (runtime, value) in RUNTIMES.iter().zip(&difference.values) {
            println!("   {}: {}", runtime.name, value.replace('\n', "\n         "));
        }
    }
    if std::env::var_os("LIGHTER_DOCUMENTS").is_some() {
        println!("{}", documents(case));
    }
}
