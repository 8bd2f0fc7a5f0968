//! A real terminal, driven as a person would.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const LIMIT: Duration = Duration::from_secs(20);

/// A command on a pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    screen: Arc<Screen>,
    /// How much of the output earlier expectations have used up.
    seen: usize,
}

#[derive(Debug, Default)]
struct Screen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Starts `command` with a terminal of 24 rows and 80 columns as its three standard streams.
    pub fn start(mut command: Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("opening a terminal");
        grantpt(&master).expect("granting the terminal");
        unlockpt(&master).expect("unlocking the terminal");
        let name = ptsname(&master, Vec::new()).expect("the terminal's name");
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("UTF-8"))
            .expect("opening its other side");
        tcsetwinsize(&master, size(24, 80)).expect("sizing the terminal");
        let end = |file: &File| OwnedFd::from(file.try_clone().expect("duplicating the terminal"));
        command.stdin(end(&slave)).stdout(end(&slave)).stderr(end(&slave));
        let child = command.spawn().expect("starting the command");
        drop((command, slave));
        let master = File::from(master);
        let screen = Arc::new(Screen::default());
        let (mut reader, writer) = (
            master.try_clone().expect("duplicating the terminal"),
            Arc::clone(&screen),
        );
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // EIO is the end: the last process closed the other side.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                writer
                    .state
                    .lock()
                    .expect("no panic")
                    .bytes
                    .extend_from_slice(&chunk[..count]);
                writer.changed.notify_all();
            }
            writer.state.lock().expect("no panic").ended = true;
            writer.changed.notify_all();
        });
        Terminal {
            child,
            master,
            screen,
            seen: 0,
        }
    }

    /// Types `keys`.
    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typing");
    }

    /// Waits until `text` is shown after what was expected before; returns what stood between.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let begin = Instant::now();
        let mut state = self.screen.state.lock().expect("no panic");
        loop {
            let new = String::from_utf8_lossy(&state.bytes[self.seen..]).into_owned();
            if let Some(at) = new.find(text) {
                self.seen += at + text.len();
                return new[..at].to_owned();
            }
            assert!(
                !state.ended,
                "the terminal closed before {text:?}; it showed {new:?}"
            );
            let left = LIMIT.checked_sub(begin.elapsed());
            let left = left.unwrap_or_else(|| panic!("{text:?} not shown within {LIMIT:?}, but {new:?}"));
            state = self.screen.changed.wait_timeout(state, left).expect("no panic").0;
        }
    }

    /// Changes the window's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).expect("sizing the terminal");
    }

    /// Waits for the command's end: its exit code and all that was shown after the last expectation.
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        let status = crate::wait::within(LIMIT, "the command on the terminal ends", || {
            self.child.try_wait().expect("waiting")
        });
        let state = self.screen.state.lock().expect("no panic");
        let (state, _) = self
            .screen
            .changed
            .wait_timeout_while(state, Duration::from_secs(2), |state| !state.ended)
            .expect("no panic");
        (
            status.code().unwrap_or(-1),
            String::from_utf8_lossy(&state.bytes[self.seen..]).into_owned(),
        )
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed half-way must not leave its command; one that ended is no process any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
