//! The only crate with unsafe: clone3, pidfd, openat2, mounts, namespaces, netlink, ttys.
