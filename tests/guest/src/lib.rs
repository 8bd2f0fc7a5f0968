//! Guests with pure cgroup v2, and with systemd: what nearly all users run, on a machine that may be neither.
//!
//! A [`Guest`] is a User-mode Linux: a kernel that runs as a process, without KVM. Its root is the lab's Debian under an overlay
//! in memory, so that any number of guests run side by side and nothing of them stays. `cargo xtask lab` makes the parts.
//!
//! What such a kernel lacks: a second processor, the controllers `cpuset` and `hugetlb`, PSI, Landlock, nft. A system call costs
//! many times a native one: what runs in a guest is what only a guest can show.

mod guest;
mod programs;

pub use guest::{Guest, Kind, Ran};
pub use programs::{Program, Verdict, programs, verdicts};
