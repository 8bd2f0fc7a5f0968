//! buildah runs each step of a build in a container.

use lighter_seams::{Distribution, Peer};

fn walk(distribution: Distribution) {
    let peer = Peer::new(distribution);
    let buildah = "buildah --log-level error";
    let isolation = "--isolation oci --runtime /usr/sbin/runc --network none --cgroup-parent $P";
    peer.ok(&format!(
        "set -e; mkdir /tmp/b; cd /tmp/b; tar -C /mnt/busybox -cf root.tar .
        printf 'FROM scratch\\nADD root.tar /\\nENV A=b\\nRUN echo $A >/made\\nRUN id -u >>/made\\n' >Dockerfile
        {buildah} build {isolation} -q -t made . >/dev/null"
    ));
    let run = |rest: &str| {
        format!(
            "c=$({buildah} from --network none made) && {buildah} run --isolation oci --runtime /usr/sbin/runc $c {rest}; r=$?; {buildah} rm $c >/dev/null; exit $r"
        )
    };
    assert_eq!(peer.ok(&run("cat /made")), "b\n0");
    let failed = peer.sh(&run("sh -c 'exit 8'"));
    assert_eq!(failed.code, 8, "{failed}");
    let missing = peer.sh(&run("nope"));
    assert!(
        missing.stderr.contains("executable file not found in $PATH"),
        "{missing}"
    );
    peer.is_clean();
}

#[test]
fn buildah_of_today_builds_with_our_runtime() {
    walk(Distribution::Today);
}

#[test]
fn buildah_of_debian_12_builds_with_our_runtime() {
    walk(Distribution::Debian12);
}
