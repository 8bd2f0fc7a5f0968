//! The OCI runtime.
#![no_main]

use std::io::Write;

lighter_sys::entry!(program);

#[global_allocator]
static HEAP: lighter_sys::short_heap::ShortHeap = lighter_sys::short_heap::ShortHeap::new();

fn program() -> u8 {
    lighter_sys::memory::short_life();
    let input = lighter_runtime::Input {
        arguments: std::env::args_os().collect(),
        environment: std::env::vars_os().collect(),
        now: std::time::SystemTime::now(),
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
    };
    let output = lighter_runtime::run(&input);
    // Who closed our stdout or stderr does not want to hear.
    let _ = std::io::stdout().write_all(output.text.as_bytes());
    let _ = std::io::stderr().write_all(output.error.as_bytes());
    output.code
}
