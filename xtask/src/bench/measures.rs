//! What is measured.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use lighter_harness::{Engine, Host, Kind};

use super::columns::{Column, Columns, Rig, built, milliseconds, options};
use super::stats::{Better, Cell, Scope, Series, guarded, interleave};
use super::{Options, http, memory};

/// How many containers `ps` and the API show, and how many shims are weighed.
const CROWD: usize = 100;
/// How long an engine is left alone before it is weighed.
const SETTLE: Duration = Duration::from_secs(2);
/// One sample of the request rate.
const WINDOW: Duration = Duration::from_secs(1);

fn series(name: &'static str, what: &'static str, unit: &'static str, cells: Vec<Cell>) -> Series {
    let better = if unit == "1/s" {
        Better::Higher
    } else {
        Better::Lower
    };
    println!("  {name}");
    Series {
        name,
        what,
        unit,
        better,
        cells,
    }
}

/// Measures that start engines of their own: on an empty data root, each in a fresh host.
pub fn fresh(options: &Options) -> Vec<Series> {
    let names = [
        (
            "cold-start",
            "daemon: exec to the first answered /_ping, empty data root",
            "ms",
        ),
        (
            "cold-list",
            "daemon: exec to the first answered /containers/json",
            "ms",
        ),
        ("daemons-rss", "all daemons, idle and fresh, RSS", "MiB"),
        ("daemons-pss", "all daemons, idle and fresh, PSS", "MiB"),
    ];
    if !names.iter().any(|(name, ..)| options.wants(name)) {
        return Vec::new();
    }
    let kinds = [Kind::Docker, Kind::Lighter];
    let mut cells = kinds.map(|kind| match built(kind) {
        Ok(()) => [(); 4].map(|()| Cell::Samples(Vec::new())),
        Err(reason) => [(); 4].map(|()| Cell::Absent(reason.clone())),
    });
    for round in 0..options.rounds(8) {
        for turn in 0..2 {
            let place = (turn + round) % 2;
            if matches!(cells[place][0], Cell::Absent(_)) {
                continue;
            }
            match guarded(|| cold(kinds[place])) {
                Ok(values) => {
                    for (cell, value) in cells[place].iter_mut().zip(values) {
                        if let Cell::Samples(samples) = cell {
                            samples.push(value);
                        }
                    }
                }
                Err(error) => {
                    cells[place] = [(); 4].map(|()| Cell::Absent(format!("failed: {error:#}")));
                }
            }
        }
    }
    let [docker, lighter] = cells;
    let own = || Cell::Absent("–".to_owned());
    let rows = docker.into_iter().zip(lighter).zip(names);
    rows.filter(|(_, (name, ..))| options.wants(name))
        .map(|((docker, lighter), (name, what, unit))| series(name, what, unit, vec![docker, lighter, own()]))
        .collect()
}

/// To the first ping, to the first list, and what the idle daemons hold: RSS, PSS.
fn cold(kind: Kind) -> Result<[f64; 4]> {
    let host = Host::new();
    let options = options(kind, &host)?;
    let socket = host.path(Engine::SOCKET);
    let limit = Duration::from_secs(60);
    let asking = std::thread::spawn(move || {
        http::first_answer(&socket, "/_ping", limit)?;
        let ping = SystemTime::now();
        http::first_answer(&socket, "/containers/json", limit)?;
        Ok::<_, anyhow::Error>([ping, SystemTime::now()])
    });
    let engine = Engine::start(&host, kind, &options);
    let answered = asking
        .join()
        .map_err(|_| anyhow::anyhow!("the asking thread panicked"))??;
    let began = engine.started(&host);
    let since = |time: SystemTime| time.duration_since(began).context("the clock went back");
    std::thread::sleep(SETTLE);
    let memory = memory::daemons(&host, kind)?;
    Ok([
        milliseconds(since(answered[0])?),
        milliseconds(since(answered[1])?),
        memory.rss,
        memory.pss,
    ])
}

