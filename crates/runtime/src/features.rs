//! What is printed: versions, states, lists, features, a first configuration.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::error::{Context, Error, Result};
use crate::state::{Home, OciState, Record, Status};
use crate::{attributes, caps, commands, namespaces, options};

pub(crate) const SPEC: &str = "1.3.0";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `--version`, in the shape that dockerd looks through.
pub(crate) fn version() -> String {
    format!(
        "lighter-runc version {VERSION}\ncommit: {}\nspec: {SPEC}\n",
        option_env!("LIGHTER_COMMIT").unwrap_or(concat!("v", env!("CARGO_PKG_VERSION"))),
    )
}

fn pretty(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|source| Error::Parse {
            path: "output".into(),
            field: String::new(),
            source,
        })
}

fn full<'a>(home: &Home, record: &'a Record) -> OciState<'a> {
    let mut state = record.oci_state(home.status(record));
    state.rootfs = Some(&record.rootfs);
    state.created = Some(&record.created);
    state.owner = Some(String::new());
    state
}

/// Whose container it is: by name, or `#UID` where the host has no name for that.
fn owner(home: &Home) -> String {
    let Ok(stat) = rustix::fs::stat(&home.dir) else {
        return String::new();
    };
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = stat.st_uid.to_string();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then_some(name)
    });
    name.map_or_else(|| format!("#{id}"), str::to_owned)
}

pub(crate) fn state(home: &Home, record: &Record) -> Result<String> {
    pretty(&full(home, record))
}

pub(crate) fn list(root: &Path, format: &str, quiet: bool) -> Result<String> {
    let all = commands::all(root)?;
    if quiet {
        return Ok(all
            .iter()
            .fold(String::new(), |text, (_, record)| text + &record.id + "\n"));
    }
    match format {
        "json" => {
            let listed = |(home, record)| OciState {
                owner: Some(owner(home)),
                ..full(home, record)
            };
            let states: Vec<_> = all.iter().map(|(home, record)| listed((home, record))).collect();
            let text = if states.is_empty() {
                "null".to_owned()
            } else {
                serde_json::to_string(&states).map_err(|source| Error::Parse {
                    path: "output".into(),
                    field: String::new(),
                    source,
                })?
            };
            Ok(text + "\n")
        }
        "table" => {
            let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
            let rows = all.iter().map(|(home, record)| {
                let status = home.status(record);
                let pid = if status == Status::Stopped { 0 } else { record.pid };
                [
                    record.id.clone(),
                    pid.to_string(),
                    status.name().to_owned(),
                    record.bundle.display().to_string(),
                    record.created.clone(),
                    owner(home),
                ]
            });
            Ok(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))
        }
        other => Err(Error::Usage(format!("invalid format option: {other:?}"))),
    }
}

/// Columns as wide as their widest, at least 12, three blanks apart.
fn table(rows: &[[String; 6]]) -> String {
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(9) + 3;
            // The last column is not filled up.
            let width = if column + 1 == row.len() { 0 } else { width };
            let _ = write!(text, "{cell:width$}");
        }
        text.push('\n');
    }
    text
}

pub(crate) fn ps(record: &Record, format: &str, arguments: &[String]) -> Result<String> {
    let pids = commands::processes(record)?;
    if pids.is_empty() && record.is_alive() {
        return Err(Error::State(
            "unable to get all container pids: the container has no cgroup of its own".into(),
        ));
    }
    match format {
        // As runc, whose callers may tell nobody from an empty list.
        "json" if pids.is_empty() => Ok("null\n".to_owned()),
        "json" => Ok(json!(pids).to_string() + "\n"),
        "table" => {
            let arguments: Vec<&str> = if arguments.is_empty() {
                vec!["-ef"]
            } else {
                arguments.iter().map(String::as_str).collect()
            };
            let output = std::process::Command::new("ps")
                .args(arguments)
                .output()
                .doing("run ps")?;
            let output = String::from_utf8_lossy(&output.stdout);
            let mut lines = output.lines();
            let head = lines.next().unwrap_or_default();
            let column = head
                .split_whitespace()
                .position(|name| name == "PID")
                .ok_or_else(|| Error::Config("couldn't find PID field in ps output".into()))?;
            let wanted = |line: &&str| {
                let pid = line
                    .split_whitespace()
                    .nth(column)
                    .and_then(|field| field.parse().ok());
                pid.is_some_and(|pid| pids.contains(&pid))
            };
            Ok(lines
                .filter(wanted)
                .fold(format!("{head}\n"), |text, line| text + line + "\n"))
        }
        other => Err(Error::Usage(format!("invalid format option: {other:?}"))),
    }
}

/// `features`.
///
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/features.md
pub(crate) fn features() -> String {
    let capabilities: Vec<String> = caps::names().collect();
    let namespaces: Vec<&str> = namespaces::names().collect();
    use lighter_seccomp::known;
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options::NAMES,
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": known::ACTIONS,
                "operators": known::OPERATORS,
                "archs": known::ARCHITECTURES,
                "knownFlags": known::FLAGS,
                "supportedFlags": known::FLAGS,
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "memoryPolicy": {
                "modes": attributes::MEMORY_MODES,
                "flags": attributes::MEMORY_FLAGS.map(|(name, _)| name),
            },
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
        },
        "annotations": {
            "org.opencontainers.runc.version": VERSION,
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": ["bundle", "org.systemd.property.", "org.criu.config"],
    });
    format!("{features:#}\n")
}
