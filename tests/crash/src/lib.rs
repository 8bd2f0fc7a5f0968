//! Daemons killed at any instruction. The suites are in `tests/`.
//!
//! Random rounds are seeded: `LIGHTER_SEED` repeats a run, `LIGHTER_ROUNDS` says how many rounds there are. Both are printed.
