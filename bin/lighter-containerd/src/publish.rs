//! `publish`: how a shim of containerd 1.x tells an event when it has nothing but this program.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use lighter_containerd_grpc::client::publish;
use prost::Message as _;

/// Most bytes of an event.
const MOST: u64 = 4 << 20;

/// Publishes the event on standard input, a protobuf `Any`.
pub(crate) async fn run(address: &Path, namespace: &str, topic: &str) -> anyhow::Result<()> {
    let mut data = Vec::new();
    std::io::stdin()
        .take(MOST)
        .read_to_end(&mut data)
        .context("reading the event from standard input")?;
    let event = prost_types::Any::decode(data.as_slice()).context("the event is no protobuf Any")?;
    publish(address, namespace, topic, event)
        .await
        .with_context(|| format!("publishing to {}", address.display()))
}
