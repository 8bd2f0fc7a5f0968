//! Routes, hijacking, status codes.
