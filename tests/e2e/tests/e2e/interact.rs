//! Terminals, attach, exec, logs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use lighter_harness::{OutputExt as _, Session, eventually, sessions};

sessions! {
    fn a_shell_on_a_terminal(session: &Session) {
        session.pull("busybox");
        let mut terminal = session.terminal(&["container", "run", "-it", "--name", "tt", "busybox", "sh"]);
        terminal.expect("/ # ");
        terminal.send("echo he''llo; tty; stty size\r");
        terminal.expect("hello\r\n/dev/pts/0\r\n24 80\r\n");
        terminal.resize(30, 100);
        eventually("the size arrives", || {
            terminal.send("stty size | tr ' ' x; echo s''een\r");
            terminal.expect("seen\r\n").contains("30x100").then_some(())
        });
        terminal.send("echo $HOSTNAME; exit 3\r");
        let id = session.inspect("tt", "{{.Id}}");
        terminal.expect(&id[..12]);
        assert_eq!(terminal.end().0, 3);
        session.docker(&["rm", "tt"]).ok();
    }

    fn ctrl_p_ctrl_q_leaves_it_running(session: &Session) {
        session.pull("busybox");
        let mut terminal = session.terminal(&["run", "-it", "--name", "tt", "busybox", "sh"]);
        terminal.expect("/ # ");
        terminal.send("X=kept\r");
        terminal.expect("/ # ");
        terminal.send("\x10\x11");
        let (code, _) = terminal.end();
        assert_eq!(code, 0);
        assert_eq!(session.inspect("tt", "{{.State.Running}}"), "true");

        let mut terminal = session.terminal(&["attach", "tt"]);
        terminal.send("echo is-$X\r");
        terminal.expect("is-kept");
        terminal.send("exit 5\r");
        assert_eq!(terminal.end().0, 5);
        assert_eq!(session.inspect("tt", "{{.State.ExitCode}}"), "5");
    }

    fn exec_on_a_terminal(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        let mut terminal = session.terminal(&["exec", "-it", "cc", "sh"]);
        terminal.expect("/ # ");
        terminal.send("stty size; echo $TERM\r");
        terminal.expect("24 80\r\nxterm\r\n");
        terminal.send("exit 4\r");
        assert_eq!(terminal.end().0, 4);
        let mut terminal = session.terminal(&["exec", "-it", "cc", "sh"]);
        terminal.expect("/ # ");
        terminal.send("\x10\x11");
        let (_, rest) = terminal.end();
        assert!(rest.contains("exec attach failed") || rest.contains("read escape sequence"), "{rest}");
    }

    fn exec_without_a_terminal(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        let output = session.docker(&["exec", "-e", "A=b", "-w", "/tmp", "cc", "sh", "-c", "echo $A $PWD; echo err >&2; exit 9"]);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), ("b /tmp\n", "err\n", 9));
        let echoed = session.command(&["exec", "-i", "cc", "sh", "-c", "wc -c; md5sum </dev/null"]).result_of(&vec![b'x'; 3_000_000]);
        assert!(echoed.ok().starts_with("3000000\n"));
        assert_eq!(session.docker(&["exec", "-u", "daemon", "cc", "id", "-un"]).ok(), "daemon");
        session.docker(&["exec", "-d", "cc", "touch", "/made"]).ok();
        eventually("the detached exec did it", || (session.docker(&["exec", "cc", "ls", "/made"]).code == 0).then_some(()));
    }

    fn input_and_output_pass_through_run(session: &Session) {
        session.pull("busybox");
        let input: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let output = session.command(&["run", "-i", "--rm", "busybox", "md5sum"]).result_of(&input);
        let expected = std::process::Command::new("md5sum").result_of(&input).stdout;
        assert_eq!(output.stdout, expected);
        let both = session.docker(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
        assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
        let many = session.docker(&["run", "--rm", "busybox", "seq", "200000"]);
        assert_eq!(many.stdout.lines().count(), 200_000);
        assert_eq!(many.ok().lines().last(), Some("200000"));
    }

    fn logs_show_all_and_follow(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-di", "--name", "ll", "busybox", "sh", "-c", "echo one; echo two >&2; while read x; do echo got $x; done"]).ok();
        eventually("both lines are logged", || {
            let output = session.docker(&["logs", "ll"]);
            (output.stdout == "one\n" && output.stderr == "two\n").then_some(())
        });
        let mut follow = session.command(&["logs", "-f", "--tail", "1", "ll"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("logs -f");
        let mut shown = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
        let mut attach = session.command(&["attach", "ll"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("attach");
        let mut keys = attach.stdin.take().expect("a pipe");
        writeln!(keys, "hello").expect("writing to attach");
        // Two pipes have no order: the last line may be either stream's.
        assert!(shown.any(|line| line.expect("text") == "got hello"));
        drop(keys);
        // The end of the container ends both.
        session.docker(&["stop", "-t", "0", "ll"]).ok();
        assert!(shown.next().is_none());
        follow.wait().expect("logs -f ends");
        attach.wait().expect("attach ends");
        let stamped = session.docker(&["logs", "--timestamps", "--tail", "1", "ll"]).stdout;
        let (stamp, rest) = stamped.split_once(' ').expect("a time and a line");
        assert!(stamp.starts_with("20") && stamp.ends_with('Z') && rest == "got hello\n", "{stamped}");
    }

    fn attach_with_input_of_a_running_container(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-di", "--name", "cat", "busybox", "cat"]).ok();
        // Without StdinOnce an attach that ends does not end the container's input.
        let mut first = session.command(&["attach", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("attach");
        let mut keys = first.stdin.take().expect("a pipe");
        writeln!(keys, "first").expect("typing");
        let mut shown = BufReader::new(first.stdout.take().expect("a pipe")).lines();
        assert_eq!(shown.next().expect("a line").expect("text"), "first");
        first.kill().expect("ending the client");
        first.wait().expect("waiting for the client");
        assert_eq!(session.inspect("cat", "{{.State.Running}}"), "true");
        assert_eq!(session.docker(&["logs", "cat"]).ok(), "first");
    }
}
