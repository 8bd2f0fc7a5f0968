//! Mounts as they are passed on: type, source, target, options.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A mount that somebody else shall make.
///
/// Source of the shape: containerd's `types.Mount`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The file system: `bind` or `overlay`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The device, or the directory that is bound.
    pub source: String,
    /// Where below the mount point; empty: at it.
    #[serde(default)]
    pub target: String,
    /// As mount(8) takes them: `ro`, `rbind`, `lowerdir=/a:/b`, …
    pub options: Vec<String>,
}

impl Mount {
    /// The directory that takes what is written: the upper one of an overlay, the source of a bind that is not read-only. Layers may be
    /// unpacked right into it (with overlay's own whiteouts) while nothing has it mounted.
    pub fn upper_dir(&self) -> Option<PathBuf> {
        match self.kind.as_str() {
            "overlay" => self.option("upperdir").map(PathBuf::from),
            "bind" if !self.options.iter().any(|option| option == "ro") => Some(PathBuf::from(&self.source)),
            _ => None,
        }
    }

    /// The directories that are only read, topmost first.
    pub fn lower_dirs(&self) -> Vec<PathBuf> {
        match self.kind.as_str() {
            "overlay" => self
                .option("lowerdir")
                .into_iter()
                .flat_map(|dirs| dirs.split(':'))
                .map(PathBuf::from)
                .collect(),
            "bind" if self.options.iter().any(|option| option == "ro") => vec![PathBuf::from(&self.source)],
            _ => Vec::new(),
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}
