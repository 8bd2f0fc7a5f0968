//! Version.
