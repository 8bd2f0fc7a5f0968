//! Transfer: pull, push, import, export.
