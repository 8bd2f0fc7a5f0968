//! `ctr snapshots`.

use lighter_seams::Distribution;

use crate::compare::Pair;

/// What both versions of `ctr` have. `prepare` hangs a label on what it makes, so that no
/// collection takes it. That the root's own entry is in our layers and not in theirs is meant.
const COMMON: &str = r#"
    - ctr images pull --plain-http $I
    ctr snapshots ls
    ctr snapshots tree
    ctr snapshots usage
    ctr snapshots usage -b
    ctr snapshots ls | awk 'NR==2{print $1}' >chain; cat chain
    ctr snapshots info $(cat chain) | grep -v -e ref -e Labels -e "}"
    ctr snapshots info nothere
    ctr snapshots info
    ctr snapshots prepare a $(cat chain)
    ctr snapshots prepare a $(cat chain)
    ctr snapshots prepare b nothere
    ! ctr snapshots prepare b a
    ctr snapshots prepare --target /mnt b
    ctr snapshots prepare
    ctr snapshots mounts /mnt a
    ctr snapshots mounts /mnt nothere
    ! ctr snapshots mounts /mnt $(cat chain)
    ctr snapshots info a | grep -v gc.root
    ctr snapshots label a x=y
    ctr snapshots label a x=
    ctr snapshots label nothere x=y
    mkdir m; ctr snapshots mounts $PWD/m a | sh && ls m && mkdir m/d && echo new >m/d/f && rm m/bin/cat && ln m/d/f m/d/g && touch -h -d @1 m/d/f m/d m/bin m; umount m
    ctr snapshots usage a b
    ctr snapshots diff a | gzip -dc | tar t --numeric-owner --full-time -v | sed "/ \\.\/$/d; /wh/s/20..-.*:.. /TIME /; /wh/s/1970.*:.. /TIME /"
    ctr snapshots diff --media-type application/vnd.oci.image.layer.v1.tar a | tar t | grep -vx ./
    ctr snapshots diff --media-type application/vnd.oci.image.layer.v1.tar $(cat chain) | tar t | grep -vx ./ | sort | head -20
    ctr snapshots diff --media-type application/vnd.oci.image.layer.v1.tar $(cat chain) a | tar t | grep -vx ./
    ! ctr snapshots diff --media-type text/plain a
    ctr snapshots diff nothere
    - ctr snapshots diff --keep --label containerd.io/gc.root=now --label k=v --ref one --media-type application/vnd.oci.image.layer.v1.tar b >kept.tar
    tar tf kept.tar | grep -vx ./
    ctr content ls | grep -c k=v
    ctr snapshots commit c a
    ctr snapshots commit c b
    ctr snapshots commit d nothere
    ! ctr snapshots commit d c
    ctr snapshots commit
    ctr snapshots prepare d c
    # Nothing keeps a view, and either may collect just then.
    for i in $(seq 20); do ctr snapshots view v c && ctr snapshots label v containerd.io/gc.root=now && break; done >/dev/null 2>&1; ctr snapshots usage v && ctr snapshots info v && ctr snapshots mounts /mnt v && ctr snapshots ls; ctr snapshots rm v
    ctr snapshots view v nothere
    ctr snapshots tree
    ctr snapshots ls
    ctr snapshots rm c
    ctr snapshots rm nothere
    ctr snapshots rm d c b
    ctr snapshots ls
    ctr snapshots unpack --snapshotter overlayfs $(ctr images ls | awk 'NR==2{print $3}')
    ctr snapshots unpack sha256:1111111111111111111111111111111111111111111111111111111111111111
    ! ctr snapshots unpack nothere
    ! ctr snapshots --snapshotter nothere ls
    ! ctr snapshots --snapshotter nothere prepare x
    ctr images rm --sync $(ctr images ls -q)
    ctr snapshots ls
"#;

#[test]
fn snapshots_are_handled_as_by_containerd_2() {
    Pair::new(Distribution::Today).compare(COMMON);
}

#[test]
fn snapshots_are_handled_as_by_containerd_1() {
    Pair::new(Distribution::Debian12).compare(COMMON);
}
