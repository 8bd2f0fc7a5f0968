//! Walk, create and open under a root by descriptor.
