//! containerd's gRPC API: messages, clients, servers; generated, data only.
