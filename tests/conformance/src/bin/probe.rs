//! Runs inside a container: says what it sees, or (`hold`) stays until it is killed.
#![expect(clippy::print_stdout, reason = "its product")]

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "hold") {
        loop {
            std::thread::park();
        }
    }
    let view = lighter_conformance::probe::look();
    // A flat map of strings.
    println!("{}", serde_json::to_string(&view).unwrap_or_default());
    if let Some(code) = words.get(1).and_then(|word| word.parse().ok()) {
        lighter_sys::process::exit_now(code);
    }
}
