//! Daemons killed at any instruction. The suites are in `tests/`.
//!
//! Random rounds are seeded: `LIGHTER_SEED` repeats a run, `LIGHTER_ROUNDS` says how many rounds there are. Both are printed.

#![expect(clippy::print_stdout, reason = "a suite says what it did")]

/// The seed of this run, printed.
#[must_use]
pub fn seed() -> u64 {
    let seed = std::env::var("LIGHTER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!("LIGHTER_SEED={seed}");
    seed
}
