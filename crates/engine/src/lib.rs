//! State machines of containers, exec, networks, events; no HTTP.
