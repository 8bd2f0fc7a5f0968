//! Seccomp profiles (`linux.seccomp` of the OCI runtime spec) to BPF programs.
//!
//! A filter is a balanced tree over ranges of call numbers with the same verdict: the kernel asks a handful of
//! comparisons where a list would ask hundreds, and loads and caches it ten times faster.

mod arch;
mod compile;
mod interpret;
mod profile;
mod table;

pub use compile::{Error, Filter, compile};
pub use profile::{Action, Argument, Operator, Profile, Rule};

/// The actions, operators, architectures and flags that [`compile`] knows, for `features`.
pub mod known {
    pub use crate::arch::NAMES as ARCHITECTURES;
    pub use crate::compile::FLAGS;
    pub use crate::profile::{ACTIONS, OPERATORS};
}
