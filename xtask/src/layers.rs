//! `layers`: an edge between our crates goes to a strictly lower layer. Layers stand in each crate's
//! `[package.metadata.lighter]`; edges come from cargo, tests included.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::run::output;

/// The names of our packages.
pub fn packages() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names = packages.filter_map(|package| package["name"].as_str().map(str::to_owned));
    Ok(names.collect())
}

fn metadata() -> Result<Value> {
    let text =
        output(Command::new("cargo").args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    Ok(serde_json::from_str(&text)?)
}

pub fn check() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    let mut layers = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let layer = package["metadata"]["lighter"]["layer"].as_u64();
        layers.insert(
            name,
            layer.with_context(|| format!("{name} has no [package.metadata.lighter] layer"))?,
        );
    }
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let dev = dependency["kind"].as_str() == Some("dev");
            // A test may use the harness, which is above everything.
            if let Some(below) = layers.get(target)
                && *below >= layers[name]
                && !(dev && target == "lighter-harness")
            {
                wrong.push(format!(
                    "{name} (layer {}) uses {target} (layer {below})",
                    layers[name]
                ));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "edges that do not go down:\n  {}",
        wrong.join("\n  ")
    );
    println!("{} crates, every edge goes down", layers.len());
    Ok(())
}
