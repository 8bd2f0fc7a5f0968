//! What was seen, and what was promised of it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::bundle;
use super::inside::{NAMES, Results, Row, STEPS};
use crate::bench::report::{Machine, number};
use crate::bench::stats::Cell;

/// What is promised of each bundle. Columns are numbers in [`NAMES`].
enum Promise {
    /// So many times faster than the column.
    Times(&'static str, usize, f64),
    /// Less than so much.
    Below(&'static str, f64, &'static str),
}

const PROMISES: [Promise; 8] = [
    Promise::Times("run", 1, 2.0),
    Promise::Times("run", 2, 8.0),
    Promise::Times("create", 1, 2.0),
    Promise::Times("start", 1, 2.0),
    Promise::Times("delete", 1, 2.0),
    Promise::Times("exec", 1, 2.0),
    Promise::Below("peak", 2.5, "MiB"),
    Promise::Below("calls", 400.0, "calls"),
];

const OTHERS: [(&str, &str); 3] = [("cpu", "ms"), ("peak", "MiB"), ("calls", "")];

fn median(row: &Row, column: usize) -> Option<f64> {
    Cell::Samples(row.samples[column].clone()).median()
}

/// How many times the first column is better than `column`.
fn ratio(row: &Row, column: usize) -> Option<f64> {
    Some(median(row, column)? / median(row, 0)?)
}

/// Prints both tables and the goals, and writes `runtime.json` into `dir`.
pub fn tell(dir: &Path, machine: &Machine, results: &Results) -> Result<()> {
    let samples = results.rows.first().map_or(0, |row| row.samples[0].len());
    println!(
        "\nmedians of {samples}; in brackets how many times ours; load {:.2} at the end",
        results.load
    );
    for bundle in bundle::NAMES {
        println!(
            "\n{bundle:<10} {:>6}  {:>14} {:>14} {:>14} {:>14}",
            "", NAMES[0], NAMES[1], NAMES[2], NAMES[3]
        );
        let times = STEPS.map(|step| (step, "ms"));
        for (name, unit) in times.into_iter().chain(OTHERS) {
            let Some(row) = results.row(bundle, name) else {
                continue;
            };
            print!("{name:<10} {unit:>6}");
            for column in 0..NAMES.len() {
                let text = match (median(row, column), ratio(row, column)) {
                    (Some(median), Some(ratio)) if column > 0 => format!("{} ({ratio:.2})", number(median)),
                    (Some(median), _) => number(median),
                    (None, _) => "–".into(),
                };
                print!("  {text:>13}");
            }
            println!();
        }
        if let Some(run) = results.row(bundle, "run")
            && let (Some(ours), Some(floor)) = (median(run, 0), median(run, 3))
        {
            println!(
                "from the floor: {} ms, {:.2} times",
                number(ours - floor),
                ours / floor
            );
        }
    }
    let goals: Vec<_> = bundle::NAMES
        .iter()
        .flat_map(|bundle| PROMISES.iter().map(|promise| goal(results, bundle, promise)))
        .collect();
    println!("\n{:<34} {:<20} {:<14} met", "goal", "promised", "seen");
    for (name, promised, seen, met) in &goals {
        println!(
            "{name:<34} {promised:<20} {seen:<14} {}",
            if *met { "yes" } else { "NO" }
        );
    }
    let report = json!({
        "version": 1,
        "machine": machine.json(),
        "loadAtEnd": results.load,
        "columns": NAMES,
        "rows": results.rows.iter().map(|row| json!({
            "bundle": row.bundle, "name": row.name,
            "medians": (0..NAMES.len()).map(|column| median(row, column)).collect::<Vec<_>>(),
            "timesOurs": (0..NAMES.len()).map(|column| ratio(row, column)).collect::<Vec<_>>(),
            "samples": row.samples,
        })).collect::<Vec<_>>(),
        "goals": goals.iter().map(|(name, goal, seen, met)| json!({
            "name": name, "goal": goal, "seen": seen, "met": met,
        })).collect::<Vec<_>>(),
    });
    let path = dir.join("runtime.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    println!("\nwritten: target/bench/runtime.json");
    ensure!(!results.rows.is_empty(), "nothing was measured");
    Ok(())
}

/// Name, promise, what was seen, whether it is met.
fn goal(results: &Results, bundle: &str, promise: &Promise) -> (String, String, String, bool) {
    let unseen = || "not measured".to_owned();
    match promise {
        Promise::Times(step, column, least) => {
            let seen = results.row(bundle, step).and_then(|row| ratio(row, *column));
            (
                format!("{bundle}: {step} beside {}", NAMES[*column]),
                format!("{least} times faster"),
                seen.map_or_else(unseen, |seen| format!("{seen:.2} times")),
                seen.is_some_and(|seen| seen >= *least),
            )
        }
        Promise::Below(name, most, unit) => {
            let seen = results.row(bundle, name).and_then(|row| median(row, 0));
            (
                format!("{bundle}: {name}"),
                format!("under {most} {unit}"),
                seen.map_or_else(unseen, |seen| format!("{seen:.2} {unit}")),
                seen.is_some_and(|seen| seen < *most),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_looks_at_medians() {
        let row = Row {
            bundle: "docker".into(),
            name: "run".into(),
            samples: [vec![1.0, 2.0, 3.0], vec![5.0], vec![15.0], Vec::new()],
        };
        let results = Results {
            rows: vec![row],
            load: 0.0,
        };
        let met = |promise| goal(&results, "docker", &promise).3;
        assert!(met(Promise::Times("run", 1, 2.0)));
        assert!(!met(Promise::Times("run", 2, 8.0)));
        assert!(!met(Promise::Times("run", 3, 1.0)));
        assert!(met(Promise::Below("run", 2.5, "ms")));
    }
}
