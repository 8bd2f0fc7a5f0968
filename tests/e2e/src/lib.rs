//! The whole chain through public doors: see `tests/`.
