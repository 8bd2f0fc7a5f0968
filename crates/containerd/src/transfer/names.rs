//! The names that images get when they come into the store.
//!
//! Semantics: containerd's `ImageStore` (api/types/transfer/imagestore.proto) and its annotations of archives.

use lighter_oci::Descriptor;

use crate::containers::Labels;
use crate::images::Image;
use crate::{Error, Layer, Result};

/// Annotation of a manifest in an archive: the whole name of the image.
const NAME: &str = "io.containerd.image.name";
/// The same: its tag. Source: OCI image-spec, annotations.md.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Names and labels for an image.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Whole names, for what was asked for itself.
    pub whole: Vec<String>,
    /// The same with `@` and the digest.
    pub digests: Vec<String>,
    /// How the images of an archive are named.
    pub prefixes: Vec<Prefix>,
    /// Labels of the records.
    pub labels: Labels,
}

/// How the images of an archive are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// A name without a tag.
    pub name: String,
    /// Whole names in the archive count even if they do not begin with it.
    pub allow_overwrite: bool,
    /// An image gets the name with its digest, too.
    pub add_digest: bool,
    /// Only if it gets no other.
    pub skip_named_digest: bool,
}

impl Names {
    /// The names of what was asked for itself: a pulled image, an archive's index.
    fn of(&self, target: &Descriptor) -> Vec<String> {
        let digests = self.digests.iter();
        let digests = digests.map(|name| format!("{name}@{}", target.digest));
        self.whole.iter().cloned().chain(digests).collect()
    }

    /// The names of an image in an archive.
    pub(crate) fn of_entry(&self, entry: &Descriptor) -> Vec<String> {
        let mut names = Vec::new();
        for prefix in &self.prefixes {
            let named = prefix.named(entry);
            if prefix.add_digest && (named.is_none() || !prefix.skip_named_digest) {
                names.extend(named);
                names.push(format!("{}@{}", prefix.name, entry.digest));
            } else {
                names.extend(named);
            }
        }
        names
    }
}

impl Prefix {
    fn named(&self, entry: &Descriptor) -> Option<String> {
        let annotation = |name| entry.annotations.get(name).filter(|text| !text.is_empty());
        if let Some(name) = annotation(NAME) {
            // A whole name is taken as it is, or not at all.
            return self.translated(name).filter(|translated| translated == name);
        }
        self.translated(annotation(REF_NAME)?)
    }

    /// A tag behind the prefix; a whole name, if it may be taken.
    fn translated(&self, name: &str) -> Option<String> {
        if self.name.is_empty() {
            return None;
        }
        if !name.contains(['/', ':', '@']) {
            return Some(format!("{}:{name}", self.name));
        }
        let rest = name.strip_prefix(&self.name);
        let begins = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
        (self.allow_overwrite || begins).then(|| name.to_owned())
    }
}

impl Layer {
    /// Gives what was asked for its names. There must be one.
    pub(super) async fn name(
        &self,
        namespace: &str,
        names: &Names,
        target: Descriptor,
    ) -> Result<Vec<Image>> {
        let all = names.of(&target);
        if all.is_empty() {
            return Err(Error::not_found("a name for image", target.digest.as_str()));
        }
        self.name_as(namespace, all, names, target).await
    }

    /// Gives the index of an archive, and its entries, the names that they shall have, if any.
    pub(super) async fn name_imported(
        &self,
        namespace: &str,
        names: &Names,
        index: Descriptor,
        entries: Vec<Descriptor>,
    ) -> Result<Vec<Image>> {
        let all = names.of(&index);
        let mut images = self.name_as(namespace, all, names, index).await?;
        for entry in entries {
            let all = names.of_entry(&entry);
            images.extend(self.name_as(namespace, all, names, entry).await?);
        }
        Ok(images)
    }

    async fn name_as(
        &self,
        namespace: &str,
        all: Vec<String>,
        names: &Names,
        mut target: Descriptor,
    ) -> Result<Vec<Image>> {
        // What a record does not keep, containerd's neither.
        (target.platform, target.urls, target.artifact_type) = (None, Vec::new(), None);
        let mut images = Vec::with_capacity(all.len());
        for name in all {
            let labels = names.labels.clone();
            let put = self.images().put(namespace, &name, labels, target.clone());
            images.push(put.await?);
        }
        Ok(images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lighter_oci::Digest;

    fn check(prefix: &str, flags: [bool; 3], annotations: &[(&str, &str)], expected: &[&str]) {
        let mut entry = Descriptor::new("m", Digest::sha256(b"x"), 1);
        let annotations = annotations
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        entry.annotations = annotations.collect();
        let names = Names {
            prefixes: vec![Prefix {
                name: prefix.to_owned(),
                allow_overwrite: flags[0],
                add_digest: flags[1],
                skip_named_digest: flags[2],
            }],
            ..Names::default()
        };
        let digest = entry.digest.to_string();
        let found: Vec<_> = names.of_entry(&entry);
        let found: Vec<_> = found.iter().map(|name| name.replace(&digest, "D")).collect();
        assert_eq!(found, expected, "{prefix} {flags:?}");
    }

    #[test]
    fn a_tag_goes_behind_the_prefix() {
        check("a/b", [false; 3], &[(REF_NAME, "1")], &["a/b:1"]);
        check("", [true; 3], &[(REF_NAME, "1")], &["@D"]);
    }

    #[test]
    fn a_whole_name_counts_where_it_may() {
        let whole = [(NAME, "c/d:1"), (REF_NAME, "1")];
        check("a/b", [false; 3], &whole, &[]);
        check("a/b", [true, false, false], &whole, &["c/d:1"]);
        check("c/d", [false; 3], &whole, &["c/d:1"]);
        check("c/", [false; 3], &whole, &[]);
        // A tag in the place of a whole name is none.
        check("a/b", [true, false, false], &[(NAME, "1")], &[]);
    }

    #[test]
    fn a_digest_is_added_as_asked_for() {
        check(
            "a/b",
            [true, true, false],
            &[(NAME, "c/d:1")],
            &["c/d:1", "a/b@D"],
        );
        check("a/b", [true, true, true], &[(NAME, "c/d:1")], &["c/d:1"]);
        check("a/b", [true, true, true], &[], &["a/b@D"]);
        check("a/b", [false; 3], &[], &[]);
    }
}
