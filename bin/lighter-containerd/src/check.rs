//! `content check`: what is wrong, a line each, and whether all is well.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

/// Prints what is found in `root`. Fails when something is wrong and stays so.
#[expect(clippy::print_stdout, reason = "a main may")]
pub(crate) fn run(root: &Path, repair: bool) -> anyhow::Result<ExitCode> {
    let report = lighter_containerd::check::check(root, repair);
    let report =
        report.with_context(|| format!("checking {} (the daemon must be stopped)", root.display()))?;
    for fault in &report.faults {
        println!("{fault}");
    }
    for path in &report.leftovers {
        println!("{}: left by a death; the next start removes it", path.display());
    }
    println!(
        "{} blobs hashed, {} of {} snapshots compared with their layers: {}",
        report.blobs,
        report.compared,
        report.snapshots,
        match report.faults.len() {
            0 => "nothing is wrong".to_owned(),
            1 => "1 fault".to_owned(),
            faults => format!("{faults} faults"),
        }
    );
    if report.is_bad() && !repair {
        println!("hint: --repair drops or unpacks anew what it can");
    }
    Ok(if report.is_bad() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
