//! `demo`: sets up, builds, and plays the seed's Ops walk-through and its web server with our client on a private engine.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lighter_harness::{Client, HOST_ADDRESS, Kind, Machine, Session};

use crate::run::step;
use crate::{build, lab};

/// Steps of the walk-through whose piece does not exist yet.
const TO_COME: [(&str, &str); 1] = [("lighter image build -t test:latest .", "the builder")];

pub fn main() -> Result<()> {
    step("set up", lab::images)?;
    step("build", build::all)?;
    println!("\nA private host: its own namespaces, engine, registry and data. It goes when the demo ends.");
    let session = Session::start(Kind::Lighter, Client::Lighter);
    let demo = Demo { session };
    step("the Ops walk-through", || demo.ops())?;
    step("the web server", || demo.web_server())?;
    println!("\nThese steps wait for pieces that do not exist yet:");
    for (command, piece) in TO_COME {
        println!("  {command}   ({piece})");
    }
    Ok(())
}

struct Demo {
    session: Session,
}

impl Demo {
    fn ops(&self) -> Result<()> {
        self.lighter(&["version"])?;
        self.lighter(&["image", "pull", "ubuntu:latest"])?;
        self.lighter(&["image", "ls"])?;
        let run = [
            "container",
            "run",
            "-it",
            "--name",
            "determined_nash",
            "ubuntu:latest",
            "/bin/bash",
        ];
        self.say(&run);
        let mut terminal = self.session.terminal(&run);
        for (wait, keys) in [
            ("# ", "ls /\r"),
            ("# ", "ps -e 2>/dev/null || ls -d /proc/[0-9]*\r"),
        ] {
            print!("{}", terminal.expect(wait));
            terminal.send(keys);
        }
        print!("{}", terminal.expect("# "));
        println!("(Ctrl-P Ctrl-Q)");
        terminal.send("\x10\x11");
        let (code, _) = terminal.end();
        ensure!(code == 0, "leaving a running container: exit code {code}");
        self.lighter(&["container", "ls"])?;
        let exec = ["container", "exec", "-it", "determined_nash", "bash"];
        self.say(&exec);
        let mut terminal = self.session.terminal(&exec);
        print!("{}", terminal.expect("# "));
        terminal.send("echo a file >/tmp/newfile.txt; exit\r");
        ensure!(terminal.end().0 == 0, "exec failed");
        self.lighter(&["container", "stop", "--time", "1", "determined_nash"])?;
        self.lighter(&["container", "ls", "-a"])?;
        self.lighter(&["container", "start", "determined_nash"])?;
        self.lighter(&["container", "exec", "determined_nash", "cat", "/tmp/newfile.txt"])?;
        self.lighter(&["container", "rm", "-f", "determined_nash"])?;
        self.lighter(&["container", "ls", "-a"])?;
        self.lighter(&["image", "rm", "ubuntu:latest"])
    }

    fn web_server(&self) -> Result<()> {
        self.lighter(&[
            "container",
            "run",
            "-d",
            "--name",
            "webserver",
            "-p",
            "80:8080",
            "web",
        ])?;
        self.lighter(&["container", "ls"])?;
        for (machine, url) in [
            (Machine::Host, "http://127.0.0.1/".to_owned()),
            (Machine::World, format!("http://{HOST_ADDRESS}/")),
        ] {
            let from = if matches!(machine, Machine::Host) {
                "here"
            } else {
                "another machine"
            };
            println!("$ curl {url}    # from {from}");
            let retry = [
                "curl",
                "-sS",
                "--retry",
                "20",
                "--retry-connrefused",
                "--retry-delay",
                "0",
                &url,
            ];
            finish(self.session.host.command(machine, &retry), "curl")?;
        }
        self.lighter(&["container", "logs", "webserver"])?;
        self.lighter(&[
            "container",
            "inspect",
            "--format",
            "{{json .Config.Cmd}}",
            "webserver",
        ])?;
        self.lighter(&["container", "rm", "-f", "webserver"])?;
        let ids = self.session.docker(&["image", "ls", "-q"]).ok();
        let words: Vec<&str> = ["image", "rm", "-f"].into_iter().chain(ids.lines()).collect();
        self.lighter(&words)
    }

    fn say(&self, words: &[&str]) {
        println!("\n$ lighter {}", words.join(" "));
    }

    fn lighter(&self, words: &[&str]) -> Result<()> {
        self.say(words);
        finish(self.session.command(words), "lighter")
    }
}

fn finish(mut command: Command, name: &str) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting {name}"))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}
