//! The processes of a container, as the host's `ps` shows them.

use std::collections::HashSet;

use lighter_containerd_api::tasks::ListPidsRequest;
use lighter_engine_api::ContainerTopResponse;

use super::Phase;
use crate::{Engine, Error, Result};

/// What `ps` is asked when the user does not say.
const DEFAULT: &str = "-ef";

impl Engine {
    /// Runs `ps` with `arguments` and keeps the container's processes.
    pub async fn top(&self, name: &str, arguments: &str) -> Result<ContainerTopResponse> {
        let arguments = if arguments.trim().is_empty() {
            DEFAULT
        } else {
            arguments
        };
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        check(&arguments)?;
        let container = self.inner.containers.find(name)?;
        let id = &container.id;
        match container.view().state.phase {
            Phase::Restarting => {
                return Err(Error::conflict(format!(
                    "container {id} is restarting, wait until the container is running"
                )));
            }
            phase if !phase.alive() => return Err(Error::conflict(format!("container {id} is not running"))),
            _ => {}
        }
        let asked = ListPidsRequest {
            container_id: id.clone(),
        };
        let listed = self
            .inner
            .layer
            .tasks()
            .list_pids(asked)
            .await
            .map_err(|status| Error::from_layer(&status))?;
        let pids: HashSet<u32> = listed
            .into_inner()
            .processes
            .iter()
            .map(|process| process.pid)
            .collect();
        let output = tokio::process::Command::new("ps").args(&arguments).output().await;
        let output = output.map_err(|error| Error::system("error running ps").with_source(error))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let first = text.lines().next().unwrap_or_default().trim().to_owned();
            return Err(Error::system(format!("error running ps: {first}")));
        }
        table(&String::from_utf8_lossy(&output.stdout), &pids)
    }
}

/// Whether the arguments are harmless. Source: dockerd refuses a format whose column named PID is another.
fn check(arguments: &[&str]) -> Result<()> {
    let fields = arguments.join(" ");
    let renamed = fields
        .split(|byte: char| byte == ',' || byte.is_whitespace())
        .find_map(|field| {
            let (field, title) = field.trim_start_matches('-').split_once('=')?;
            (title.eq_ignore_ascii_case("pid") && !field.ends_with("pid")).then(|| format!("{field}={title}"))
        });
    match renamed {
        Some(field) => Err(Error::invalid(format!("specifying \"{field}\" is not allowed"))),
        None => Ok(()),
    }
}

fn table(text: &str, pids: &HashSet<u32>) -> Result<ContainerTopResponse> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let column = titles.iter().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::invalid("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    let mut mine = false;
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // With thread options a process's threads follow it and have `-` in its number's place.
        mine = match fields.get(column) {
            Some(&"-") => mine,
            Some(field) => field.parse().is_ok_and(|pid| pids.contains(&pid)),
            None => false,
        };
        if mine {
            processes.push(row(line, titles.len()));
        }
    }
    Ok(ContainerTopResponse { processes, titles })
}

/// The fields of a line; the last takes all that is left.
fn row(line: &str, columns: usize) -> Vec<String> {
    let mut fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if fields.len() > columns && columns > 0 {
        let last = fields.split_off(columns - 1).join(" ");
        fields.push(last);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let text = "UID   PID PPID CMD\nroot    7    1 sh -c  true\nroot    8    1 other\n";
        let found = table(text, &HashSet::from([7])).unwrap();
        assert_eq!(found.titles, ["UID", "PID", "PPID", "CMD"]);
        assert_eq!(found.processes, [["root", "7", "1", "sh -c true"]]);
        assert_eq!(
            table("UID CMD\n", &HashSet::new()).unwrap_err().message,
            "Couldn't find PID field in ps output"
        );
    }

    #[test]
    fn a_column_that_only_calls_itself_pid_is_refused() {
        assert!(check(&["-o", "pid,comm=PID"]).is_err());
        assert!(check(&["-eo", "pid,comm"]).is_ok());
    }
}
