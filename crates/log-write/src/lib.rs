//! The writers of container log files, tiny: the shim links it.
