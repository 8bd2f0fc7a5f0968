//! A transfer's progress, in the words of Docker's stream.

use std::collections::HashMap;

use lighter_containerd_api::transfer_types::Progress;
use lighter_engine_api::{JsonMessage, ProgressDetail};

/// How far one layer is. The order is the order in which a layer gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Waiting,
    Downloading,
    Downloaded,
    Extracting,
    Complete,
    Exists,
}

/// Follows the layers of one pull.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    steps: HashMap<String, Step>,
    /// In the order they were first heard of.
    order: Vec<String>,
    /// Lines about layers that are here already, held back until another has to be fetched: a pull that changes nothing
    /// says nothing of layers.
    held: Vec<JsonMessage>,
}

impl Layers {
    /// The lines that `progress` gives rise to.
    pub(crate) fn hear(&mut self, progress: &Progress) -> Vec<JsonMessage> {
        let Some(digest) = layer(progress) else {
            return Vec::new();
        };
        let Some(step) = step(&progress.event) else {
            return Vec::new();
        };
        let id: String = digest.chars().take(12).collect();
        let before = self.steps.get(&id).copied();
        if before.is_none() {
            self.order.push(id.clone());
        }
        // Late and repeated words say nothing, but bytes that came since.
        let moves = matches!(step, Step::Downloading | Step::Extracting);
        if before.is_some_and(|before| step < before || step == before && !moves) {
            return Vec::new();
        }
        self.steps.insert(id.clone(), step);
        if step == Step::Exists {
            self.held.push(line(&id, "Already exists"));
            return Vec::new();
        }
        let mut lines = std::mem::take(&mut self.held);
        if before.is_none() {
            lines.push(line(&id, "Pulling fs layer"));
        }
        match step {
            Step::Waiting | Step::Exists => {}
            Step::Downloading => lines.push(bar(&id, "Downloading", progress)),
            Step::Downloaded => lines.push(line(&id, "Download complete")),
            Step::Extracting => {
                if before < Some(Step::Downloaded) {
                    lines.push(line(&id, "Download complete"));
                }
                lines.push(bar(&id, "Extracting", progress));
            }
            Step::Complete => {
                if before < Some(Step::Downloaded) {
                    lines.push(line(&id, "Download complete"));
                }
                lines.push(line(&id, "Pull complete"));
            }
        }
        lines
    }

    /// Layers of the image of which the layer said nothing: containerd does not speak of those that are unpacked already.
    pub(crate) fn has(&mut self, digests: &[&str]) {
        for digest in digests {
            let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
            let id: String = digits.chars().take(12).collect();
            if !self.steps.contains_key(&id) {
                self.held.push(line(&id, "Already exists"));
                self.steps.insert(id, Step::Exists);
            }
        }
    }

    /// The last lines of a transfer that has ended well. `news` is whether it changed anything.
    pub(crate) fn finish(mut self, news: bool) -> Vec<JsonMessage> {
        let mut lines = match news {
            true => std::mem::take(&mut self.held),
            false => Vec::new(),
        };
        for id in &self.order {
            if self.steps.get(id).is_some_and(|step| *step < Step::Complete) {
                lines.push(line(id, "Pull complete"));
            }
        }
        lines
    }
}

/// The digits of the layer that a message is about. Ours names the digest; containerd puts the kind before it.
fn layer(progress: &Progress) -> Option<&str> {
    let (kind, digits) = progress.name.split_once("sha256:")?;
    matches!(kind, "" | "layer-").then_some(digits)
}

fn step(event: &str) -> Option<Step> {
    Some(match event {
        "waiting" | "fetching" => Step::Waiting,
        "downloading" => Step::Downloading,
        "downloaded" => Step::Downloaded,
        "extracting" => Step::Extracting,
        "complete" | "extracted" => Step::Complete,
        "exists" | "already exists" => Step::Exists,
        _ => return None,
    })
}

fn line(id: &str, text: &str) -> JsonMessage {
    JsonMessage {
        progress_detail: Some(ProgressDetail::default()),
        ..JsonMessage::about(id, text)
    }
}

