//! Names and data of the OCI world: reference, digest, platform; no I/O.
