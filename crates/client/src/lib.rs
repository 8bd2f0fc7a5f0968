//! Typed client of the Engine API.
