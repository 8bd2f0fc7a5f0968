//! The Engine API's types; data only.
