//! Filters
