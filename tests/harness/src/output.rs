//! What a command said.

use std::process::Command;

/// A finished command.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 + n for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The command, for messages.
    pub command: String,
}

impl Output {
    /// Standard output without the last line end.
    ///
    /// # Panics
    /// When the command failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.stdout.trim_end_matches('\n').to_owned()
    }

    /// Standard error of a command that must fail with `code`.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self}");
        self.stderr.trim_end_matches('\n').to_owned()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}` ended with {}", self.command, self.code)?;
        write!(f, "stdout: {}\nstderr: {}", self.stdout, self.stderr)
    }
}

/// Running a command to its end.
pub trait OutputExt {
    /// Runs it; standard input is empty.
    fn result(&mut self) -> Output;
    /// Runs it with `input` as standard input.
    fn result_of(&mut self, input: &[u8]) -> Output;
}

impl OutputExt for Command {
    fn result(&mut self) -> Output {
        self.result_of(b"")
    }

    fn result_of(&mut self, input: &[u8]) -> Output {
        use std::io::Write as _;
        use std::os::unix::process::ExitStatusExt as _;
        use std::process::Stdio;
        let command = format!("{self:?}");
        let child = self
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("starting {command}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let input = input.to_vec();
        // A command that does not read its input closes it early: that is its right.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child
            .wait_with_output()
            .unwrap_or_else(|error| panic!("waiting for {command}: {error}"));
        writer.join().expect("the writer does not panic");
        Output {
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command,
        }
    }
}
