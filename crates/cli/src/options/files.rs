//! Files that flags name.

use std::collections::BTreeMap;

/// The lines of an environment or label file: `NAME=VALUE`, or `NAME` for that of `variables`; `#` begins a comment.
pub(super) fn lines(path: &str, variables: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let bytes = read(path)?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("env file {path} contains invalid utf8 bytes"))?;
    let mut lines = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(format!(
                "invalid env file ({path}): no variable name on line '{line}'"
            ));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!(
                "invalid env file ({path}): variable '{name}' contains whitespaces"
            ));
        }
        if line.contains('=') {
            lines.push(line.to_owned());
        } else if let Some(value) = variables.get(line) {
            lines.push(format!("{line}={value}"));
        }
    }
    Ok(lines)
}

/// A seccomp profile, as compact JSON.
pub(super) fn profile(path: &str) -> Result<String, String> {
    let bytes = read(path).map_err(|error| format!("opening seccomp profile ({path}) failed: {error}"))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("compacting json for seccomp profile ({path}) failed: {error}"))?;
    Ok(value.to_string())
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        std::io::ErrorKind::PermissionDenied => format!("open {path}: permission denied"),
        std::io::ErrorKind::IsADirectory => format!("read {path}: is a directory"),
        _ => format!("open {path}: {error}"),
    })
}
