//! `ctr run`, `containers`, `tasks`, and what is small: `namespaces`, `leases`, `oci`, `plugins`, `version`.

use lighter_seams::Distribution;

use crate::compare::Pair;

/// What both versions of `ctr` have. Both have their runtime keep its state in the same place: the names differ.
const COMMON: &str = r#"
    - ctr images pull --plain-http $I
    ctr run --rm --cgroup $P/$W $I a-$W echo hello
    ctr run --rm --cgroup $P/$W $I a-$W sh -c 'exit 3'
    ! ctr run --rm --cgroup $P/$W $I a-$W /nothere
    ! ctr run --rm --cgroup $P/$W nothere a-$W true
    ctr run --rm --cgroup $P/$W --read-only $I a-$W sh -c 'touch /x 2>/dev/null || echo refused'
    ctr run --rm --cgroup $P/$W --cwd /tmp --env A=b $I a-$W sh -c 'pwd; echo $A; hostname'
    printf 'C=d\nE=f g\n' >env; ctr run --rm --cgroup $P/$W --env-file env $I a-$W sh -c 'echo $C $E'
    ctr run --rm --cgroup $P/$W --user 1000:1001 $I a-$W id
    ctr run --rm --cgroup $P/$W --privileged $I a-$W grep Cap /proc/self/status
    ctr run --rm --cgroup $P/$W --no-pivot $I a-$W true
    ctr run --rm --cgroup $P/$W --mount type=bind,src=/mnt/busybox,dst=/mnt,options=rbind:ro $I a-$W ls /mnt/bin/busybox
    ctr run --rm --cgroup $P/$W --net-host $I a-$W cat /proc/net/dev | cut -d: -f1
    ctr run --rm --cgroup $P/$W --memory-limit 33554432 $I a-$W cat /proc/self/cgroup | grep memory | sed 's#/lt[^/]*.*##'
    ctr run --rm --cgroup $P/$W --cpus 0.5 $I a-$W true
    ctr run --rm --cgroup $P/$W --pid-file pid --null-io $I a-$W true && test -s pid
    ctr run --rm --cgroup $P/$W --log-uri file://$PWD/log $I a-$W echo logged && cat log
    ctr run --rm --cgroup $P/$W --rootfs /mnt/busybox a-$W echo rootfs
    ctr run --rm --cgroup $P/$W --snapshotter overlayfs --label x=y $I a-$W true
    ctr run --rm --cgroup $P/$W --allow-new-privs --cap-drop CAP_CHOWN --cap-add CAP_SYS_ADMIN $I a-$W grep CapEff /proc/self/status
    ctr run --rm --cgroup $P/$W --with-ns pid:/proc/1/ns/pid $I a-$W true
    ctr run --rm --cgroup $P/$W --seccomp $I a-$W grep Seccomp: /proc/self/status
    ctr run --rm --cgroup $P/$W --device /dev/fuse $I a-$W ls /dev/fuse
    ctr run --rm --cgroup $P/$W --oom-score-adj 100 --hostname other $I a-$W sh -c 'hostname; cat /proc/self/oom_score_adj'
    ctr run --rm --cgroup $P/$W --uidmap 0:1000:5000 --gidmap 0:1000:5000 $I a-$W cat /proc/self/uid_map
    ctr run --rm --cgroup $P/$W --runtime io.containerd.runc.v2 $I a-$W echo v2
    ! ctr run --rm --cgroup $P/$W --runtime io.containerd.nothere.v1 $I a-$W true
    ! ctr run --rm --cgroup $P/$W --snapshotter nothere $I a-$W true
    ctr run -d --cgroup $P/$W $I b-$W sleep 1000
    ctr run -d --cgroup $P/$W $I b-$W true
    ctr containers ls
    ctr containers ls -q
    ctr containers info b-$W | grep -v -e At -e ROOT -e cgroupsPath -e '"com' | head -20
    ctr containers label b-$W x=y
    ctr containers rm b-$W
    ctr tasks ls -q
    ctr tasks exec --exec-id e b-$W echo joined
    ctr tasks exec --exec-id e --cwd /tmp --user 5 b-$W sh -c 'pwd; id -u'
    ctr tasks exec --exec-id e b-$W sh -c 'exit 4'
    ! ctr tasks exec --exec-id e b-$W /nothere
    ctr tasks exec --exec-id e -d b-$W true
    ctr tasks exec b-$W true
    ctr tasks exec --exec-id e nothere true
    ctr tasks ps b-$W | wc -l
    ctr tasks ps nothere
    ctr tasks metrics b-$W >/dev/null
    ctr tasks metrics --format json b-$W >/dev/null
    ctr tasks metrics nothere
    ctr tasks pause b-$W; ctr tasks ls | awk '{print $1, $3}'; ctr tasks resume b-$W
    ctr tasks pause nothere
    # Whose words it has is the shim's matter.
    ! ctr tasks resume b-$W
    ctr tasks start b-$W
    ctr tasks start nothere
    ctr tasks rm b-$W
    ctr tasks rm nothere
    ! ctr tasks kill -s NOTHERE b-$W
    ctr tasks kill nothere
    ctr tasks kill -s 9 b-$W; for i in $(seq 100); do ctr tasks ls | grep -q STOPPED && break; sleep 0.05; done; ctr tasks ls | awk '{print $1, $3}'
    ctr tasks kill -s KILL b-$W
    ctr tasks rm b-$W
    ctr containers rm b-$W
    ctr containers create $I c-$W echo from create
    ctr containers create $I c-$W echo from create
    ctr containers create nothere d true
    ctr containers ls
    ! ctr tasks attach c-$W
    ctr containers rm c-$W nothere
    ctr containers rm
    ctr containers ls
    ctr tasks ls
    ctr snapshots ls | wc -l
    ctr namespaces create one a=b; ctr namespaces create one; ctr namespaces label one c=d; ctr namespaces ls
    ctr -n one images tag --force nothere x
    ctr namespaces rm one two
    ctr namespaces ls -q
    ctr leases create --id l -x 1h a=b; ctr leases create --id l; ctr leases ls -q; ctr leases ls | grep -c a=b; ctr leases rm l; ctr leases rm l; ctr leases ls
    ctr oci spec | sha256sum
    ~ ctr version | sed -n '1,3p'
    ctr plugins ls | awk '/grpc.v1/{print $1, $2}' | grep -w -e containers -e content -e diff -e events -e healthcheck -e images -e introspection -e leases -e namespaces -e snapshots -e tasks -e version | grep -v cri | sort
    ctr plugins ls id==content | awk '{print $1, $2}'
    ! ctr install nothere
    ! ctr pprof goroutines
"#;

/// What came later.
const TODAY: &str = r#"
    ctr info | grep -c -e uuid -e plugins
    ctr deprecations list
    ctr deprecations list --format json
    ctr sandboxes ls
    ! ctr sandboxes rm nothere
    ctr oci spec --platform windows/amd64 | sha256sum
    ctr images prune --all
    ctr images ls
"#;

#[test]
fn containers_are_handled_as_by_containerd_2() {
    let pair = Pair::new(Distribution::Today);
    pair.compare(COMMON);
    pair.compare(TODAY);
}

#[test]
fn containers_are_handled_as_by_containerd_1() {
    Pair::new(Distribution::Debian12).compare(COMMON);
}
