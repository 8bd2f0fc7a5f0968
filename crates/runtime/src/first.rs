//! `spec`: a configuration to start from, byte for byte runc's but for the version of the spec.

use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::features::SPEC;

/// For root, on cgroup v1.
const DOCUMENT: &str = include_str!("first.json");

/// Writes `config.json` into a bundle that has none.
pub(crate) fn write(bundle: &Path, rootless: bool) -> Result<()> {
    let path = bundle.join("config.json");
    if path.exists() {
        return Err(Error::Config("File config.json exists. Remove it first".into()));
    }
    // As runc: callers add it where it is missing, and twice is refused.
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    std::fs::write(&path, document(rootless, v2)).on("write", path)
}

fn document(rootless: bool, v2: bool) -> String {
    let mut text = DOCUMENT.replacen("VERSION", SPEC, 1);
    let mut namespaces = vec!["pid"];
    namespaces.extend((!rootless).then_some("network"));
    namespaces.extend(["ipc", "uts", "mount"]);
    namespaces.extend(v2.then_some("cgroup"));
    if rootless {
        namespaces.push("user");
        // The group of terminals is not mapped, and an ordinary user has no say in limits.
        text = text.replacen(",\n\t\t\t\t\"gid=5\"", "", 1);
        text = text.replacen(
            "\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [",
            "\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",",
            1,
        );
        let maps = mapping("uid", rustix::process::geteuid().as_raw())
            + &mapping("gid", rustix::process::getegid().as_raw());
        if let (Some(from), Some(to)) = (text.find("\t\t\"resources\""), text.find("\t\t\"namespaces\"")) {
            text.replace_range(from..to, &maps);
        }
    }
    let list: Vec<String> = namespaces
        .iter()
        .map(|kind| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{kind}\"\n\t\t\t}}"))
        .collect();
    text.replacen("NAMESPACES", &list.join(",\n"), 1)
}

fn mapping(kind: &str, id: u32) -> String {
    format!(
        "\t\t\"{kind}Mappings\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_document_with_its_namespaces() {
        for (rootless, v2, last) in [
            (false, false, "mount"),
            (false, true, "cgroup"),
            (true, false, "user"),
            (true, true, "user"),
        ] {
            let value: serde_json::Value = serde_json::from_str(&document(rootless, v2)).unwrap();
            let list = value["linux"]["namespaces"].as_array().unwrap();
            assert_eq!(list.last().unwrap()["type"], last);
            assert_eq!(list.len(), 5 + usize::from(v2));
            assert_eq!(value["linux"]["resources"].is_null(), rootless);
            assert_eq!(value["linux"]["uidMappings"].is_array(), rootless);
            assert_eq!(value["ociVersion"], SPEC);
        }
    }
}
