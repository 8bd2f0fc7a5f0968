//! `ctr images`.

use lighter_seams::Distribution;

use crate::compare::Pair;

/// What both versions of `ctr` have.
const COMMON: &str = r#"
    - ctr images pull --plain-http $I
    ctr images ls
    ctr images ls -q
    ctr images ls name==$I
    ctr images ls name==other
    ctr images check
    ctr images check -q
    ctr images label $I a=b c=d
    ctr images label --replace-all $I x=y
    ctr images label $I x=
    ctr images ls
    ctr images tag $I t:1
    ! ctr images tag $I t:1
    ctr images tag --force $I t:1 t:2
    ! ctr images tag nothere t:3
    ! ctr images rm t:2 nothere
    ctr images ls -q
    mkdir -p m; ctr images mount $I m && ls m; ctr images unmount m; ls m
    ctr images mount --rw $I m && echo x >m/x && ls m/x; ctr images unmount --rm m
    ctr snapshots ls
    ctr images convert --oci $I conv:1
    ctr images convert --uncompress $I conv:2
    ctr images convert --uncompress --oci $I conv:3
    ctr images check -q
    - ctr images push --plain-http $L/bb:1 $I
    - ctr images push --plain-http $L/bb:1 $I
    - ctr images push --plain-http $L/conv:3 conv:3
    - ctr images pull --plain-http $L/conv:3
    ctr images ls
    ! ctr images push --plain-http $L/bb:2 nothere
    ! ctr images push --plain-http 127.0.0.1:1/x:1 $I
    ! ctr images pull --plain-http $R/nothere:1
    - ctr images pull --plain-http --all-platforms $R/ubuntu:latest
    ctr images ls
    ctr images check
    - ctr images push --plain-http $L/ubuntu:1 $R/ubuntu:latest
    ctr images rm --sync $(ctr images ls -q | grep -v of-)
    ctr images rm --sync $(ctr images ls -q)
    ctr images rm
    ctr images ls
    ctr content ls
    ctr snapshots ls
    ctr leases ls
"#;

/// What came later.
const TODAY: &str = r#"
    - ctr images pull --plain-http --local $I
    - ctr images pull --plain-http $R/alpine:latest
    ctr images check
    ctr images inspect $I | sort
    ctr images inspect --content $I | sort
    ctr images usage $I
    ctr images tag --local --force $I t:1 t:2
    - ctr images push --plain-http --local $L/local:1 $I
    - ctr images pull --plain-http --platform linux/amd64 --skip-metadata $R/ubuntu:latest
    ctr images ls
    ctr content ls -q
    # The other platform's manifest and config come along.
    - ctr images pull --plain-http --platform linux/amd64 $R/ubuntu:latest
    ctr content ls -q
    ctr images check
    ctr images pull --plain-http --print-chainid --local $I | grep chain
    ctr images rm --sync $(ctr images ls -q)
    ctr content ls
    ctr snapshots ls
"#;

#[test]
fn images_are_handled_as_by_containerd_2() {
    let pair = Pair::new(Distribution::Today);
    pair.compare(COMMON);
    pair.compare(TODAY);
}

#[test]
fn images_are_handled_as_by_containerd_1() {
    Pair::new(Distribution::Debian12).compare(COMMON);
}
