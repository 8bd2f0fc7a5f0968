//! The real distribution server, as Debian packages it, on a host's loopback.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::host::{Host, Machine};
use crate::output::OutputExt as _;

/// A registry on port 5000 of a host, with the lab's images; what is pushed is the host's own.
#[derive(Debug)]
pub struct Registry {
    server: Option<Child>,
    config: PathBuf,
}

impl Registry {
    /// The address that engines of the host use.
    pub const ADDRESS: &str = "127.0.0.1:5000";

    /// Starts it and waits until it answers.
    pub fn start(host: &Host) -> Registry {
        let (lower, dir) = (crate::lab().join("registry"), host.dir().join("registry"));
        host.sh(&format!(
            "mkdir -p {0}/upper {0}/work {0}/store
            mount -t overlay overlay -o lowerdir={1},upperdir={0}/upper,workdir={0}/work {0}/store",
            dir.display(),
            lower.display()
        ));
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
            storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{}\"}}\n",
            dir.join("store").display(),
            Self::ADDRESS
        );
        std::fs::write(&config, text).expect("writing the registry's configuration");
        let mut registry = Registry { server: None, config };
        registry.resume(host);
        registry
    }

    /// Ends the server at once, as a crash would.
    pub fn stop(&mut self, host: &Host) {
        if let Some(mut server) = self.server.take() {
            host.sh("kill -9 $(cat /run/registry.pid)");
            server.wait().expect("waiting for the registry");
        }
    }

    /// Starts the server that [`Registry::stop`] ended.
    pub fn resume(&mut self, host: &Host) {
        let script = "echo $$ >/run/registry.pid; exec docker-registry serve \"$0\"";
        let config = self.config.to_str().expect("the path is UTF-8");
        let mut command: Command = host.command(Machine::Host, &["bash", "-c", script, config]);
        let log =
            std::fs::File::create(host.dir().join("registry.log")).expect("creating the registry's log");
        self.server = Some(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("starting the registry"),
        );
        crate::wait::eventually("the registry answers", || {
            let url = format!("http://{}/v2/", Self::ADDRESS);
            (host.command(Machine::Host, &["curl", "-fs", &url]).result().code == 0).then_some(())
        });
    }
}
