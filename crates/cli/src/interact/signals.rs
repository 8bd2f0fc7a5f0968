//! Signals of this process, passed on to another.

use std::io;
use std::os::fd::AsFd as _;

use lighter_sys::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use crate::output;

const PASSED_ON: [(Signal, &str); 11] = [
    (Signal::HUP, "HUP"),
    (Signal::INT, "INT"),
    (Signal::QUIT, "QUIT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
    (Signal::ALARM, "ALRM"),
    (Signal::TERM, "TERM"),
    (Signal::CONT, "CONT"),
    (Signal::TSTP, "TSTP"),
    (Signal::TTIN, "TTIN"),
    (Signal::TTOU, "TTOU"),
];

/// Signals that no longer act on this process but wait to be read. To be made before any thread, so that all have them
/// blocked.
#[derive(Debug)]
pub(crate) struct Watched(SignalFd);

impl Watched {
    /// The window's changes; with `proxy`, all that can be passed on too.
    pub(crate) fn new(proxy: bool) -> io::Result<Watched> {
        let mut signals = vec![Signal::WINCH.as_raw()];
        if proxy {
            signals.extend(PASSED_ON.map(|(signal, _)| signal.as_raw()));
        }
        SignalFd::new(&signals).map(Watched)
    }

    /// Reads them, for as long as this process lives: `resized` after each change of the window, `passed` with the name of
    /// each other signal. A user who interrupts three times is let go.
    pub(crate) fn serve(self, resized: impl Fn(), passed: impl Fn(&str)) {
        let mut interrupts = 0;
        loop {
            let mut polled = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
            match poll(&mut polled, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            while let Ok(Some(number)) = self.0.read() {
                let number = i32::try_from(number).unwrap_or(0);
                if number == Signal::WINCH.as_raw() {
                    resized();
                }
                if let Some((signal, name)) = PASSED_ON.iter().find(|(signal, _)| signal.as_raw() == number) {
                    passed(name);
                    interrupts += u32::from(matches!(*signal, Signal::INT | Signal::TERM));
                    if interrupts == 3 {
                        leave();
                    }
                }
            }
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the user insists, and the main thread waits for the engine"
)]
fn leave() {
    output::error("\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n");
    std::process::exit(1);
}

/// From now on SIGINT and SIGTERM end this process with 128 and their number, as they end Docker's client: by an exit, not
/// by the signal. For commands that may take long and pass nothing on. To be called before any thread is made.
#[expect(clippy::exit, reason = "the main thread waits for the engine")]
pub(crate) fn end_by_signals() -> io::Result<()> {
    let signals = SignalFd::new(&[Signal::INT.as_raw(), Signal::TERM.as_raw()])?;
    std::thread::spawn(move || {
        loop {
            let mut polled = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
            // A failure is an interruption: the loop ends with the process.
            let _ = poll(&mut polled, None);
            if let Ok(Some(number)) = signals.read() {
                std::process::exit(128 + i32::try_from(number).unwrap_or(0));
            }
        }
    });
    Ok(())
}
