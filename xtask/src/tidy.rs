//! `tidy`: habits that no compiler checks.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build::root;
use crate::run::output;

/// No file of ours is longer; generated ones and lists of data are not read by people.
const MOST_LINES: usize = 800;
const MAIN_LINES: usize = 60;

pub fn check() -> Result<()> {
    let files = output(Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in files
        .lines()
        .filter(|name| name.ends_with(".rs") || name.ends_with("Cargo.toml"))
    {
        let path = root().join(name);
        // `git ls-files` lists files that were just deleted.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        count += 1;
        match name.ends_with(".rs") {
            true => rust(name, &text, &mut wrong),
            false => manifest(name, &text, &mut wrong),
        }
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "SPECIFICATION.md",
        "SCOPE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ] {
        if !root().join(name).exists() {
            wrong.push(format!("{name} is missing"));
        }
    }
    promises(&mut wrong)?;
    ensure!(wrong.is_empty(), "untidy:\n  {}", wrong.join("\n  "));
    println!("{count} files are tidy");
    Ok(())
}

fn rust(name: &str, text: &str, wrong: &mut Vec<String>) {
    let lines = text.lines().count();
    let most = if name.starts_with("bin/") && name.ends_with("src/main.rs") {
        MAIN_LINES
    } else {
        MOST_LINES
    };
    if lines > most && !name.contains("/generated/") {
        wrong.push(format!("{name} has {lines} lines, more than {most}"));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("#[ignore") || code.starts_with("todo!(") || code.starts_with("unimplemented!(") {
            wrong.push(format!("{name}:{}: {code}", number + 1));
        }
    }
}

/// Each crate takes the workspace's lints and versions; `sys` (unsafe) and `xtask` (printing) argue their own; the fuzz
/// targets are a workspace apart.
fn manifest(name: &str, text: &str, wrong: &mut Vec<String>) {
    let own_lints = [
        "Cargo.toml",
        "crates/sys/Cargo.toml",
        "fuzz/Cargo.toml",
        "xtask/Cargo.toml",
    ];
    if !own_lints.contains(&name) && !text.contains("[lints]\nworkspace = true") {
        wrong.push(format!("{name} does not take the workspace's lints"));
    }
    if name != "Cargo.toml"
        && text
            .lines()
            .any(|line| line.contains("= \"") && line.contains("version") && !line.starts_with("version"))
    {
        wrong.push(format!(
            "{name} names a version; those live in the workspace's Cargo.toml"
        ));
    }
}

/// A test that SPECIFICATION.md names must exist.
fn promises(wrong: &mut Vec<String>) -> Result<()> {
    let path = root().join("SPECIFICATION.md");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(());
    };
    let sources =
        output(
            Command::new("git")
                .current_dir(root())
                .args(["grep", "-hoE", "fn [a-z_0-9]+", "--", "*.rs"]),
        )
        .context("listing functions")?;
    let known: std::collections::HashSet<&str> = sources
        .lines()
        .filter_map(|line| line.strip_prefix("fn "))
        .collect();
    for name in text
        .split("`test:")
        .skip(1)
        .filter_map(|rest| rest.split('`').next())
    {
        let function = Path::new(name)
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(name);
        if !known.contains(function.rsplit("::").next().unwrap_or(function)) {
            wrong.push(format!(
                "SPECIFICATION.md names the test {name}, which does not exist"
            ));
        }
    }
    Ok(())
}
