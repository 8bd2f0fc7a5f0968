//! dockerd's flags, as far as we do what they say.

use std::path::{Path, PathBuf};

use clap::Parser;
use lighter_engine::config::{self, Config, Settings};
use lighter_stdx::clock::Clock;

/// Where `daemon.json` is unless the user says otherwise.
const CONFIG_FILE: &str = "/etc/docker/daemon.json";

/// The Lighter engine: Docker's Engine API, over containers that outlive it.
#[derive(Debug, Parser)]
#[command(name = "lighterd", version, disable_version_flag = true)]
pub(crate) struct Args {
    /// Daemon socket(s) to listen on
    #[arg(short = 'H', long = "host", value_name = "list")]
    hosts: Vec<String>,
    /// Root directory of persistent state
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// Root directory for execution state files
    #[arg(long)]
    exec_root: Option<PathBuf>,
    /// Path to use for daemon PID file
    #[arg(short, long)]
    pidfile: Option<PathBuf>,
    /// Daemon configuration file
    #[arg(long)]
    config_file: Option<PathBuf>,
    /// containerd grpc address, of a layer that runs already
    #[arg(long)]
    containerd: Option<PathBuf>,
    /// Preferred registry mirror
    #[arg(long = "registry-mirror", value_name = "list")]
    registry_mirrors: Vec<String>,
    /// Enable insecure registry communication
    #[arg(long = "insecure-registry", value_name = "list")]
    insecure_registries: Vec<String>,
    /// IPv4 address for the default bridge
    #[arg(long)]
    bip: Option<String>,
    /// Enable addition of firewall rules
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    iptables: Option<bool>,
    /// Enable IP masquerading for the default bridge network
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    ip_masq: Option<bool>,
    /// Use userland proxy for loopback traffic
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    userland_proxy: Option<bool>,
    /// Set parent cgroup for all containers
    #[arg(long)]
    cgroup_parent: Option<String>,
    /// Set the logging level ("debug"|"info"|"warn"|"error"|"fatal")
    #[arg(short, long)]
    log_level: Option<String>,
    /// Enable debug mode
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    debug: Option<bool>,
    /// Set key=value labels to the daemon
    #[arg(long = "label", value_name = "list")]
    labels: Vec<String>,
    /// Accepted for Docker's sake: containers outlive this engine in any case
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    live_restore: Option<bool>,
    /// Validate daemon configuration and exit
    #[arg(long)]
    validate: bool,
    /// Print version information and quit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: (),
    /// Dies by SIGKILL at the step of that name
    #[arg(long, hide = true)]
    abort_at: Option<String>,
}

/// What Go's `strconv.ParseBool` takes.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid syntax: {text:?}")),
    }
}

impl Args {
    /// The configuration after flags, file and defaults; none when it was only to be looked at.
    #[expect(clippy::print_stdout, reason = "the answer to --validate")]
    pub(crate) fn config(self) -> anyhow::Result<Option<Config>> {
        let list = |values: Vec<String>| (!values.is_empty()).then_some(values);
        let flags = Settings {
            hosts: list(self.hosts),
            data_root: self.data_root,
            exec_root: self.exec_root,
            pidfile: self.pidfile,
            containerd: self.containerd,
            registry_mirrors: list(self.registry_mirrors),
            insecure_registries: list(self.insecure_registries),
            bip: self.bip,
            iptables: self.iptables,
            ip_masq: self.ip_masq,
            userland_proxy: self.userland_proxy,
            cgroup_parent: self.cgroup_parent,
            log_level: self.log_level,
            debug: self.debug,
            labels: list(self.labels),
            live_restore: self.live_restore,
        };
        let path = self.config_file.as_deref().unwrap_or(Path::new(CONFIG_FILE));
        let file = config::read_file(path, self.config_file.is_some())?;
        let mut config = config::merge(flags, file, path)?.resolve(programs(), Clock::system())?;
        if self.validate {
            println!("configuration OK");
            return Ok(None);
        }
        match self.abort_at {
            Some(step) if step.starts_with("layer.") || step.starts_with("snapshots.") => {
                config.layer_flags = vec!["--abort-at".to_owned(), step];
            }
            Some(step) => lighter_stdx::failpoint::arm(step),
            None => {}
        }
        Ok(Some(config))
    }
}

/// Where sister programs are looked for: beside us, then on PATH.
fn programs() -> Vec<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside.into_iter().chain(std::env::split_paths(&path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_dockerd_reads_them() {
        let words = [
            "lighterd",
            "-H",
            "unix:///a",
            "--host=tcp://127.0.0.1:1",
            "--iptables=false",
            "--ip-masq",
            "-D",
        ];
        let args = Args::try_parse_from(words).expect("they are valid");
        assert_eq!(args.hosts, ["unix:///a", "tcp://127.0.0.1:1"]);
        assert_eq!(
            (args.iptables, args.ip_masq, args.userland_proxy, args.debug),
            (Some(false), Some(true), None, Some(true))
        );
        for bad in [
            &["lighterd", "--iptables=perhaps"][..],
            &["lighterd", "--nonsense"],
            &["lighterd", "--bip"],
        ] {
            assert!(Args::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }
}
