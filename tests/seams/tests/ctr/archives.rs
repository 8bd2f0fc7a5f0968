//! `ctr images import` and `export`, and what others make of our archives and we of theirs.

use lighter_seams::Distribution;

use crate::compare::Pair;

/// What `ctr` does with archives.
const COMMON: &str = r#"
    - ctr images pull --plain-http $I
    - ctr images pull --plain-http --all-platforms $R/ubuntu:latest
    # The bytes of the archive are the same.
    ctr images export x.tar $I && sha256sum <x.tar
    ctr images export - $I | tar t
    ctr images export --skip-manifest-json y.tar $I && sha256sum <y.tar
    ctr images export --platform linux/arm64 arm.tar $R/ubuntu:latest && sha256sum <arm.tar
    ctr images export --all-platforms all.tar $R/ubuntu:latest && sha256sum <all.tar
    ctr images export two.tar $I $R/ubuntu:latest && tar xOf two.tar index.json
    ! ctr images export z.tar nothere
    ! ctr images export --platform linux/s390x z.tar $R/ubuntu:latest
    ctr images rm --sync $(ctr images ls -q)
    ! ctr images import --base-name foo/bar x.tar
    ctr images ls
    ! ctr images import x.tar
    ctr images ls
    ! ctr images import --base-name foo/bar --digests x.tar
    ! ctr images import --index-name idx --no-unpack --all-platforms all.tar
    ctr images ls
    ctr images check
    ctr content ls
    ctr snapshots ls
    ! ctr images import /dev/null
    ! head -c 100000 /dev/zero | ctr images import -
    ! head -c 300000 x.tar | ctr images import -
    ! gzip -c x.tar | ctr images import -
    ctr images rm --sync $(ctr images ls -q)
    # As docker save writes.
    mkdir d; tar -C /mnt/busybox --sort=name --mtime=@0 -cf d/layer.tar . ; mkdir d/x; ln -s ../layer.tar d/x/layer.tar
    D=$(sha256sum d/layer.tar | cut -d' ' -f1); echo '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:'$D'"]}}' >d/c.json
    echo '[{"Config":"c.json","RepoTags":["bb:1","example.com/bb:2"],"Layers":["x/layer.tar"]}]' >d/manifest.json
    tar -C d -cf saved.tar c.json layer.tar manifest.json x
    ! ctr images import saved.tar
    ctr images ls
    ctr images check
    # Nothing names the archive's index: it goes.
    ctr images tag bb:1 x; ctr images tag docker.io/library/bb:1 x; ctr images rm --sync x; ctr content ls
    ctr images rm --sync $(ctr images ls -q)
    ctr content ls
"#;

/// Of 1.6 alone: `ctr` 2.1 may end before the real containerd's export has reached the file, which is then cut short.
#[test]
fn archives_are_handled_as_by_containerd_1() {
    Pair::new(Distribution::Debian12).compare(COMMON);
}

/// Archives of ours are read by skopeo, Docker and podman, and theirs by us. (`--local`: see above.)
#[test]
fn archives_go_to_and_come_from_others() {
    let pair = Pair::new(Distribution::Today);
    let peer = &pair.peer;
    peer.daemon(
        "dockerd --data-root /var/lib/store/docker --bridge none --iptables=false --cgroup-parent $P",
        "docker version",
    );
    let ctr = "ctr -a /run/lighter/containerd.sock";
    let image = "127.0.0.1:5000/library/busybox:latest";
    peer.ok(&format!(
        "set -e; cd /tmp; {ctr} images pull --plain-http {image}; {ctr} images export --local ours.tar {image}
        skopeo copy oci-archive:ours.tar oci-archive:theirs.tar:example.com/a/b:1
        skopeo copy docker-archive:ours.tar docker-archive:saved.tar:example.com/a/b:2
        docker load -i ours.tar; docker tag {image} c/d:1; docker save -o docker.tar c/d:1 {image}
        podman load -qi ours.tar; podman tag {image} example.com/e:3; podman save -qo podman.tar example.com/e:3"
    ));
    assert_eq!(
        peer.ok("docker run --rm --network none 127.0.0.1:5000/library/busybox:latest echo loaded"),
        "loaded"
    );
    let names = peer.ok(&format!(
        "set -e; cd /tmp; {ctr} images rm --sync {image} >/dev/null
        for archive in theirs saved docker podman; do {ctr} images import $archive.tar >/dev/null; done
        {ctr} images ls -q; {ctr} images check | grep -c 'complete.*true'"
    ));
    let expected = [
        image,
        "docker.io/c/d:1",
        "example.com/a/b:1",
        "example.com/a/b:2",
        "example.com/e:3",
        "5",
    ];
    assert_eq!(names.lines().collect::<Vec<_>>(), expected);
}
