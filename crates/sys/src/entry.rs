//! A program's entry without the standard library's.
//!
//! Its start-up asks glibc for the main thread's stack, which reads `/proc/self/maps` through `sscanf`: a seventh of a small static
//! program is there for it, and two system calls in three of its start. All that it does for a program of one thread
//! is done here. What is lost: the message of a stack overflow (it is SIGSEGV now).

use std::io::{self, Write as _};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Makes `$main`, a `fn() -> u8`, what the program does; its value is the exit code. The program is `#![no_main]`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // SAFETY: `main` is the C library's name for this very function, of this very type; a program without one
        // (`no_main`) has no other.
        #[unsafe(no_mangle)]
        extern "C" fn main(_count: i32, _words: *const *const u8) -> i32 {
            $crate::entry::run($main)
        }

        $crate::lean_libc!();
        $crate::lean_unwind!();
    };
}

/// What [`entry!`] calls: the standard library's promises to a `main`, then `main`, then the end of standard output.
pub fn run(main: fn() -> u8) -> i32 {
    open_standard();
    // SAFETY: no handler is installed; a write to a closed pipe becomes an error, as Rust programs expect.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let code = main();
    // Who closed it does not want to hear.
    let _ = io::stdout().flush();
    i32::from(code)
}

/// A file that a program opens must not get number 0, 1 or 2: it would be read and written as a standard stream.
fn open_standard() {
    // SAFETY: `fcntl` looks at a number, whether a file has it or not.
    while (0..3).any(|number| unsafe { libc::fcntl(number, libc::F_GETFD) } < 0)
        && io::Error::last_os_error().raw_os_error() == Some(Errno::BADF.raw_os_error())
    {
        // The lowest free number is the one that is missing. It stays open: nobody owns it.
        let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) else {
            return;
        };
        std::mem::forget(null);
    }
}
