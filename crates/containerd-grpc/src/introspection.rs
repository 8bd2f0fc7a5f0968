//! Introspection: what this server is made of.
