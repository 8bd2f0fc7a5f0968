//! An OCI bundle to a created, running, stopped process.
