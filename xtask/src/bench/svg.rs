//! A plot: a group of bars a measure, the longest of each group as long as the plot is wide.

use std::fmt::Write as _;

use super::columns::LABELS;
use super::report::number;
use super::stats::{Better, Series};

const COLOURS: [&str; 3] = ["#8a94a6", "#4f9d8f", "#e07a3f"];
const WIDTH: usize = 900;
const LEFT: usize = 24;
/// Room for the number behind the longest bar.
const LONGEST: f64 = 640.0;
const BAR: usize = 16;
const GAP: usize = 14;
const HEAD: usize = 96;

/// The picture of `all`, with `caption` below its title.
pub fn plot(all: &[Series], caption: &str) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for series in all {
        y = group(&mut body, series, y) + GAP;
    }
    let mut head = String::new();
    for (place, line) in caption.lines().enumerate() {
        text(&mut head, LEFT, 48 + 16 * place, "#667", 12, line);
    }
    for (place, label) in LABELS.iter().enumerate() {
        let x = LEFT + 230 * place;
        rect(&mut head, x, HEAD - 28, 12.0, 12, COLOURS[place]);
        text(&mut head, x + 18, HEAD - 18, "#223", 13, label);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
        font-family=\"system-ui, sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
        <text x=\"{LEFT}\" y=\"28\" font-size=\"18\" font-weight=\"600\" fill=\"#223\">Lighter beside Docker: medians of one run</text>\n\
        {head}{body}</svg>\n"
    )
}

/// One measure; the next free height.
fn group(svg: &mut String, series: &Series, mut y: usize) -> usize {
    let better = match series.better {
        Better::Lower => "less is better",
        Better::Higher => "more is better",
    };
    let title = format!("{} ({}, {better})", series.what, series.unit);
    text(svg, LEFT, y + 12, "#223", 13, &title);
    y += 20;
    let medians: Vec<Option<f64>> = series.cells.iter().map(|cell| cell.median()).collect();
    let most = medians
        .iter()
        .flatten()
        .fold(0.0_f64, |most, value| most.max(*value));
    for (column, median) in medians.iter().enumerate() {
        let Some(median) = *median else { continue };
        let length = if most > 0.0 { LONGEST * median / most } else { 0.0 };
        rect(svg, LEFT, y, length.max(1.0), BAR - 2, COLOURS[column]);
        let ratio = series.ratio(column).filter(|_| column > 0);
        let ratio = ratio.map_or(String::new(), |ratio| format!("   {ratio:.1}x"));
        let label = format!("{} {}{ratio}", number(median), series.unit);
        text(svg, LEFT + length as usize + 8, y + BAR - 5, "#223", 12, &label);
        y += BAR;
    }
    y
}

fn rect(svg: &mut String, x: usize, y: usize, width: f64, height: usize, colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, x: usize, y: usize, colour: &str, size: usize, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\" xml:space=\"preserve\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::Cell;

    #[test]
    fn words_cannot_break_the_picture() {
        let series = Series {
            name: "x",
            what: "a < b & c",
            unit: "ms",
            better: Better::Lower,
            cells: vec![
                Cell::Samples(vec![2.0]),
                Cell::Samples(vec![1.0]),
                Cell::Absent("–".into()),
            ],
        };
        let picture = plot(&[series], "here");
        assert!(picture.contains("a &lt; b &amp; c"), "{picture}");
        assert!(picture.contains("2.0x"), "{picture}");
        assert!(picture.trim_end().ends_with("</svg>"));
    }
}
