//! The per-container supervisor.
