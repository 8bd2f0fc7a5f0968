//! Messages for whoever called us: lines in logrus's shape, which containerd, podman and buildah read.
//!
//! They go to the file of `--log`, else to stderr. The one log of the process is set up once, by the command line.

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::clock;
use crate::error::{Context, Result};

/// Where and how messages are written.
#[derive(Debug)]
pub(crate) struct Log {
    /// Of `--log`.
    file: Option<File>,
    json: bool,
    debug: bool,
    /// When the program began: messages are stamped with it.
    now: SystemTime,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// How grave a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warning,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

impl Log {
    /// The log of these options. The file is made here, so that a caller finds it whatever happens.
    pub(crate) fn new(path: Option<&Path>, json: bool, debug: bool, now: SystemTime) -> Result<Self> {
        let open = |path: &Path| {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).append(true).open(path).on("open", path)
        };
        Ok(Self {
            file: path.map(open).transpose()?,
            json,
            debug,
            now,
        })
    }

    /// One message as a line.
    fn line(&self, level: Level, text: &str) -> String {
        let time = clock::seconds(self.now);
        let quoted = serde_json::to_string(text).unwrap_or_default();
        let level = level.name();
        if self.json {
            return format!("{{\"level\":\"{level}\",\"msg\":{quoted},\"time\":\"{time}\"}}\n");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
        let shown = if text.bytes().all(plain) { text } else { &quoted };
        format!("time=\"{time}\" level={level} msg={shown}\n")
    }

    fn write(&self, level: Level, text: &str) {
        let line = self.line(level, text);
        // Nobody is left to be told that the log cannot be written.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    fn last_words(&self, text: &str) -> String {
        if self.file.is_some() {
            self.write(Level::Error, text);
            return format!("{text}\n");
        }
        if !self.json && rustix::termios::isatty(rustix::stdio::stderr()) {
            return format!("ERRO[0000] {text}\n");
        }
        self.line(Level::Error, text)
    }
}

/// Makes this the log of the process.
pub(crate) fn install(log: Log) {
    // A second one would be for another command line, which there is none of.
    let _ = LOG.set(log);
}

/// Where messages go, when it is not stderr.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    Some(LOG.get()?.file.as_ref()?.as_fd())
}

/// Logs the error that ends the command, and answers what stderr is to hear of it: as runc has it, the line where there
/// is no other log, else the plain words. `now` stamps it when no log could be opened.
pub(crate) fn last_words(text: &str, now: SystemTime) -> String {
    let none = Log {
        file: None,
        json: false,
        debug: false,
        now,
    };
    LOG.get().unwrap_or(&none).last_words(text)
}

/// Something that a caller should know but that does not end the command.
pub(crate) fn warn(text: Arguments<'_>) {
    if let Some(log) = LOG.get() {
        log.write(Level::Warning, &text.to_string());
    }
}

/// A step, for `--debug`.
pub(crate) fn debug(text: Arguments<'_>) {
    if let Some(log) = LOG.get().filter(|log| log.debug) {
        log.write(Level::Debug, &text.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_logrus_writes_them() {
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(951_782_400);
        let line = |json, text| Log::new(None, json, false, now).unwrap().line(Level::Error, text);
        assert_eq!(
            line(false, "container does \"not\" exist"),
            "time=\"2000-02-29T00:00:00Z\" level=error msg=\"container does \\\"not\\\" exist\"\n"
        );
        assert_eq!(
            line(false, "gone"),
            "time=\"2000-02-29T00:00:00Z\" level=error msg=gone\n"
        );
        assert_eq!(
            line(true, "a\nb"),
            "{\"level\":\"error\",\"msg\":\"a\\nb\",\"time\":\"2000-02-29T00:00:00Z\"}\n"
        );
    }
}
