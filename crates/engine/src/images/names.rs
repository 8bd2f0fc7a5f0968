//! The names of records: references, and ours for images that have lost theirs.

use lighter_oci::{Digest, Reference};

use super::Record;

/// What the records of images without a name begin with; behind it comes the target's digest. dockerd names them so too.
const DANGLING: &str = "moby-dangling@";

/// The label of a record that `tag` made.
pub(crate) const LOCAL: &str = "io.lighter.image.local";

/// The name of the record that keeps an image without a name.
pub(crate) fn dangling(target: &Digest) -> String {
    format!("{DANGLING}{target}")
}

/// Whether a record keeps an image without a name.
pub(crate) fn is_dangling(name: &str) -> bool {
    name.starts_with(DANGLING)
}

/// Registry and repository in a record's name, or `None` when it is no reference.
pub(crate) fn repository(name: &str) -> Option<&str> {
    if is_dangling(name) {
        return None;
    }
    let name = name.split('@').next()?;
    Some(match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    })
}

/// `RepoTags` and `RepoDigests` of an image with these records.
pub(crate) fn shown(records: &[Record]) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for record in records.iter().filter(|record| !is_dangling(&record.name)) {
        let Ok(reference) = Reference::parse(&record.name) else {
            continue;
        };
        if reference.tag().is_some() {
            tags.push(reference.without_digest_text());
        }
        if !record.local {
            digests.push(
                reference
                    .without_version()
                    .with_digest(record.target.clone())
                    .familiar(),
            );
        }
    }
    tags.sort_unstable();
    digests.sort_unstable();
    digests.dedup();
    (tags, digests)
}

/// What the reference crate does not say yet.
trait Tagged {
    /// `busybox:1`, whatever digest stands behind it.
    fn without_digest_text(&self) -> String;
}

impl Tagged for Reference {
    fn without_digest_text(&self) -> String {
        match self.tag() {
            Some(tag) => format!("{}:{tag}", self.familiar_name()),
            None => self.familiar_name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    const TARGET: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn record(name: &str, local: bool) -> Record {
        Record {
            name: name.into(),
            target: TARGET.parse().unwrap(),
            local,
            created: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn names_are_shown_as_docker_shows_them() {
        let records = [
            record("docker.io/library/busybox:latest", false),
            record("docker.io/library/busybox:1", false),
            record("127.0.0.1:5000/a/b:x", true),
            record(&format!("docker.io/me/app@{TARGET}"), false),
            record(&dangling(&TARGET.parse().unwrap()), false),
        ];
        let (tags, digests) = shown(&records);
        assert_eq!(tags, ["127.0.0.1:5000/a/b:x", "busybox:1", "busybox:latest"]);
        assert_eq!(digests, [format!("busybox@{TARGET}"), format!("me/app@{TARGET}")]);
    }

    #[test]
    fn the_repository_is_what_stands_before_tag_and_digest() {
        for (name, expected) in [
            (
                "docker.io/library/busybox:latest",
                Some("docker.io/library/busybox"),
            ),
            ("127.0.0.1:5000/a", Some("127.0.0.1:5000/a")),
            ("127.0.0.1:5000/a:1@sha256:00", Some("127.0.0.1:5000/a")),
            ("moby-dangling@sha256:00", None),
        ] {
            assert_eq!(repository(name), expected);
        }
    }
}
