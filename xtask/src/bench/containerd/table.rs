//! What was seen, and what was promised of it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::inside::{NAMES, Results, median};
use crate::bench::report::{Machine, number};

/// What is promised.
enum Promise {
    /// So many times better than the peer.
    Times(&'static str, f64),
    Below(&'static str, f64),
    Above(&'static str, f64),
}

const PROMISES: [Promise; 7] = [
    Promise::Times("ctr run --rm, net", 5.0),
    Promise::Times("100 started, 8 at a time", 5.0),
    Promise::Below("a shim of 100, PSS", 300.0),
    Promise::Below("daemon, idle", 15.0),
    Promise::Below("daemon, 100 containers", 30.0),
    Promise::Times("unpack of 300 MB, 6 layers", 2.0),
    Promise::Above("content info", 20_000.0),
];

/// How many times ours is better than the peer: more, where that is good.
fn ratio(results: &Results, name: &str) -> Option<f64> {
    let (ours, peer) = (median(results, name, 0)?, median(results, name, 1)?);
    Some(if name == "content info" {
        ours / peer
    } else {
        peer / ours
    })
}

/// Prints the table and the goals, and writes `containerd.json` into `dir`.
pub fn tell(dir: &Path, machine: &Machine, results: &Results) -> Result<()> {
    println!("\nmedians; load {:.2} at the end", results.load);
    println!(
        "{:<30} {:>10} {:>12} {:>12} {:>8}",
        "", "", NAMES[0], NAMES[1], "times"
    );
    for row in &results.rows {
        let cell = |column| median(results, &row.name, column).map_or("–".to_owned(), number);
        let times = ratio(results, &row.name).map_or("–".to_owned(), |times| format!("{times:.2}"));
        println!(
            "{:<30} {:>10} {:>12} {:>12} {times:>8}",
            row.name,
            row.unit,
            cell(0),
            cell(1)
        );
    }
    let goals: Vec<_> = PROMISES.iter().map(|promise| goal(results, promise)).collect();
    println!("\n{:<30} {:<20} {:<14} met", "goal", "promised", "seen");
    for (name, promised, seen, met) in &goals {
        let met = match met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        println!("{name:<30} {promised:<20} {seen:<14} {met}");
    }
    let report = json!({
        "version": 1,
        "machine": machine.json(),
        "loadAtEnd": results.load,
        "columns": NAMES,
        "rows": results.rows.iter().map(|row| json!({
            "name": row.name, "unit": row.unit,
            "medians": [median(results, &row.name, 0), median(results, &row.name, 1)],
            "timesBetter": ratio(results, &row.name),
            "samples": row.samples,
        })).collect::<Vec<_>>(),
        "goals": goals.iter().map(|(name, goal, seen, met)| json!({
            "name": name, "goal": goal, "seen": seen, "met": met,
        })).collect::<Vec<_>>(),
    });
    fs::create_dir_all(dir)?;
    let path = dir.join("containerd.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    println!("\nwritten: target/bench/containerd.json");
    ensure!(!results.rows.is_empty(), "nothing was measured");
    Ok(())
}

/// Name, promise, what was seen, whether it is met, if it was measured.
fn goal(results: &Results, promise: &Promise) -> (&'static str, String, String, Option<bool>) {
    let (name, goal, seen, met) = match *promise {
        Promise::Times(name, least) => {
            let seen = ratio(results, name);
            let text = seen.map(|seen| format!("{seen:.2} times"));
            (
                name,
                format!("{least} times better"),
                text,
                seen.map(|seen| seen >= least),
            )
        }
        Promise::Below(name, most) => {
            let seen = median(results, name, 0);
            (
                name,
                format!("under {most}"),
                seen.map(number),
                seen.map(|seen| seen < most),
            )
        }
        Promise::Above(name, least) => {
            let seen = median(results, name, 0);
            (
                name,
                format!("at least {least}"),
                seen.map(number),
                seen.map(|seen| seen >= least),
            )
        }
    };
    (name, goal, seen.unwrap_or_else(|| "not measured".to_owned()), met)
}
