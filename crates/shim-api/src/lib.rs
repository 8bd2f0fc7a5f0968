//! Shim v2 task protocol: messages and ttrpc framing, data only.
