//! Ours beside runc and crun: the same configurations, the same view from inside.
//!
//! [`generate`] draws configurations: a Docker-like base and changes to it. [`host`] runs one through a runtime on a private
//! host and tells what a [`probe`] inside saw, what its cgroup's files said and what was left. [`compare`] finds where two
//! views differ, but for [`differences`], which are meant.
//!
//! Rounds are seeded: `LIGHTER_SEED` repeats a run, `LIGHTER_ROUNDS` says how long it is. Both are printed.

pub mod compare;
pub mod differences;
pub mod generate;
pub mod host;
pub mod launch;
pub mod probe;
mod wrong;
