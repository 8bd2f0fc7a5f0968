//! Named places at which a test makes the program die, as `kill -9` would.

use std::sync::OnceLock;

static ARMED: OnceLock<String> = OnceLock::new();

/// Makes the first [`hit`] of `name` kill this process. Called by a main, from its hidden `--abort-at` flag.
pub fn arm(name: String) {
    // The first call wins: a main has one flag.
    let _ = ARMED.set(name);
}

/// A step that a test may choose to die at. Costs one load when nothing is armed.
pub fn hit(name: &str) {
    if ARMED.get().is_some_and(|armed| armed == name) {
        // Nothing must run after this, not even a destructor: it stands for `kill -9`.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
