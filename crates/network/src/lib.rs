//! Bridges, IPAM, NAT and published ports.
