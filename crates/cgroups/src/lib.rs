//! Create, limit, freeze, kill and stat control groups: v2, v1, hybrid.
