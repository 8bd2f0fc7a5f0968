//! Leases: what keeps things from the collector.
