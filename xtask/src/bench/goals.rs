//! The numbers that were promised, and what was seen of them.

use super::stats::Series;

/// What a goal looks at.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// At least so many times better than the peer.
    Times(f64),
    /// Less than so much, in this unit.
    Below(f64, &'static str),
}

struct Promise {
    measure: &'static str,
    column: usize,
    look: Look,
}

const PROMISES: [Promise; 7] = [
    promise("run-bridge", 1, Look::Times(4.0)),
    promise("run-bridge", 2, Look::Times(6.0)),
    promise("client", 2, Look::Below(3.0, "ms")),
    promise("shim-pss", 1, Look::Below(1.0, "MiB")),
    promise("shim-file", 1, Look::Below(1.0, "MB")),
    promise("daemons-rss", 1, Look::Below(40.0, "MiB")),
    promise("cold-start", 1, Look::Below(150.0, "ms")),
];

const fn promise(measure: &'static str, column: usize, look: Look) -> Promise {
    Promise {
        measure,
        column,
        look,
    }
}

/// One promise, measured.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The measure and the column.
    pub name: String,
    /// What was promised.
    pub goal: String,
    /// What was seen; `not measured` otherwise.
    pub seen: String,
    /// Whether the promise is kept, when that is known.
    pub met: Option<bool>,
}

/// Holds the promises against what was measured.
pub fn check(all: &[Series]) -> Vec<Goal> {
    PROMISES.iter().map(|promise| goal(promise, all)).collect()
}

fn goal(promise: &Promise, all: &[Series]) -> Goal {
    let series = all.iter().find(|series| series.name == promise.measure);
    let name = format!("{} ({})", promise.measure, super::columns::LABELS[promise.column]);
    let (goal, seen, met) = match promise.look {
        Look::Times(least) => {
            let seen = series.and_then(|series| series.ratio(promise.column));
            (
                format!("{least} times better"),
                seen.map(|seen| format!("{seen:.2} times")),
                seen.map(|seen| seen >= least),
            )
        }
        Look::Below(most, unit) => {
            let seen = series.and_then(|series| series.cells.get(promise.column)?.median());
            (
                format!("under {most} {unit}"),
                seen.map(|seen| format!("{seen:.2} {unit}")),
                seen.map(|seen| seen < most),
            )
        }
    };
    Goal {
        name,
        goal,
        seen: seen.unwrap_or_else(|| "not measured".to_owned()),
        met,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::{Better, Cell};

    #[test]
    fn a_goal_is_met_by_medians_and_unknown_without_samples() {
        let run = Series {
            name: "run-bridge",
            what: "",
            unit: "ms",
            better: Better::Lower,
            cells: vec![
                Cell::Samples(vec![200.0]),
                Cell::Samples(vec![50.0]),
                Cell::Absent("not built".into()),
            ],
        };
        let goals = check(&[run]);
        assert_eq!(goals[0].met, Some(true));
        assert_eq!(goals[1].met, None);
        assert_eq!(goals[1].seen, "not measured");
    }
}
