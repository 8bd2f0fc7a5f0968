//! The shim: arguments and surroundings for `lighter_shim`.

#![no_main]

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use lighter_shim::{Arguments, Config, Time};

lighter_sys::entry!(program);

fn program() -> u8 {
    // What a caller leaves open would stay open as long as the container.
    let _ = lighter_sys::inherit::close_inherited();
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => return fail(&error),
    };
    let events = match std::env::var_os("TTRPC_ADDRESS") {
        Some(address) if !address.is_empty() => Some(PathBuf::from(address)),
        _ if arguments.address.is_empty() => None,
        _ => Some(PathBuf::from(format!("{}.ttrpc", arguments.address))),
    };
    let config = Config {
        namespace: arguments.namespace.clone(),
        program: std::env::current_exe().ok(),
        environment: std::env::vars_os().collect(),
        events,
        clock,
    };
    match lighter_shim::run(config, &arguments, &mut std::io::stdin(), &mut std::io::stdout()) {
        Ok(()) => 0,
        Err(error) => fail(&error),
    }
}

fn clock() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time {
        seconds: now.as_secs(),
        nanos: now.subsec_nanos(),
    }
}

#[expect(clippy::print_stderr, reason = "a main prints")]
fn fail(error: &(dyn std::error::Error + 'static)) -> u8 {
    eprintln!(
        "containerd-shim-lighter-v1: {}",
        lighter_stdx::error::chain(error)
    );
    1
}
