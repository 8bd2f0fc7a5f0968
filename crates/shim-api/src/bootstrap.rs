//! What `start` of a shim prints.

/// Where a shim listens and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Version of the task service: 2 or 3.
    pub version: u32,
    /// `unix://` and the path of the socket.
    pub address: String,
    /// `ttrpc`, or `grpc` for shims that are not ours.
    pub protocol: String,
}

impl Bootstrap {
    /// The JSON document that callers since containerd 1.7 read.
    pub fn to_json(&self) -> String {
        let address = self.address.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "{{\"version\":{},\"address\":\"{address}\",\"protocol\":\"{}\"}}",
            self.version, self.protocol
        )
    }
}
