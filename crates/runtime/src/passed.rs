//! Descriptors that the caller gives the container: those of socket activation from 3 on, then `--preserve-fds` more.

use crate::error::{Error, Result};

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Sockets of `LISTEN_FDS`, told to the process by the same name.
    pub(crate) listen: u32,
    /// With those.
    pub(crate) all: u32,
}

impl Passed {
    /// `listen` and `pid` are our caller's `LISTEN_FDS` and `LISTEN_PID`. A descriptor that is not there is refused: its
    /// number would be given to a file of ours.
    pub(crate) fn new(preserve: u32, listen: Option<&str>, pid: Option<&str>) -> Result<Self> {
        let ours = || {
            let own = rustix::process::getpid().as_raw_nonzero().to_string();
            pid == Some(own.as_str())
        };
        let listen = listen
            .filter(|_| ours())
            .and_then(|count| count.parse::<u16>().ok())
            .map_or(0, u32::from);
        for number in 0..preserve {
            let fd = number.saturating_add(listen).saturating_add(3);
            i32::try_from(fd)
                .map_err(|_| rustix::io::Errno::BADF.into())
                .and_then(lighter_sys::descriptors::was_inherited)
                .map_err(|error| {
                    Error::Usage(format!(
                        "unable to stat preserved-fd {number} (of {preserve}): {}",
                        crate::program::words(error)
                    ))
                })?;
        }
        Ok(Self {
            listen,
            all: preserve + listen,
        })
    }

    /// What the process is told.
    pub(crate) fn variables(self) -> Vec<String> {
        if self.listen == 0 {
            return Vec::new();
        }
        vec![format!("LISTEN_FDS={}", self.listen), "LISTEN_PID=1".into()]
    }
}
