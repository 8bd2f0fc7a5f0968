//! Query, follow and ship what containers wrote.
