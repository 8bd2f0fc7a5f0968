//! `ctr`, as Debian has it, against our layer and against the containerd that it came with: the same answers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod archives;
mod compare;
mod containers;
mod content;
mod images;
mod snapshots;
