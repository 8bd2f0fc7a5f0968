//! An OCI bundle to a created, running, stopped process: runc's commands.
//!
//! One process a command, one thread, no re-exec but for [`seal`]. `create` forks once: the child (`init`) makes the
//! container around itself while the parent (`create`) makes its cgroup; they speak over a socket pair (`sync`). The child
//! then waits on a fifo for `start`. What one command leaves for the next is in `state`.

mod arguments;
mod attributes;
mod caps;
mod cgroup_mount;
mod checkpoint;
mod cli;
mod clock;
mod commands;
mod config;
mod console;
mod copy_up;
mod create;
mod devices;
pub mod documents;
mod error;
mod events;
mod exec;
mod features;
mod first;
mod flags;
mod foreground;
mod group;
mod help;
mod hooks;
mod host_view;
mod identity;
mod ids;
mod init;
mod json;
mod labels;
mod log;
mod masks;
mod mount_flags;
mod mount_table;
mod mountpoint;
mod mounts;
mod namespaces;
mod netdev;
mod notify;
mod options;
mod passed;
mod procfs;
mod program;
mod relay;
mod rootfs;
pub mod seal;
mod sources;
mod stage;
mod state;
mod strict;
mod sync;
mod sysctl;
mod update;

pub use cli::{Input, Output, run};
