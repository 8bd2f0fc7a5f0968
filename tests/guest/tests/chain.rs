//! The whole chain on a machine as most are: pure cgroup v2 and systemd, with the stock client.

use std::process::Command;

use lighter_guest::{Guest, Kind};

const WALK: &str = r#"
mkdir -p /var/lib/walk; mount -t tmpfs walk /var/lib/walk
cat >/tmp/registry.yml <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $LAB/registry}, maintenance: {readonly: {enabled: true}}}
http: {addr: 127.0.0.1:5000}
YML
$CLIENTS/docker-registry serve /tmp/registry.yml >/tmp/registry.log 2>&1 &
PATH=$DIST:$PATH lighterd --registry-mirror=http://127.0.0.1:5000 --host=unix:///run/docker.sock --pidfile=/run/engine.pid \
  --data-root=/var/lib/walk/data --exec-root=/run/lighter >/tmp/log 2>&1 &
docker() { timeout 40 $CLIENTS/docker -H unix:///run/docker.sock "$@"; }
n=0; until docker version >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 100 ] || { cat /tmp/log; exit 1; }; sleep 0.1; done
docker pull -q busybox
docker run --rm --network none busybox cat /proc/self/cgroup
docker run -d --name walk --network none -m 64m --pids-limit 33 --cpus 0.5 busybox \
  sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done' >/dev/null
docker exec walk sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max cpu.max'
docker pause walk; docker inspect -f '{{.State.Status}}' walk; docker unpause walk
docker stop walk; docker inspect -f '{{.State.ExitCode}}' walk; docker rm walk
docker run --name full --network none -m 16m --memory-swap 16m busybox dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null
echo $?; docker inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' full
"#;

#[test]
fn containers_live_and_die_under_systemd_and_cgroup_v2() {
    let clients = tempfile::tempdir_in(lighter_harness::lab()).expect("a directory for the clients");
    // Their own directory would hide the guest's programs, one in /tmp be hidden by the guest's tmpfs.
    let copied = Command::new("sh")
        .args([
            "-c",
            "for p in docker docker-registry; do cp -L \"$(command -v $p)\" \"$0\" || exit 1; done",
        ])
        .arg(clients.path())
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "docker and docker-registry are on the machine"
    );
    let (lab, dist) = (lighter_harness::lab(), lighter_harness::dist());
    let script = format!(
        "LAB={} DIST={} CLIENTS={}{WALK}",
        lab.display(),
        dist.display(),
        clients.path().display()
    );
    let guest = Guest::new(Kind::Systemd)
        .sees(clients.path())
        .sees(lab.join("registry"));
    let ran = guest.sees(dist).run(&script);
    let expected = [
        "docker.io/library/busybox:latest",
        "0::/",
        "67108864",
        "33",
        "50000 100000",
        "walk",
        "paused",
        "walk",
        "walk",
        "3",
        "walk",
        "137",
        "true 137",
    ];
    assert_eq!(ran.output.lines().collect::<Vec<_>>(), expected, "{}", ran.output);
}
