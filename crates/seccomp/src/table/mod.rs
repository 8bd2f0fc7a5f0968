//! Numbers of system calls by architecture.

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
mod find;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x32;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;
