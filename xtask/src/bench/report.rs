//! What a run says: a table, and files.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::columns::LABELS;
use super::goals::Goal;
use super::stats::{Cell, Series};
use super::{Options, svg};
use crate::run::output;

/// Where it was measured. Nothing that names the machine.
#[derive(Debug, Clone)]
pub struct Machine {
    kernel: String,
    cores: usize,
    memory_gib: f64,
    /// How busy it was when the run began: one minute's average of runnable tasks.
    load: f64,
    commit: String,
}

impl Machine {
    /// This machine, now.
    pub fn now() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let first = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
        let total = read("/proc/meminfo");
        let kib: f64 = total
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0.0);
        Machine {
            kernel: first(&read("/proc/sys/kernel/osrelease")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib / f64::from(1 << 20),
            load: first(&read("/proc/loadavg")).parse().unwrap_or(0.0),
            commit: output(Command::new("git").args(["describe", "--always", "--dirty"]))
                .unwrap_or_default()
                .trim()
                .to_owned(),
        }
    }
}

impl Machine {
    /// For the files.
    pub fn json(&self) -> Value {
        json!({
            "kernel": self.kernel, "cores": self.cores, "memoryGiB": self.memory_gib,
            "load": self.load, "commit": self.commit,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kernel {}, {} cores, {:.0} GiB; load {:.2} at the start; sources {}",
            self.kernel, self.cores, self.memory_gib, self.load, self.commit
        )?;
        if self.load > 0.7 {
            write!(f, "\nThe machine is busy: look at the ratios, not at the times.")?;
        }
        Ok(())
    }
}

/// Prints both tables.
pub fn print(all: &[Series], goals: &[Goal]) {
    println!("\nmedians; in brackets the samples, and how many times better than the first column\n");
    println!(
        "{:<14} {:>5}  {:<26} {:<26} {:<26}",
        "", "", LABELS[0], LABELS[1], LABELS[2]
    );
    for series in all {
        print!("{:<14} {:>5}", series.name, series.unit);
        for column in 0..LABELS.len() {
            print!("  {:<25}", cell(series, column));
        }
        println!(" {}", series.what);
    }
    println!("\n{:<42} {:<20} {:<16} met", "goal", "promised", "seen");
    for goal in goals {
        let met = match goal.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "?",
        };
        println!("{:<42} {:<20} {:<16} {met}", goal.name, goal.goal, goal.seen);
    }
}

fn cell(series: &Series, column: usize) -> String {
    let cell = &series.cells[column];
    let samples = match cell {
        Cell::Samples(samples) => samples.len(),
        Cell::Absent(reason) => return reason.chars().take(24).collect(),
    };
    let Some(median) = cell.median() else {
        return "no sample".to_owned();
    };
    match series.ratio(column) {
        Some(ratio) if column > 0 => format!("{} ({samples}; {ratio:.2}x)", number(median)),
        _ => format!("{} ({samples})", number(median)),
    }
}

/// Three or more digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Writes `bench.json` (samples and all) and `bench.svg` into `dir`.
pub fn write(dir: &Path, machine: &Machine, options: &Options, all: &[Series], goals: &[Goal]) -> Result<()> {
    let report = json!({
        "version": 1,
        "quick": options.quick,
        "machine": machine.json(),
        "columns": LABELS,
        "measures": all.iter().map(measure).collect::<Vec<_>>(),
        "goals": goals.iter().map(|goal| json!({
            "name": goal.name, "goal": goal.goal, "seen": goal.seen, "met": goal.met,
        })).collect::<Vec<_>>(),
    });
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let files = [
        ("bench.json", serde_json::to_string_pretty(&report)? + "\n"),
        ("bench.svg", svg::plot(all, &machine.to_string())),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn measure(series: &Series) -> Value {
    let cells: Vec<Value> = (0..LABELS.len())
        .map(|column| match &series.cells[column] {
            Cell::Absent(reason) => json!({ "absent": reason }),
            cell @ Cell::Samples(samples) => json!({
                "median": cell.median(), "min": cell.quantile(0.0),
                "p90": cell.quantile(0.9), "ratio": series.ratio(column), "samples": samples,
            }),
        })
        .collect();
    json!({"name": series.name, "what": series.what, "unit": series.unit, "cells": cells})
}
