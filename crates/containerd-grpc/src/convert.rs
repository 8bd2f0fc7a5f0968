//! Small messages that several services share.

use std::collections::{BTreeMap, HashMap};

/// Labels as the layer has them.
pub(crate) fn labels(wire: HashMap<String, String>) -> BTreeMap<String, String> {
    wire.into_iter().collect()
}

/// Labels as the wire has them.
pub(crate) fn to_labels(labels: BTreeMap<String, String>) -> HashMap<String, String> {
    labels.into_iter().collect()
}
