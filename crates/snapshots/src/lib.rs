//! Snapshotters: overlayfs first, one conformance suite for every one.
