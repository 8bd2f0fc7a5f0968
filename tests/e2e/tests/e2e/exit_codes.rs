//! Exit codes: the container's own, and Docker's 125, 126, 127.

use lighter_harness::{Session, sessions};

sessions! {
    fn a_containers_code_is_the_clients(session: &Session) {
        session.pull("busybox");
        for code in [0, 1, 2, 42, 125, 126, 127, 128, 137, 254, 255] {
            assert_eq!(session.docker(&["run", "--rm", "busybox", "sh", "-c", &format!("exit {code}")]).code, code);
        }
        // A signal's is 128 more. (Pid 1 does not kill itself: the kernel ignores that.)
        assert_eq!(session.docker(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code, 137);
    }

    fn every_code_from_0_to_255(session: &Session) {
        session.pull("busybox");
        // One container, one exec a code: the codes are the subject, not the start.
        session.docker(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        for code in 0..=255 {
            assert_eq!(session.docker(&["exec", "cc", "sh", "-c", &format!("exit {code}")]).code, code);
        }
    }

    fn the_engines_own_codes(session: &Session) {
        session.pull("busybox");
        let program = session.program();
        let missing = session.docker(&["run", "--rm", "busybox", "no-such-command"]);
        assert!(missing.stderr.contains("exec: \"no-such-command\": executable file not found in $PATH"), "{missing}");
        assert_eq!(missing.code, 127);
        let missing = session.docker(&["run", "--rm", "busybox", "/no/such/file"]);
        assert!(missing.stderr.contains("/no/such/file") && missing.stderr.contains("no such file or directory"), "{missing}");
        assert_eq!(missing.code, 127);
        let denied = session.docker(&["run", "--rm", "busybox", "/etc/passwd"]);
        assert!(denied.stderr.contains("permission denied"), "{denied}");
        assert_eq!(denied.code, 126);
        let directory = session.docker(&["run", "--rm", "busybox", "/etc"]);
        assert_eq!(directory.code, 126, "{directory}");
        let flag = session.docker(&["run", "--no-such-flag", "busybox"]);
        assert!(flag.stderr.contains("unknown flag: --no-such-flag"), "{flag}");
        assert_eq!(flag.code, 125);
        let image = session.docker(&["run", "--pull=never", "127.0.0.1:5000/nothing:here"]);
        assert!(image.stderr.starts_with(&format!("{program}: Error response from daemon: ")), "{image}");
        assert_eq!(image.code, 125);
        assert_eq!(session.docker(&["ps", "-aq"]).ok().lines().count(), 0, "--rm takes what never ran too");
    }

    fn a_failed_start_leaves_a_created_container(session: &Session) {
        session.pull("busybox");
        assert_eq!(session.docker(&["run", "--name", "bad", "busybox", "no-such-command"]).code, 127);
        assert_eq!(session.inspect("bad", "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
        assert_eq!(session.docker(&["start", "bad"]).code, 1);
        session.docker(&["rm", "bad"]).ok();
    }

    fn exec_has_its_own_codes(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        let missing = session.docker(&["exec", "cc", "no-such-command"]);
        assert!(
            missing.stdout.contains("executable file not found in $PATH") || missing.stderr.contains("executable file not found in $PATH"),
            "{missing}"
        );
        assert_eq!(missing.code, 127);
        assert_eq!(session.docker(&["exec", "cc", "/etc/passwd"]).code, 126);
        assert_eq!(session.docker(&["exec", "cc", "sh", "-c", "kill -15 $$"]).code, 143);
        session.docker(&["stop", "-t", "0", "cc"]).ok();
        let stopped = session.docker(&["exec", "cc", "true"]);
        assert!(stopped.stderr.contains("is not running"), "{stopped}");
        assert_eq!(stopped.code, 1);
    }

    fn wait_prints_the_code(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "ww", "busybox", "sh", "-c", "read x; exit 7"]).ok();
        assert_eq!(session.docker(&["wait", "ww"]).ok(), "7");
        assert_eq!(session.docker(&["wait", "ww"]).ok(), "7");
        let missing = session.docker(&["wait", "nobody"]).fails(1);
        assert!(missing.contains("No such container: nobody"), "{missing}");
    }
}
