//! Control groups: create, limit, freeze, kill, count; v2, v1 and hybrid, by writing files of cgroupfs.
//!
//! A [`Group`] is the same path in every hierarchy of the machine ([`Layout`]). On v1 a single-threaded process joins by
//! writing `0` to its own `tasks` files ([`Group::joins`]), which is a hundred times faster than being moved through
//! `cgroup.procs`; on v2 it is born inside ([`Group::directory`] and `CLONE_INTO_CGROUP`).

mod device;
mod error;
mod files;
mod group;
mod layout;
mod limits;
mod merge;
mod resources;
mod stats;
pub mod systemd;
mod v1;
mod v2;
mod watch;

pub use error::Error;
pub use group::Group;
pub use layout::{Layout, Version};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Resources,
    ThrottleDevice, WeightDevice,
};
pub use stats::Stats;
pub use systemd::{Bus, Scope};
pub use watch::{Noticed, Watch};
