//! What survives the death of daemons. The engine's client is the stock one.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a suite says what it did"
)]

mod failpoints;
mod full_disk;
mod random;
mod support;
mod upgrade;
mod while_away;
