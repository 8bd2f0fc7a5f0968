//! Descriptors, digests, platforms.

use lighter_containerd_api::types as wire;
use lighter_oci::{Descriptor, Digest, Platform};
use tonic::Status;

use crate::convert::to_labels;
use crate::error::Result;

/// A digest as a request gives it.
pub(crate) fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: lighter_oci::DigestError| {
        Status::invalid_argument(format!("digest {text:?}: {error}"))
    })
}

/// A digest that may be left out.
pub(crate) fn digest_if_any(text: &str) -> Result<Option<Digest>> {
    (!text.is_empty()).then(|| digest(text)).transpose()
}

/// A descriptor as a request gives it.
pub(crate) fn given(wire: wire::Descriptor) -> Result<Descriptor> {
    let size = u64::try_from(wire.size)
        .map_err(|_| Status::invalid_argument(format!("size {}: it is negative", wire.size)))?;
    let mut descriptor = Descriptor::new(wire.media_type, digest(&wire.digest)?, size);
    descriptor.annotations = wire.annotations.into_iter().collect();
    Ok(descriptor)
}

/// A descriptor as it is answered.
pub(crate) fn message(descriptor: Descriptor) -> wire::Descriptor {
    wire::Descriptor {
        media_type: descriptor.media_type,
        digest: descriptor.digest.to_string(),
        size: bytes(descriptor.size),
        annotations: to_labels(descriptor.annotations),
    }
}

/// A number of bytes as the wire has it.
pub(crate) fn bytes(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A platform as a request gives it.
pub(crate) fn platform(wire: wire::Platform) -> Platform {
    let mut platform = Platform::new(&wire.os, &wire.architecture, &wire.variant);
    platform.os_version = wire.os_version;
    platform
}
