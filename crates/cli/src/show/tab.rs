//! Columns, as Go's `text/tabwriter` aligns them for Docker: cells of at least 10 characters, 3 of them blank.

const LEAST: usize = 10;
const PADDING: usize = 3;

/// Aligns the tab-separated cells of `text`. A column is a run of lines that have a tab after that cell.
pub(crate) fn table(text: &str) -> String {
    let ends_open = !text.ends_with('\n');
    let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    if !ends_open {
        lines.pop();
    }
    let mut widths: Vec<Vec<usize>> = lines
        .iter()
        .map(|line| vec![0; line.len().saturating_sub(1)])
        .collect();
    align(&lines, &mut widths, 0, lines.len(), 0);
    let mut out = String::new();
    for (i, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for (j, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(j) {
                out.extend(std::iter::repeat_n(
                    ' ',
                    width.saturating_sub(cell.chars().count()),
                ));
            }
        }
    }
    if !ends_open && !lines.is_empty() {
        out.push('\n');
    }
    out
}

fn align(lines: &[Vec<&str>], widths: &mut [Vec<usize>], from: usize, to: usize, column: usize) {
    let mut line = from;
    while line < to {
        let begin = line;
        while line < to && widths[line].len() > column {
            line += 1;
        }
        if line == begin {
            line += 1;
            continue;
        }
        let block = begin..line;
        let width = lines[block.clone()]
            .iter()
            .map(|cells| cells[column].chars().count() + PADDING);
        let width = width.max().unwrap_or(0).max(LEAST);
        widths[block].iter_mut().for_each(|w| w[column] = width);
        align(lines, widths, begin, line, column + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_ten_wide_and_three_apart() {
        assert_eq!(table("ID\tNAME\nabc\tx\n"), "ID        NAME\nabc       x\n");
        assert_eq!(
            table("a\tb\tc\nlonger than ten\t\tc\n"),
            "a                 b         c\nlonger than ten             c\n"
        );
        assert_eq!(table("a\t\n"), "a         \n");
    }

    #[test]
    fn a_line_without_the_cell_ends_a_column() {
        assert_eq!(
            table("long enough here\tx\nplain\na\tx\n"),
            "long enough here   x\nplain\na         x\n"
        );
    }
}
