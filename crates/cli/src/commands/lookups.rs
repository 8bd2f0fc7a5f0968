//! `port` and `top`.

use crate::args::Parsed;
use crate::command::{Command, Takes};
use crate::context::Context;
use crate::failure::Failure;
use crate::{output, value};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        paths: &["container port", "port"],
        usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
        about: "Show where a container's ports are published",
        takes: Takes::Between(1, 2),
        mixed: true,
        flags: &[],
        run: port,
    },
    Command {
        paths: &["container top", "top"],
        usage: "CONTAINER [ps OPTIONS]",
        about: "Show the processes of a container",
        takes: Takes::AtLeast(1),
        mixed: false,
        flags: &[],
        run: top,
    },
];

fn port(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let name = &parsed.args[0];
    let container = context.client()?.container_inspect(name)?;
    let ports = &container.network_settings.ports;
    let join = |ip: &str, port: &str| match ip.contains(':') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    };
    let mut lines = Vec::new();
    match parsed.args.get(1) {
        Some(wanted) => {
            let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
            value::int(port, "ParseUint", 0, u16::MAX.into())
                .map_err(|why| Failure::new(format!("Error: invalid port ({port}): {why}")))?;
            let key = format!("{port}/{protocol}");
            let found = ports
                .get(&key)
                .and_then(Option::as_ref)
                .filter(|list| !list.is_empty());
            let found = found.ok_or_else(|| {
                Failure::new(format!("Error: No public port '{wanted}' published for {name}"))
            })?;
            lines.extend(
                found
                    .iter()
                    .map(|binding| join(&binding.host_ip, &binding.host_port)),
            );
        }
        None => {
            for (key, bindings) in ports {
                for binding in bindings.iter().flatten() {
                    lines.push(format!("{key} -> {}", join(&binding.host_ip, &binding.host_port)));
                }
            }
        }
    }
    // By the numbers in them: 80 stands before 443.
    lines.sort_by_cached_key(|line| natural(line));
    lines.iter().try_for_each(output::line)
}

/// Digits as numbers, the rest as text.
fn natural(text: &str) -> Vec<(u64, String)> {
    let mut parts = vec![(0_u64, String::new())];
    for letter in text.chars() {
        let last = parts.len() - 1;
        match letter.to_digit(10) {
            Some(digit) if parts[last].1.is_empty() => {
                parts[last].0 = parts[last].0.saturating_mul(10).saturating_add(digit.into());
            }
            Some(digit) => parts.push((digit.into(), String::new())),
            None => parts[last].1.push(letter),
        }
    }
    parts
}

fn top(context: &Context, parsed: &Parsed) -> Result<(), Failure> {
    let processes = context
        .client()?
        .container_top(&parsed.args[0], &parsed.args[1..].join(" "))?;
    let mut rows = vec![processes.titles];
    rows.extend(processes.processes);
    output::out(columns(&rows))
}

/// Columns of at least 20 characters, 3 of them blank; the last as it is.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widest = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max();
        (widest.unwrap_or(0) + 3).max(20)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 == row.len() {
                true => text.push_str(cell),
                false => text.push_str(&format!("{cell:width$}", width = widths[column])),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_by_number() {
        let mut lines = [
            "443/tcp -> 0.0.0.0:443",
            "80/tcp -> 0.0.0.0:8080",
            "80/tcp -> [::]:8080",
        ];
        lines.sort_by_cached_key(|line| natural(line));
        assert!(lines[0].starts_with("80/tcp -> 0") && lines[2].starts_with("443"));
    }

    #[test]
    fn processes_in_columns() {
        let rows = vec![
            vec!["UID".to_owned(), "CMD".to_owned()],
            vec!["root".to_owned(), "sleep 1".to_owned()],
        ];
        assert_eq!(
            columns(&rows),
            format!("UID{}CMD\nroot{}sleep 1\n", " ".repeat(17), " ".repeat(16))
        );
    }
}
