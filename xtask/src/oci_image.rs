//! `oci-image LAYOUT NAME …`: adds an image to an OCI layout. How the lab makes its images; the push is skopeo's.
//!
//! Layout: OCI image-layout spec 1.1. Layers are directories or tar files, packed by the system's `tar`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[derive(Default)]
struct Image {
    layers: Vec<PathBuf>,
    config: serde_json::Map<String, Value>,
    index: bool,
}

pub fn main(words: &[&str]) -> Result<()> {
    let [layout, name, flags @ ..] = words else {
        bail!(
            "usage: oci-image LAYOUT NAME [--layer PATH]… [--env|--cmd|--workdir|--expose|--label V]… [--index]"
        )
    };
    add(Path::new(layout), name, &parse(flags)?)
}

fn parse(flags: &[&str]) -> Result<Image> {
    let mut image = Image::default();
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        if *flag == "--index" {
            image.index = true;
            continue;
        }
        let value = rest.next().with_context(|| format!("{flag} needs a value"))?;
        let list = |key: &str, config: &mut serde_json::Map<String, Value>| {
            let entry = config.entry(key).or_insert_with(|| json!([]));
            if let Some(list) = entry.as_array_mut() {
                list.push(json!(value));
            }
        };
        match *flag {
            "--layer" => image.layers.push(value.into()),
            "--env" => list("Env", &mut image.config),
            "--cmd" => list("Cmd", &mut image.config),
            "--workdir" => drop(image.config.insert("WorkingDir".into(), json!(value))),
            "--expose" => drop(image.config.insert("ExposedPorts".into(), json!({ *value: {} }))),
            "--label" => {
                let (key, text) = value.split_once('=').context("--label KEY=VALUE")?;
                image.config.insert("Labels".into(), json!({ key: text }));
            }
            other => bail!("unknown flag {other}"),
        }
    }
    Ok(image)
}

fn add(layout: &Path, name: &str, image: &Image) -> Result<()> {
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for path in &image.layers {
        let tar = pack(path)?;
        diff_ids.push(digest(&tar));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&tar)?;
        layers.push(put(
            layout,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            &gzip.finish()?,
        )?);
    }
    let mut manifests = Vec::new();
    let architectures: &[&str] = if image.index {
        &["arm64", "amd64"]
    } else {
        &["amd64"]
    };
    for architecture in architectures {
        let history: Vec<Value> = image
            .layers
            .iter()
            .map(|_| json!({"created": "2026-01-01T00:00:00Z", "created_by": "COPY / # lab"}))
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-01T00:00:00Z", "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        });
        let config = put(
            layout,
            "application/vnd.oci.image.config.v1+json",
            &serde_json::to_vec(&config)?,
        )?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        let mut manifest = put(layout, media_type, &serde_json::to_vec(&manifest)?)?;
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        manifests.push(manifest);
    }
    let mut root = if image.index {
        let media_type = "application/vnd.oci.image.index.v1+json";
        put(
            layout,
            media_type,
            &serde_json::to_vec(
                &json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}),
            )?,
        )?
    } else {
        manifests.swap_remove(0)
    };
    root["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let path = layout.join("index.json");
    let mut index: Value = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => json!({"schemaVersion": 2, "manifests": []}),
    };
    index["manifests"]
        .as_array_mut()
        .context("index.json has no manifests")?
        .push(root);
    fs::write(&path, serde_json::to_vec(&index)?).with_context(|| format!("writing {}", path.display()))
}

/// The layer's tar, the same bytes for the same input: names sorted, times fixed.
fn pack(path: &Path) -> Result<Vec<u8>> {
    if path.is_file() {
        return fs::read(path).with_context(|| format!("reading {}", path.display()));
    }
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--numeric-owner",
        "--sort=name",
        "--mtime=@1767225600",
        "--format=pax",
    ])
    .args(["--pax-option=delete=atime,delete=ctime", "--directory"])
    .arg(path)
    .arg(".");
    let output = tar.output()?;
    if !output.status.success() {
        bail!(
            "packing {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

fn put(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
