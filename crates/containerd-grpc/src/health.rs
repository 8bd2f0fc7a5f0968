//! Health: whether we serve.