/// Measures on engines that stay.
pub fn long_lived(columns: &Columns, options: &Options) -> Vec<Series> {
    let mut all = Vec::new();
    let mut add = |name: &'static str, what, unit, cells: &mut dyn FnMut() -> Vec<Cell>| {
        if options.wants(name) {
            all.push(series(name, what, unit, cells()));
        }
    };
    let timed = |warm, rounds, words: &[&str]| {
        interleave(
            columns.all(),
            Scope::Clients,
            warm,
            options.rounds(rounds),
            |column, _| column.time(words),
        )
    };
    add("client", "client alone: --version", "ms", &mut || {
        timed(3, 40, &["--version"])
    });
    add("ps-0", "ps, no container", "ms", &mut || timed(3, 40, &["ps"]));
    add(
        "run-bridge",
        "run --rm busybox true, on the bridge",
        "ms",
        &mut || timed(3, 40, &["run", "--rm", "busybox", "true"]),
    );
    add(
        "run-none",
        "run --rm --network none busybox true",
        "ms",
        &mut || timed(3, 40, &["run", "--rm", "--network", "none", "busybox", "true"]),
    );
    add(
        "run-detached",
        "run -d busybox sleep, on the bridge",
        "ms",
        &mut || interleave(columns.all(), Scope::Clients, 2, options.rounds(30), detached),
    );
    add("exec", "exec of true in a running container", "ms", &mut || {
        exec(columns, options)
    });
    add(
        "pull",
        "pull of six layers, 385 MB (lab/images.sh), from a local registry",
        "ms",
        &mut || pulls(columns, options),
    );
    let crowded = [
        "ps-100",
        "list-1",
        "list-8",
        "shim-pss",
        "shim-rss",
        "shim-file",
        "crowd-rss",
    ];
    if crowded.iter().any(|name| options.wants(name)) {
        let failures = crowd(columns);
        for failure in &failures {
            println!("{failure}");
        }
        // An engine without the crowd is not measured as if it had one.
        let whole = |column: &Column| {
            let rig = column.rig()?;
            let names = rig.housekeeping(&["ps", "-q"])?;
            anyhow::ensure!(
                names.lines().count() == CROWD,
                "{} containers run",
                names.lines().count()
            );
            Ok(())
        };
        let engines = |rounds, sample: &mut dyn FnMut(&Rig) -> Result<f64>| {
            interleave(columns.all(), Scope::Engines, 0, rounds, |column, round| {
                if round == 0 {
                    whole(column)?;
                }
                sample(column.rig()?)
            })
        };
        std::thread::sleep(SETTLE);
        add(
            "shim-pss",
            "shim of one of 100 containers, PSS",
            "MiB",
            &mut || engines(1, &mut |rig| mean_shim(rig, |memory| memory.pss)),
        );
        add(
            "shim-rss",
            "shim of one of 100 containers, RSS",
            "MiB",
            &mut || engines(1, &mut |rig| mean_shim(rig, |memory| memory.rss)),
        );
        add("shim-file", "the shim's program file", "MB", &mut || {
            engines(1, &mut |rig| memory::shim_file(&rig.host, rig.kind))
        });
        add(
            "crowd-rss",
            "all daemons with 100 containers, RSS",
            "MiB",
            &mut || engines(1, &mut |rig| Ok(memory::daemons(&rig.host, rig.kind)?.rss)),
        );
        add("ps-100", "ps, 100 containers", "ms", &mut || {
            interleave(
                columns.all(),
                Scope::Clients,
                2,
                options.rounds(40),
                |column, round| {
                    if round == 0 {
                        whole(column)?;
                    }
                    column.time(&["ps"])
                },
            )
        });
        for (name, what, connections) in [
            ("list-1", "GET /containers/json of 100, 1 connection", 1),
            ("list-8", "GET /containers/json of 100, 8 connections", 8),
        ] {
            add(name, what, "1/s", &mut || {
                engines(options.rounds(6), &mut |rig| {
                    http::rate(&rig.socket(), "/containers/json", connections, WINDOW)
                })
            });
        }
    }
    all
}

fn detached(column: &Column, round: usize) -> Result<f64> {
    let name = format!("detached-{round}");
    let took = column.time(&["run", "-d", "--name", &name, "busybox", "sleep", "1000000"])?;
    column.rig()?.housekeeping(&["rm", "-f", &name])?;
    Ok(took)
}

fn exec(columns: &Columns, options: &Options) -> Vec<Cell> {
    let rounds = options.rounds(40);
    for rig in columns.rigs() {
        // A failure shows in the samples.
        let _ = rig.housekeeping(&["run", "-d", "--name", "exec", "busybox", "sleep", "1000000"]);
    }
    let cells = interleave(columns.all(), Scope::Clients, 3, rounds, |column, _| {
        column.time(&["exec", "exec", "true"])
    });
    for rig in columns.rigs() {
        let _ = rig.housekeeping(&["rm", "-f", "exec"]);
    }
    cells
}

fn pulls(columns: &Columns, options: &Options) -> Vec<Cell> {
    // The lowest of the six layers is busybox's.
    for rig in columns.rigs() {
        let _ = rig.housekeeping(&["rmi", "-f", "busybox"]);
    }
    let cells = interleave(
        columns.all(),
        Scope::Clients,
        1,
        options.rounds(5),
        |column, _| {
            let took = column.time(&["pull", "-q", "big"])?;
            column.rig()?.housekeeping(&["rmi", "big"])?;
            Ok(took)
        },
    );
    for rig in columns.rigs() {
        let _ = rig.housekeeping(&["pull", "-q", "busybox"]);
    }
    cells
}

/// Starts the crowd on each engine; what went wrong.
fn crowd(columns: &Columns) -> Vec<String> {
    let mut failures = Vec::new();
    for rig in columns.rigs() {
        for number in 0..CROWD {
            let name = format!("crowd-{number}");
            if let Err(error) =
                rig.housekeeping(&["run", "-d", "--name", &name, "busybox", "sleep", "1000000"])
            {
                failures.push(format!("{}: {error:#}", super::stats::engine_name(rig.kind)));
                break;
            }
        }
    }
    failures
}

fn mean_shim(rig: &Rig, what: impl Fn(&memory::Memory) -> f64) -> Result<f64> {
    let shims = memory::shims(&rig.host, rig.kind)?;
    anyhow::ensure!(
        shims.len() == CROWD,
        "{} shims for {CROWD} containers",
        shims.len()
    );
    Ok(shims.iter().map(what).sum::<f64>() / shims.len() as f64)
}
