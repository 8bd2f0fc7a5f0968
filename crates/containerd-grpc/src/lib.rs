//! containerd services on the wire.
