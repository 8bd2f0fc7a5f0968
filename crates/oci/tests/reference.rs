//! Names, case by case, as Docker reads them.

use lighter_oci::{Digest, Reference};
use proptest::prelude::*;

const HEX: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

#[test]
fn names_are_read_as_docker_does() {
    // What is written; in full; as Docker shows it. `%` stands for a sha256 digest.
    let cases = [
        ("ubuntu", "docker.io/library/ubuntu", "ubuntu"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
        ("library/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
        ("docker.io/library/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
        ("index.docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
        (
            "index.docker.io/library/ubuntu:x",
            "docker.io/library/ubuntu:x",
            "ubuntu:x",
        ),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("me/app:1", "docker.io/me/app:1", "me/app:1"),
        ("a/b/c/d", "docker.io/a/b/c/d", "a/b/c/d"),
        ("localhost/x", "localhost/x", "localhost/x"),
        (
            "localhost/library/x",
            "localhost/library/x",
            "localhost/library/x",
        ),
        ("localhost:5000/x", "localhost:5000/x", "localhost:5000/x"),
        ("LOCALHOST/x", "LOCALHOST/x", "LOCALHOST/x"),
        ("Foo/bar", "Foo/bar", "Foo/bar"),
        ("FOO/bar:T", "FOO/bar:T", "FOO/bar:T"),
        ("host:5000/p", "host:5000/p", "host:5000/p"),
        ("host:5000/p:1", "host:5000/p:1", "host:5000/p:1"),
        ("host:5000/p@%", "host:5000/p@%", "host:5000/p@%"),
        ("host:5000/p:1@%", "host:5000/p:1@%", "host:5000/p:1@%"),
        ("x:5000", "docker.io/library/x:5000", "x:5000"),
        (
            "localhost:5000",
            "docker.io/library/localhost:5000",
            "localhost:5000",
        ),
        ("localhost", "docker.io/library/localhost", "localhost"),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        ("[::1]/x", "[::1]/x", "[::1]/x"),
        ("[2001:db8:3:4::192.0.2.33]/x", "", "invalid reference format"),
        ("[fe80::1%eth0]:5000/x", "", "invalid reference format"),
        ("[]/x", "", "invalid reference format"),
        ("[::1]5000/x", "", "invalid reference format"),
        (
            "127.0.0.1:5000/a/b_c.d-e__f",
            "127.0.0.1:5000/a/b_c.d-e__f",
            "127.0.0.1:5000/a/b_c.d-e__f",
        ),
        ("ghcr.io/o/r", "ghcr.io/o/r", "ghcr.io/o/r"),
        ("a.b/c", "a.b/c", "a.b/c"),
        ("a.b./c", "", "invalid reference format"),
        ("-a.b/c", "", "invalid reference format"),
        ("a-.b/c", "", "invalid reference format"),
        ("xn--n3h.com/x", "xn--n3h.com/x", "xn--n3h.com/x"),
        ("foo_bar.com/x", "foo_bar.com/x", "foo_bar.com/x"),
        ("foo_bar.com:8080/x", "", "invalid reference format"),
        ("host:/x", "", "invalid reference format"),
        ("host:5a/x", "", "invalid reference format"),
        ("ubuntu@%", "docker.io/library/ubuntu@%", "ubuntu@%"),
        ("ubuntu:a@%", "docker.io/library/ubuntu:a@%", "ubuntu:a@%"),
        ("ubuntu@%:a", "", "invalid reference format"),
        ("ubuntu@", "", "invalid reference format"),
        ("ubuntu:", "", "invalid reference format"),
        ("ubuntu:a:b", "", "invalid reference format"),
        ("ubuntu:a b", "", "invalid reference format"),
        ("ubuntu:-a", "", "invalid reference format"),
        ("ubuntu:.a", "", "invalid reference format"),
        ("ubuntu:_a", "docker.io/library/ubuntu:_a", "ubuntu:_a"),
        (
            "ubuntu:A.b-C_9",
            "docker.io/library/ubuntu:A.b-C_9",
            "ubuntu:A.b-C_9",
        ),
        ("ubuntu@sha256:abc", "", "invalid reference format"),
        (
            "ubuntu@sha256:ffffffffffffffffffffffffffffffff",
            "",
            "invalid checksum digest length",
        ),
        (
            "ubuntu@md5:ffffffffffffffffffffffffffffffff",
            "",
            "unsupported digest algorithm",
        ),
        (
            "ubuntu@SHA256:ffffffffffffffffffffffffffffffff",
            "",
            "invalid reference format: repository name (library/ubuntu@SHA256) must be lowercase",
        ),
        ("", "", "invalid reference format"),
        (" ", "", "invalid reference format"),
        (" ubuntu", "", "invalid reference format"),
        ("ubuntu ", "", "invalid reference format"),
        ("ubuntu\n", "", "invalid reference format"),
        ("/", "", "invalid reference format"),
        ("/ubuntu", "", "invalid reference format"),
        ("ubuntu/", "", "invalid reference format"),
        ("a//b", "", "invalid reference format"),
        (":tag", "", "invalid reference format"),
        ("@%", "", "invalid reference format"),
        ("https://x/y", "", "invalid reference format"),
        ("docker.io", "docker.io/library/docker.io", "docker.io"),
        ("docker.io/", "", "invalid reference format"),
        ("docker.io/docker", "docker.io/library/docker", "docker"),
        ("-ubuntu", "", "invalid reference format"),
        ("ubuntu-", "", "invalid reference format"),
        ("u--b", "docker.io/library/u--b", "u--b"),
        ("u-----b", "docker.io/library/u-----b", "u-----b"),
        ("u__b", "docker.io/library/u__b", "u__b"),
        ("u___b", "", "invalid reference format"),
        ("u..b", "", "invalid reference format"),
        ("u._b", "", "invalid reference format"),
        ("u-_b", "", "invalid reference format"),
        ("_u", "", "invalid reference format"),
        ("u_", "", "invalid reference format"),
        (".u", "", "invalid reference format"),
        ("u.", "", "invalid reference format"),
        ("a/-b", "", "invalid reference format"),
        ("a/b-", "", "invalid reference format"),
        ("a..b/c", "", "invalid reference format"),
        (
            "Ubuntu",
            "",
            "invalid reference format: repository name (library/Ubuntu) must be lowercase",
        ),
        (
            "Ubuntu:x",
            "",
            "invalid reference format: repository name (library/Ubuntu) must be lowercase",
        ),
        (
            "me/App",
            "",
            "invalid reference format: repository name (me/App) must be lowercase",
        ),
        (
            "docker.io/Foo/bar",
            "",
            "invalid reference format: repository name (Foo/bar) must be lowercase",
        ),
        (
            "localhost:5000/Foo:1",
            "",
            "invalid reference format: repository name (Foo) must be lowercase",
        ),
        (
            "a/É",
            "",
            "invalid reference format: repository name (a/É) must be lowercase",
        ),
        ("é", "", "invalid reference format"),
        ("a😀", "", "invalid reference format"),
        ("sha256:%", "", "invalid reference format"),
        ("x/%", "docker.io/x/%", "x/%"),
        ("1", "docker.io/library/1", "1"),
        ("1.2.3.4/x", "1.2.3.4/x", "1.2.3.4/x"),
        ("deadbeef", "docker.io/library/deadbeef", "deadbeef"),
        ("a:0", "docker.io/library/a:0", "a:0"),
        ("ubuntu:lat@est", "", "invalid reference format"),
        ("ubuntu@%@%", "", "invalid reference format"),
    ];
    assert!(cases.len() >= 100, "{}", cases.len());
    let digest = format!("sha256:{HEX}");
    for (text, full, familiar) in cases {
        let [text, full, familiar] = [text, full, familiar].map(|part| part.replace('%', &digest));
        match Reference::parse(&text) {
            Ok(reference) => {
                assert_eq!(
                    (reference.to_string(), reference.familiar()),
                    (full, familiar),
                    "{text:?}"
                );
            }
            Err(error) => {
                assert_eq!((String::new(), error.to_string()), (full, familiar), "{text:?}");
            }
        }
    }
}

#[test]
fn an_image_id_is_no_name() {
    let error = Reference::parse(HEX).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings")
    );
    assert!(Reference::parse(&HEX[1..]).is_ok());
    assert!(Reference::parse(&format!("x/{HEX}")).is_ok());
    assert!(Reference::parse(&HEX.to_uppercase()).is_err());
}

#[test]
fn lengths_have_limits() {
    let long = |n: usize| "a".repeat(n);
    assert!(Reference::parse(&format!("h.io/{}", long(255))).is_ok());
    let error = Reference::parse(&format!("h.io/{}", long(256)))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "repository name must not be more than 255 characters");
    // `library/` counts.
    assert!(Reference::parse(&long(248)).is_err());
    assert!(Reference::parse(&format!("x:{}", long(128))).is_ok());
    assert!(Reference::parse(&format!("x:{}", long(129))).is_err());
}

#[test]
fn parts_come_out_as_they_went_in() {
    let reference = Reference::parse(&format!("[::1]:5000/a/b:t@sha256:{HEX}")).unwrap();
    assert_eq!(
        (reference.domain(), reference.path(), reference.tag()),
        ("[::1]:5000", "a/b", Some("t"))
    );
    assert_eq!(reference.digest().map(Digest::encoded), Some(HEX));
    assert_eq!(reference.without_version().to_string(), "[::1]:5000/a/b");
    let plain = Reference::parse("ubuntu").unwrap();
    assert!(plain.is_name_only());
    assert_eq!(plain.clone().or_latest().familiar(), "ubuntu:latest");
    assert_eq!(plain.with_tag("x").unwrap().or_latest().familiar(), "ubuntu:x");
    assert!(plain.with_tag("a/b").is_err());
    assert!(plain.with_digest(Digest::sha256(b"")).or_latest().tag().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,80}") {
        // The answer does not matter, that there is one does.
        let _ = Reference::parse(&text);
    }

    #[test]
    fn what_is_written_is_read_back(
        domain in prop_oneof![Just(String::new()), "[a-z0-9]{1,8}\\.[a-z]{2,3}(:[0-9]{1,5})?/", Just("localhost/".to_owned()), Just("[::1]:5000/".to_owned())],
        path in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,8}){0,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        with_digest: bool,
    ) {
        let mut text = format!("{domain}{path}");
        if let Some(tag) = &tag {
            text.push(':');
            text.push_str(tag);
        }
        if with_digest {
            text.push_str(&format!("@{}", Digest::sha256(path.as_bytes())));
        }
        let reference = Reference::parse(&text).unwrap();
        prop_assert_eq!(reference.tag(), tag.as_deref());
        prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
        prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
    }
}
