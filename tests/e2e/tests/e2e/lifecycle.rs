//! From create to remove.

use std::time::Instant;

use lighter_harness::{Session, eventually, sessions};

sessions! {
    fn a_file_survives_stop_and_start(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "persi", "busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]).ok();
        session.docker(&["exec", "persi", "sh", "-c", "echo foobar >/tmp/newfile.txt"]).ok();
        assert_eq!(session.docker(&["stop", "persi"]).ok(), "persi");
        assert_eq!(session.inspect("persi", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
        assert_eq!(session.docker(&["ps", "-q"]).ok(), "");
        assert!(session.docker(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).ok().starts_with("persi Exited (0) "));
        assert_eq!(session.docker(&["start", "persi"]).ok(), "persi");
        assert_eq!(session.docker(&["exec", "persi", "cat", "/tmp/newfile.txt"]).ok(), "foobar");
        session.docker(&["rm", "-f", "persi"]).ok();
        assert_eq!(session.docker(&["ps", "-aq"]).ok(), "");
    }

    fn stop_kills_after_the_grace_period(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]).ok();
        let begin = Instant::now();
        session.docker(&["stop", "--time", "1", "deaf"]).ok();
        assert!(begin.elapsed().as_secs_f64() >= 1.0);
        assert_eq!(session.inspect("deaf", "{{.State.ExitCode}}"), "137");
        session.docker(&["run", "-d", "--name", "polite", "busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"]).ok();
        // The trap is set as the shell's first act; a signal before it would be ignored by pid 1, and the code be 137.
        eventually("the trap is set", || {
            let mask = session.docker(&["exec", "polite", "grep", "SigCgt", "/proc/1/status"]).ok();
            (u64::from_str_radix(mask.split_whitespace().last()?, 16).ok()? & 1 << 14 != 0).then_some(())
        });
        session.docker(&["stop", "polite"]).ok();
        assert_eq!(session.inspect("polite", "{{.State.ExitCode}}"), "3");
        // Stopping what is stopped is no error.
        assert_eq!(session.docker(&["stop", "polite"]).ok(), "polite");
    }

    fn kill_sends_a_signal(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "kk", "busybox", "sleep", "1000"]).ok();
        assert_eq!(session.docker(&["kill", "kk"]).ok(), "kk");
        assert_eq!(session.docker(&["wait", "kk"]).ok(), "137");
        let error = session.docker(&["kill", "kk"]).fails(1);
        assert!(error.contains("is not running"), "{error}");
        session.docker(&["start", "kk"]).ok();
        let error = session.docker(&["kill", "-s", "NOSUCH", "kk"]).fails(1);
        assert!(error.to_lowercase().contains("invalid signal"), "{error}");
    }

    fn rm_refuses_a_running_container(session: &Session) {
        session.pull("busybox");
        let id = session.docker(&["run", "-d", "--name", "rr", "busybox", "sleep", "1000"]).ok();
        assert_eq!(id.len(), 64);
        let error = session.docker(&["rm", "rr"]).fails(1);
        assert!(error.contains("container is running: stop the container before removing or force remove"), "{error}");
        assert_eq!(session.docker(&["rm", "-f", &id[..8]]).ok(), &id[..8]);
        let error = session.docker(&["inspect", "rr"]).fails(1);
        assert!(error.to_lowercase().contains("no such object: r"), "{error}");
        // Forced removal of nothing is an error message, but no failure.
        let again = session.docker(&["rm", "-f", "rr"]);
        assert_eq!(again.code, 0, "{again}");
    }

    fn rm_flag_removes_after_exit(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "0.2"]).ok();
        eventually("the container goes by itself", || session.docker(&["ps", "-aq"]).ok().is_empty().then_some(()));
        assert_eq!(session.docker(&["run", "--rm", "--name", "gone", "busybox", "echo", "again"]).ok(), "again");
    }

    fn ps_shows_what_runs(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "web", "-p", "18080:80", "busybox", "sleep", "1000"]).ok();
        session.docker(&["create", "--name", "idle", "busybox", "true"]).ok();
        let table = session.docker(&["ps"]).ok();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        let header = "CONTAINER ID   IMAGE     COMMAND        CREATED";
        assert!(lines[0].starts_with(header) && lines[0].ends_with("NAMES"), "{table}");
        assert!(lines[1].contains("\"sleep 1000\"") && lines[1].contains("Up ") && lines[1].ends_with("web"), "{table}");
        assert!(lines[1].contains("0.0.0.0:18080->80/tcp, [::]:18080->80/tcp"), "{table}");
        let all = session.docker(&["ps", "-a", "--format", "{{.Names}}: {{.State}}"]).ok();
        assert_eq!(all, "idle: created\nweb: running");
        assert_eq!(session.docker(&["ps", "-a", "--filter", "name=idle", "--format", "{{.Image}} {{.Command}}"]).ok(), "busybox \"true\"");
    }

    fn names_are_unique_and_valid(session: &Session) {
        session.pull("busybox");
        let id = session.docker(&["create", "--name", "one", "busybox"]).ok();
        let error = session.docker(&["create", "--name", "one", "busybox"]).fails(1);
        assert!(error.contains(&format!(
            "Conflict. The container name \"/one\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
        )), "{error}");
        let error = session.docker(&["create", "--name", "-bad-", "busybox"]).fails(1);
        assert!(error.contains("Invalid container name (-bad-), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"), "{error}");
        session.docker(&["create", "busybox"]).ok();
        let name = session.docker(&["ps", "-a", "--latest", "--format", "{{.Names}}"]).ok();
        assert!(name.contains('_'), "{name}");
        session.docker(&["rename", "one", "two"]).ok();
        assert_eq!(session.inspect("two", "{{.Id}}"), id);
    }

    fn config_reaches_the_process(session: &Session) {
        session.pull("busybox");
        let output = session.docker(&[
            "run", "--rm", "-e", "A=1", "-w", "/work", "-u", "1000:1001", "--hostname", "boat", "--entrypoint", "sh", "busybox", "-c",
            "echo $A $PWD $(id -u):$(id -g) $(hostname) $PATH",
        ]);
        assert_eq!(output.ok(), "1 /work 1000:1001 boat /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }

    fn limits_reach_the_cgroup(session: &Session) {
        session.pull("busybox");
        session.docker(&["run", "-d", "--name", "cc", "-m", "64m", "--pids-limit", "50", "--cpus", "0.5", "busybox", "sleep", "1000"]).ok();
        assert_eq!(session.inspect("cc", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"), "67108864 500000000");
        let id = session.inspect("cc", "{{.Id}}");
        let read = |controller: &str, file: &str| {
            let path = format!("/sys/fs/cgroup/{controller}{}/{id}/{file}", session.host.cgroup_parent());
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
        };
        assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(read("pids", "pids.max"), "50");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
        session.docker(&["rm", "-f", "cc"]).ok();
    }

    fn a_bind_mount_shows_the_hosts_files(session: &Session) {
        session.pull("busybox");
        let dir = session.host.dir().join("shared");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("in"), "from the host\n").expect("a file");
        let volume = format!("{}:/data", dir.display());
        assert_eq!(session.docker(&["run", "--rm", "-v", &volume, "busybox", "sh", "-c", "cat /data/in; echo back >/data/out"]).ok(), "from the host");
        assert_eq!(std::fs::read_to_string(dir.join("out")).expect("the container's file"), "back\n");
        let read_only = session.docker(&["run", "--rm", "-v", &format!("{volume}:ro"), "busybox", "touch", "/data/no"]);
        assert!(read_only.stderr.contains("Read-only file system"), "{read_only}");
    }
}
