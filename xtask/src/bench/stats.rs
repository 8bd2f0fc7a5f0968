//! Samples, and what is said of them.

use std::time::Duration;

use lighter_harness::Kind;

use super::columns::Column;

/// Between two samples: the kernel takes a dead container's namespaces apart after the client has left, and the next sample is
/// another engine's.
const REST: Duration = Duration::from_millis(30);

/// What one column has of one measure.
#[derive(Debug, Clone)]
pub enum Cell {
    /// In the unit of the [`Series`], in the order taken.
    Samples(Vec<f64>),
    /// Why there are none.
    Absent(String),
}

impl Cell {
    /// The middle sample.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// The sample below which the share `q` of all lies.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let Cell::Samples(samples) = self else { return None };
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let place = q * last as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        Some(sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64))
    }
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Times and sizes.
    Lower,
    /// Rates.
    Higher,
}

/// One measure in all columns.
#[derive(Debug, Clone)]
pub struct Series {
    /// What `--only` matches.
    pub name: &'static str,
    /// What is measured, for people.
    pub what: &'static str,
    /// Of the samples.
    pub unit: &'static str,
    /// Which way is good.
    pub better: Better,
    /// In the order of [`super::columns::LABELS`].
    pub cells: Vec<Cell>,
}

impl Series {
    /// How many times better `column` is than the peer, by medians.
    pub fn ratio(&self, column: usize) -> Option<f64> {
        let peer = self.cells.first()?.median()?;
        let ours = self.cells.get(column)?.median()?;
        Some(match self.better {
            Better::Lower => peer / ours,
            Better::Higher => ours / peer,
        })
    }
}

/// Which columns a measure tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every pair of engine and client.
    Clients,
    /// Engines: the client has no part in it.
    Engines,
}

/// Takes `warm` samples that do not count and `rounds` that do, of each column in turn, forth and back so that each follows each. A
/// column that fails once is left out from then on, with its reason.
pub fn interleave(
    columns: &[Column],
    scope: Scope,
    warm: usize,
    rounds: usize,
    mut sample: impl FnMut(&Column, usize) -> anyhow::Result<f64>,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| match column.ready(scope, place) {
            Ok(()) => Cell::Samples(Vec::new()),
            Err(reason) => Cell::Absent(reason),
        })
        .collect();
    for round in 0..warm + rounds {
        for turn in 0..columns.len() {
            let turn = (turn + round / 2) % columns.len();
            let place = if round % 2 == 0 {
                turn
            } else {
                columns.len() - 1 - turn
            };
            let Cell::Samples(samples) = &mut cells[place] else {
                continue;
            };
            std::thread::sleep(REST);
            match guarded(|| sample(&columns[place], round)) {
                Ok(_) if round < warm => {}
                Ok(value) => samples.push(value),
                Err(error) => cells[place] = Cell::Absent(format!("failed: {error:#}")),
            }
        }
    }
    cells
}

/// The harness panics where a test would; a bench goes on with the next column.
pub fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow::anyhow!("{}", text.unwrap_or("a panic")))
    })
}

/// The name of an engine, for messages.
pub fn engine_name(kind: Kind) -> &'static str {
    match kind {
        Kind::OverContainerd => "Lighter over containerd",
        Kind::Docker => "Docker",
        Kind::Lighter => "Lighter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Cell::Samples(vec![4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(Cell::Samples(Vec::new()).median(), None);
        assert_eq!(Cell::Absent("not built".into()).median(), None);
    }

    #[test]
    fn a_ratio_says_how_many_times_better_ours_is() {
        let mut series = Series {
            name: "x",
            what: "x",
            unit: "ms",
            better: Better::Lower,
            cells: vec![Cell::Samples(vec![100.0]), Cell::Samples(vec![20.0])],
        };
        assert_eq!(series.ratio(1), Some(5.0));
        series.better = Better::Higher;
        assert_eq!(series.ratio(1), Some(0.2));
    }
}
