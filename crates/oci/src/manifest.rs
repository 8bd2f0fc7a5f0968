//! Indexes and manifests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::null_is_default;
use crate::{Descriptor, Platform, media_type};

/// An index or manifest list: one image for several platforms. Source: OCI image-spec, image-index.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its media type, when it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, in the author's order of preference.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// Free words.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// The manifest of one image. Source: OCI image-spec, manifest.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its media type, when it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// Free words.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Either of the two, told apart by what is in it and not by what a server called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An index or manifest list.
    Index(Index),
    /// A manifest.
    Manifest(Box<Manifest>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads an index or a manifest. A document that is both is refused (CVE-2021-41190: two readers must not see two
    /// images in one document), and so is one that calls itself the other.
    pub fn parse(json: &[u8]) -> Result<Document, serde_json::Error> {
        use serde::de::Error;
        let shape: Shape = serde_json::from_slice(json)?;
        if shape.schema_version == 1 {
            return Err(Error::custom("manifest schema version 1 is no longer supported"));
        }
        let said = shape.media_type.as_deref().unwrap_or_default();
        match (shape.manifests, shape.config.is_some() || shape.layers.is_some()) {
            (Some(_), true) => Err(Error::custom("the document is an index and a manifest at once")),
            (Some(_), false) if media_type::is_manifest(said) => {
                Err(Error::custom("an index calls itself a manifest"))
            }
            (None, true) if media_type::is_index(said) => {
                Err(Error::custom("a manifest calls itself an index"))
            }
            (Some(_), false) => serde_json::from_slice(json).map(Document::Index),
            (None, true) => {
                serde_json::from_slice(json).map(|manifest| Document::Manifest(Box::new(manifest)))
            }
            (None, false) if media_type::is_index(said) => serde_json::from_slice(json).map(Document::Index),
            (None, false) => Err(Error::custom("neither an index nor a manifest")),
        }
    }

    /// All that it points at directly, in order: manifests; or config, then layers.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Document::Index(index) => index.manifests.iter().collect(),
            Document::Manifest(manifest) => std::iter::once(&manifest.config)
                .chain(&manifest.layers)
                .collect(),
        }
    }
}

impl Index {
    /// The manifests that run on `wanted`, best first; of equals the author's order. A manifest that names no platform is
    /// taken for any, last. Attestations (platform `unknown/unknown`) never match.
    pub fn matching(&self, wanted: &Platform) -> Vec<&Descriptor> {
        let preferences = wanted.preferences();
        let rank = |descriptor: &Descriptor| match &descriptor.platform {
            Some(platform) => preferences
                .iter()
                .position(|candidate| candidate.matches(platform)),
            None => Some(preferences.len()),
        };
        let mut found: Vec<(usize, &Descriptor)> = self
            .manifests
            .iter()
            .filter_map(|manifest| Some((rank(manifest)?, manifest)))
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, manifest)| manifest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn json(fields: &str) -> Vec<u8> {
        format!("{{\"schemaVersion\":2,{fields}}}").into_bytes()
    }

    #[test]
    fn a_document_is_what_is_in_it() {
        let digest = Digest::sha256(b"x");
        let config = format!("\"config\":{{\"mediaType\":\"c\",\"digest\":\"{digest}\",\"size\":1}}");
        assert!(matches!(
            Document::parse(&json("\"manifests\":[]")),
            Ok(Document::Index(_))
        ));
        assert!(matches!(
            Document::parse(&json(&config)),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(
            Document::parse(&json(&format!("{config},\"layers\":null"))),
            Ok(Document::Manifest(_))
        ));
        for bad in [
            format!("{config},\"manifests\":[]"),
            format!("{config},\"mediaType\":\"{}\"", media_type::OCI_INDEX),
            format!(
                "\"manifests\":[],\"mediaType\":\"{}\"",
                media_type::DOCKER_MANIFEST
            ),
            "\"x\":1".into(),
        ] {
            assert!(Document::parse(&json(&bad)).is_err(), "{bad}");
        }
        assert!(
            Document::parse(b"{\"schemaVersion\":1}")
                .unwrap_err()
                .to_string()
                .contains("version 1")
        );
        assert!(Document::parse(b"<html>").is_err());
    }

    #[test]
    fn the_best_platform_comes_first() {
        let entry = |platform: &str| {
            let mut descriptor =
                Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(platform.as_bytes()), 1);
            descriptor.platform = match platform {
                "" => None,
                "unknown/unknown" => Some(Platform::new("unknown", "unknown", "")),
                _ => Some(platform.parse().unwrap()),
            };
            descriptor
        };
        let names = [
            "linux/386",
            "linux/arm/v6",
            "linux/amd64",
            "unknown/unknown",
            "linux/arm64/v8",
            "linux/arm/v7",
            "",
        ];
        let index = Index {
            schema_version: 2,
            media_type: None,
            manifests: names.iter().map(|name| entry(name)).collect(),
            annotations: BTreeMap::new(),
        };
        let check = |wanted: &str, expected: &[&str]| {
            let found: Vec<_> = index
                .matching(&wanted.parse().unwrap())
                .into_iter()
                .map(|d| d.digest.clone())
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|name| Digest::sha256(name.as_bytes()))
                .collect();
            assert_eq!(found, expected, "{wanted}");
        };
        check("linux/amd64", &["linux/amd64", "linux/386", ""]);
        check("linux/arm/v7", &["linux/arm/v7", "linux/arm/v6", ""]);
        check("linux/arm/v6", &["linux/arm/v6", ""]);
        check(
            "linux/arm64",
            &["linux/arm64/v8", "linux/arm/v7", "linux/arm/v6", ""],
        );
        check("windows/amd64", &[""]);
    }
}
