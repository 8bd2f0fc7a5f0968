//! `kill -9` at random moments.

use std::time::Duration;

use lighter_harness::{HOST_ADDRESS, Machine, Options, eventually};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{Prober, check_lines, kill, kill_all, revive, rounds, session, workers};

const COUNT: &str = "mkdir /www; echo hello >/www/index.html; httpd -h /www -p 80; \
    trap 'exit 5' TERM; i=0; while :; do i=$((i+1)); echo line $i; usleep 2000; done";

/// Who is killed in a round.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Engine,
    Layer,
    Worker,
    All,
}

#[test]
fn containers_run_on_while_daemons_die() {
    let mut session = session();
    let mut random = StdRng::seed_from_u64(lighter_crash::seed());
    session
        .docker(&[
            "run", "-d", "--name", "count", "-p", "18080:80", "busybox", "sh", "-c", COUNT,
        ])
        .ok();
    session
        .docker(&[
            "run",
            "-di",
            "--name",
            "reader",
            "busybox",
            "sh",
            "-c",
            "cat; echo end of input",
        ])
        .ok();
    let (count, reader) = (session.init_pid("count"), session.init_pid("reader"));
    eventually("the server is up", || {
        let got = session.host.sh("curl -s http://127.0.0.1:18080/ || true");
        (got == "hello").then_some(())
    });
    let local = Prober::start(&session, Machine::Host, "http://127.0.0.1:18080/");
    let wire = Prober::start(&session, Machine::World, &format!("http://{HOST_ADDRESS}:18080/"));

    let rounds = rounds("kill -9 at random moments");
    for round in 0..rounds * 4 {
        let victim = [Victim::Engine, Victim::Layer, Victim::Worker, Victim::All][round % 4];
        let pause = Duration::from_millis(random.random_range(0..150));
        println!("round {round}: {victim:?} after {pause:?}");
        std::thread::sleep(pause);
        if let Victim::Layer | Victim::All = victim {
            assert_eq!(kill_all(&session, "lighter-containerd"), 1, "there was one layer");
        }
        if let Victim::Worker = victim {
            workers(&session).into_iter().for_each(kill);
        }
        if let Victim::Engine | Victim::All = victim {
            revive(&mut session, &Options::default());
        }
        assert_eq!(
            session.docker(&["exec", "count", "echo", "here"]).ok(),
            "here",
            "round {round}"
        );
        assert_eq!(
            (session.init_pid("count"), session.init_pid("reader")),
            (count, reader),
            "round {round}"
        );
        assert_eq!(
            session.inspect("count", "{{.State.Status}} {{.RestartCount}}"),
            "running 0"
        );
    }
    local.finish("the published port on loopback", rounds);
    wire.finish("the published port on the wire", 0);
    session.docker(&["stop", "count"]).ok();
    assert_eq!(session.inspect("count", "{{.State.ExitCode}}"), "5");
    let lines = check_lines(&session.docker(&["logs", "count"]).ok());
    println!("{lines} lines, none missing, none twice");
    assert!(lines > 100);
    // No end of its input was seen, and what is written now is read.
    assert_eq!(session.docker(&["logs", "reader"]).ok(), "");
    assert_eq!(session.inspect("reader", "{{.State.Status}}"), "running");
}

#[test]
fn a_full_pipe_never_stops_a_container_whose_engine_is_dead() {
    let mut session = session();
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; touch /done; sleep 1000";
    session
        .docker(&["run", "-d", "--name", "loud", "busybox", "sh", "-c", script])
        .ok();
    let init = session.init_pid("loud");
    kill_all(&session, "lighter-containerd");
    session.engine.take().expect("it runs").kill();
    kill_all(&session, "lighter-containerd");
    eventually("it wrote everything with nobody above it", || {
        std::fs::exists(format!("/proc/{init}/root/done"))
            .ok()?
            .then_some(())
    });
    revive(&mut session, &Options::default());
    assert_eq!(check_lines(&session.docker(&["logs", "loud"]).ok()), 20_000);
    assert_eq!(session.init_pid("loud"), init);
}
