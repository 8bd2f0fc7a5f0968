//! Flags as data, output, hints, exit codes.
