//! Small messages that several services share.

use std::collections::{BTreeMap, HashMap};

use lighter_containerd_api::types::Mount as WireMount;
use lighter_meta::filter::Filters;
use lighter_snapshots::Mount;
use prost_types::FieldMask;
use tonic::Status;

use crate::error::Result;

/// Labels as the layer has them.
pub(crate) fn labels(wire: HashMap<String, String>) -> BTreeMap<String, String> {
    wire.into_iter().collect()
}

/// Labels as the wire has them.
pub(crate) fn to_labels(labels: BTreeMap<String, String>) -> HashMap<String, String> {
    labels.into_iter().collect()
}

/// The fields that an update names.
pub(crate) fn fields(mask: Option<FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

/// Mounts as the layer has them.
pub(crate) fn mounts(wire: Vec<WireMount>) -> Vec<Mount> {
    let mount = |mount: WireMount| Mount {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    wire.into_iter().map(mount).collect()
}

/// The filters of a list.
pub(crate) fn filters(texts: &[String]) -> Result<Filters> {
    Filters::parse(texts)
        .map_err(|error| Status::invalid_argument(format!("filter {:?}: {error}", error.filter)))
}
