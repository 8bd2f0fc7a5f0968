//! The containerd services with no wire in them.
