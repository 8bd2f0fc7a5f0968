//! `demo`: sets up, builds, and does what the pieces can do today, in a private host; the rest says that it is to come.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lighter_harness::{Host, Machine};
use serde_json::{Value, json};

use crate::run::step;
use crate::{build, lab};

/// The seed's Ops walk-through and web server, which need the joined chain.
const TO_COME: [&str; 8] = [
    "lighter image pull ubuntu:latest",
    "lighter image ls",
    "lighter container run -it ubuntu:latest /bin/bash",
    "lighter container ls",
    "lighter container exec -it NAME bash",
    "lighter container stop NAME",
    "lighter container rm NAME",
    "lighter container run -d --name webserver -p 80:8080 web",
];

pub fn main() -> Result<()> {
    let lab = step("set up", lab::images)?;
    let dist = step("build", build::all)?;
    step("a container by lighter-runc, in a private host", || {
        let host = Host::new();
        let bundle = host.dir().join("bundle");
        let rootfs = lab.join("rootfs/busybox");
        std::fs::create_dir_all(&bundle)?;
        run(
            &host,
            &["cp", "-a", text(&rootfs)?, text(&bundle.join("rootfs"))?],
        )?;
        let config = bundle.join("config.json");
        run(&host, &["bash", "-c", "cd \"$0\" && runc spec", text(&bundle)?])?;
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config)?)?;
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!([
            "sh",
            "-c",
            "echo \"hello from $(hostname), pid $$, $(id -un)\"; ls /"
        ]);
        spec["linux"]["cgroupsPath"] = json!(format!("{}/demo", host.cgroup_parent()));
        std::fs::write(&config, serde_json::to_vec_pretty(&spec)?)?;
        let runtime = dist.join("lighter-runc");
        run(
            &host,
            &[
                text(&runtime)?,
                "--root",
                "/run/runc-demo",
                "run",
                "--bundle",
                text(&bundle)?,
                "demo",
            ],
        )
    })?;
    println!("\nThese steps wait for pieces that do not exist yet:");
    for command in TO_COME {
        println!("  {command}");
    }
    Ok(())
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

fn run(host: &Host, argv: &[&str]) -> Result<()> {
    println!("$ {}", argv.join(" "));
    let mut command: Command = host.command(Machine::Host, argv);
    let status = command
        .status()
        .with_context(|| format!("starting {}", argv[0]))?;
    ensure!(status.success(), "{}: {status}", argv[0]);
    Ok(())
}
