//! Layer tar apply and diff.
