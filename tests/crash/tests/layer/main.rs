//! What the layer keeps, and how it survives: killed at random moments, with disks that fail, with files that were changed under it.
//!
//! The client is containerd's API, spoken by us: an operation is one call or a few, so that a death hits it and not a client.

#![expect(clippy::print_stdout, reason = "a suite says what it did")]

mod check;
mod containers;
mod daemon;
mod damage;
mod faults;
mod faulty;
mod garbage;
mod hangs;
mod kills;
mod operations;

/// Rounds where everything is tried (`LIGHTER_ROUNDS` of 25, as `xtask test --full` sets it, are 500 of these); none: as many as there is time for.
fn rounds() -> Option<usize> {
    let rounds: usize = std::env::var("LIGHTER_ROUNDS").ok()?.parse().ok()?;
    (rounds >= 25).then_some(rounds * 20)
}
