//! Writes `src/generated` from `proto`: `cargo run -p lighter-containerd-api --example codegen`. No protoc is needed.

use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = here.join("proto");
    let mut files = Vec::new();
    collect(&proto, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [&proto])?;
    // What reflection tells: ours alone, without the comments.
    std::fs::write(
        here.join("src/generated/descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .out_dir(here.join("src/generated"))
        .include_file("mod.rs")
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            into.push(path);
        }
    }
    Ok(())
}
