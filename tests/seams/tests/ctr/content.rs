//! `ctr content`.

use lighter_seams::Distribution;

use crate::compare::Pair;

/// What both versions of `ctr` have. Everything is kept by a lease, so that no collection comes in between.
const COMMON: &str = r#"
    H=sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    - ctr content fetch --plain-http $R/debian:latest
    - ctr content fetch --plain-http --metadata-only --all-platforms $R/ubuntu:latest
    ctr content ls
    ctr content ls -q
    ctr content ls -q size==405
    ctr content active
    for blob in $(ctr content ls -q); do ctr content get $blob | sha256sum; done
    ! ctr content get sha256:1111111111111111111111111111111111111111111111111111111111111111
    ! ctr content get nothere
    ctr content fetch-object --plain-http $R/busybox:latest
    ctr content fetch-blob --plain-http $I $(ctr content fetch-object --plain-http $I | grep -o 'sha256:[0-9a-f]*' | head -1)
    echo hello | ctr content ingest --expected-size 6 --expected-digest sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 one
    ctr content label sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 containerd.io/gc.root=now a=b
    ctr content label sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 a=
    ctr content ls | grep 5891
    echo hello | ctr content ingest one
    ! echo hello2 | ctr content ingest --expected-size 5 two
    ! echo hello3 | ctr content ingest --expected-digest sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be04 three
    ctr content get sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    ! ctr content edit --editor "sed -i s/hello/bye/" sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    ! ctr content push-object --plain-http $L/one:1 sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 application/octet-stream
    ctr content delete sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    ! ctr content delete sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
    ctr content prune references
    ctr images rm --sync $(ctr images ls -q)
    ctr content ls
"#;

#[test]
fn content_is_handled_as_by_containerd_2() {
    Pair::new(Distribution::Today).compare(COMMON);
}

#[test]
fn content_is_handled_as_by_containerd_1() {
    Pair::new(Distribution::Debian12).compare(COMMON);
}