fn bar(id: &str, text: &str, progress: &Progress) -> JsonMessage {
    JsonMessage {
        progress_detail: Some(ProgressDetail {
            current: progress.progress,
            total: progress.total,
        }),
        progress: drawn(progress.progress, progress.total),
        ..JsonMessage::about(id, text)
    }
}

/// The bar that Docker's engine draws for readers of raw streams: fifty wide, and the sizes.
fn drawn(current: i64, total: i64) -> String {
    if current <= 0 && total <= 0 {
        return String::new();
    }
    if total <= 0 || current > total {
        return format!("{:>8}", size(current));
    }
    let percent = usize::try_from(current.saturating_mul(100) / total).unwrap_or(0) / 2;
    let (done, left) = (percent.min(50), 50 - percent.min(50));
    format!(
        "[{}>{}] {:>8}/{}",
        "=".repeat(done),
        " ".repeat(left),
        size(current),
        size(total)
    )
}

/// Four digits and a decimal unit: `131.1kB`.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        value if unit == 0 || value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:28e435e0b5ae0000000000000000000000000000000000000000000000000000";
    const B: &str = "sha256:de91ffbf82640000000000000000000000000000000000000000000000000000";

    fn said(event: &str, name: &str, progress: i64, total: i64) -> Progress {
        Progress {
            event: event.into(),
            name: name.into(),
            progress,
            total,
            ..Default::default()
        }
    }

    fn told(layers: &mut Layers, events: &[(&str, &str)]) -> Vec<String> {
        events
            .iter()
            .flat_map(|(event, name)| layers.hear(&said(event, name, 131_072, 12_584_482)))
            .map(|line| format!("{}: {}", line.id, line.status))
            .collect()
    }

    #[test]
    fn a_pull_reads_as_docker_s() {
        let mut layers = Layers::default();
        let lines = told(
            &mut layers,
            &[
                ("exists", B),
                ("waiting", A),
                ("downloading", A),
                ("downloaded", A),
                ("extracting", A),
                ("complete", A),
            ],
        );
        assert_eq!(
            lines,
            [
                "de91ffbf8264: Already exists",
                "28e435e0b5ae: Pulling fs layer",
                "28e435e0b5ae: Downloading",
                "28e435e0b5ae: Download complete",
                "28e435e0b5ae: Extracting",
                "28e435e0b5ae: Pull complete",
            ]
        );
        assert!(layers.finish(true).is_empty());
    }

    #[test]
    fn a_pull_that_changes_nothing_says_nothing_of_layers() {
        let mut layers = Layers::default();
        assert!(told(&mut layers, &[("exists", A), ("exists", B)]).is_empty());
        assert!(layers.finish(false).is_empty());
    }

    #[test]
    fn other_words_and_other_things_are_ignored_and_late_words_change_nothing() {
        let mut layers = Layers::default();
        let config = format!("config-{A}");
        let layer = format!("layer-{B}");
        let lines = told(
            &mut layers,
            &[
                ("downloading", &config),
                ("fetching", &layer),
                ("downloaded", &layer),
                ("waiting", &layer),
                ("magic", A),
            ],
        );
        assert_eq!(
            lines,
            [
                "de91ffbf8264: Pulling fs layer",
                "de91ffbf8264: Download complete"
            ]
        );
        let last: Vec<_> = layers.finish(true).into_iter().map(|line| line.status).collect();
        assert_eq!(last, ["Pull complete"]);
    }

    #[test]
    fn bars_are_drawn_as_docker_draws_them() {
        let empty = format!("[>{}]  131.1kB/12.58MB", " ".repeat(50));
        assert_eq!(drawn(131_072, 12_584_482), empty);
        assert_eq!(
            drawn(12_584_482, 12_584_482),
            format!("[{}>]  12.58MB/12.58MB", "=".repeat(50))
        );
        assert_eq!(drawn(5, 0), "      5B");
        assert_eq!(size(1_500), "1.5kB");
    }
}
