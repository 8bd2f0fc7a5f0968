//! The little that a shim must know of a container's specification.

use std::path::Path;

use crate::json;

/// Whether the specification gives the container no PID namespace of its own.
pub(crate) fn shares_pids(bundle: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(bundle.join("config.json")) else {
        return false;
    };
    let namespaces = json::member(&text, "linux").and_then(|linux| json::member(linux, "namespaces"));
    let member = |namespace: &str, key| json::member(namespace, key).and_then(json::string);
    !namespaces
        .map(json::elements)
        .unwrap_or_default()
        .into_iter()
        .any(|namespace| {
            member(namespace, "type").as_deref() == Some("pid")
                && member(namespace, "path").is_none_or(|path| path.is_empty())
        })
}
