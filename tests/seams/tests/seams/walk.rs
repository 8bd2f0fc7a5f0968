//! What every engine with Docker's words on its command line does with containers.

use lighter_harness::eventually;
use lighter_seams::Peer;

/// Plays a container's life. `engine`: its client; `options`: more for `run`.
pub(crate) fn walk(peer: &Peer, engine: &str, options: &str) {
    let e = |words: &str| format!("{engine} {words}");
    let run = |flags: &str, rest: &str| format!("{engine} run {flags} {options} busybox {rest}");
    peer.ok(&format!("tar -C /mnt/busybox -c . | {}", e("import - busybox")));

    assert_eq!(peer.ok(&run("--rm", "echo hello")), "hello");
    assert_eq!(peer.sh(&run("--rm", "sh -c 'exit 7'")).code, 7);
    assert_eq!(
        peer.ok(&format!("echo typed | {}", run("--rm -i", "cat"))),
        "typed"
    );
    let tty = peer.ok(&run("--rm -t", "tty"));
    assert!(tty.starts_with("/dev/"), "{tty}");
    limits(peer, &e, &run);
    identity(peer, &run);
    failures(peer, &run);
    ends(peer, &e, &run);
}

fn limits(peer: &Peer, e: &dyn Fn(&str) -> String, run: &dyn Fn(&str, &str) -> String) {
    let limits = "--memory 64m --cpu-shares 512 --pids-limit 50 --cpuset-cpus 0";
    let trap = "sh -c 'trap \"echo bye; exit 5\" TERM; while :; do sleep 0.1; done'";
    peer.ok(&run(&format!("-d --name one {limits}"), trap));
    let read = |file: &str| peer.ok(&e(&format!("exec one cat /sys/fs/cgroup/{file}")));
    assert_eq!(read("memory/memory.limit_in_bytes"), "67108864");
    assert_eq!(read("cpu/cpu.shares"), "512");
    assert_eq!(read("pids/pids.max"), "50");
    assert_eq!(read("cpuset/cpuset.cpus"), "0");
    peer.ok(&e("update --memory 32m --memory-swap 64m one"));
    assert_eq!(read("memory/memory.limit_in_bytes"), "33554432");

    assert_eq!(peer.sh(&e("exec one sh -c 'exit 3'")).code, 3);
    assert_eq!(
        peer.ok(&e(
            "exec --user 1000:1001 --env A=b --workdir /tmp one sh -c 'id -u; id -g; echo $A; pwd'"
        )),
        "1000\n1001\nb\n/tmp"
    );
    let tty = peer.ok(&e("exec -t one tty"));
    assert!(tty.starts_with("/dev/"), "{tty}");
    assert!(peer.ok(&e("top one")).contains("sleep"));

    let status = || peer.ok(&e("inspect -f '{{.State.Status}}' one"));
    peer.ok(&e("pause one"));
    assert_eq!(status(), "paused");
    assert_ne!(peer.sh(&e("exec one true")).code, 0);
    peer.ok(&e("unpause one"));
    assert_eq!(status(), "running");

    peer.ok(&e("stop -t 20 one"));
    assert_eq!(peer.ok(&e("inspect -f '{{.State.ExitCode}}' one")), "5");
    assert_eq!(peer.ok(&e("logs one")), "bye");
    peer.ok(&e("start one"));
    assert_eq!(status(), "running");
    peer.ok(&e("rm -f one"));
}

fn identity(peer: &Peer, run: &dyn Fn(&str, &str) -> String) {
    assert_eq!(
        peer.ok(&run(
            "--rm --user 1000:1000 --read-only --cap-drop all --hostname h --workdir /etc --tmpfs /scratch",
            "sh -c 'id -u; hostname; pwd; touch /x 2>/dev/null || echo read-only; grep CapEff /proc/self/status; \
             grep -c \" /scratch tmpfs \" /proc/mounts'",
        )),
        "1000\nh\n/etc\nread-only\nCapEff:\t0000000000000000\n1"
    );
    assert_eq!(
        peer.ok(&run(
            "--rm --ulimit nofile=123:456 --ulimit nproc=1000:1000 --sysctl net.ipv4.ip_forward=1 -v /mnt:/given:ro",
            "sh -c 'ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward; ls /given; touch /given/x 2>/dev/null || echo ro'",
        )),
        "123\n456\n1\nbusybox\nro"
    );
    // As both engines give it, and as the kernel shows it.
    let text = peer.ok(&run(
        "--rm --security-opt no-new-privileges",
        "grep -e NoNewPrivs -e Seccomp: /proc/self/status",
    ));
    assert_eq!(text, "NoNewPrivs:\t1\nSeccomp:\t2");
    assert_eq!(
        peer.ok(&run(
            "--rm --privileged",
            "sh -c 'mount -t tmpfs t /tmp && echo mounted'"
        )),
        "mounted"
    );
}

fn failures(peer: &Peer, run: &dyn Fn(&str, &str) -> String) {
    let missing = peer.sh(&run("--rm", "nope"));
    assert!(
        missing.stderr.contains("executable file not found in $PATH"),
        "{missing}"
    );
    assert_eq!(missing.code, 127, "{missing}");
    let directory = peer.sh(&run("--rm", "/etc"));
    assert!(directory.stderr.contains("permission denied"), "{directory}");
    assert_eq!(directory.code, 126, "{directory}");
}

fn ends(peer: &Peer, e: &dyn Fn(&str) -> String, run: &dyn Fn(&str, &str) -> String) {
    peer.ok(&run("-d --name two", "sleep 1000"));
    peer.ok(&e("kill two"));
    assert_eq!(peer.ok(&e("wait two")), "137");
    peer.ok(&e("rm two"));

    peer.sh(&run("--name oom --memory 16m", "sh -c 'tail /dev/zero'"));
    eventually("the OOM kill is told", || {
        let state = peer.ok(&e("inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' oom"));
        // podman 4 on v1 has only the code.
        state.starts_with("137").then_some(())
    });
    peer.ok(&e("rm oom"));
}
