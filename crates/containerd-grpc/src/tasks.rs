//! Tasks: running containers.
