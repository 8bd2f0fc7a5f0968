//! Archives of images into the stores and out of them, honest ones and others. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::io::{Read, Write as _};
use std::sync::Arc;

use common::{Home, Layout};
use lighter_content::ContentStore;
use lighter_images::{Error, Export, Import, Progress, Result, TakeIn, Unpack, export, import, take_in};
use lighter_oci::{Descriptor, Digest, Platform, media_type};
use lighter_snapshots::Snapshotters as _;
use serde_json::{Value, json};

/// An archive being made.
struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn new() -> Archive {
        Archive(tar::Builder::new(Vec::new()))
    }

    fn file(mut self, name: &str, data: impl AsRef<[u8]>) -> Archive {
        let data = data.as_ref();
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, name, data).unwrap();
        self
    }

    fn link(mut self, name: &str, target: &str) -> Archive {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.0.append_link(&mut header, name, target).unwrap();
        self
    }

    /// All blobs of a layout, and an index of these.
    fn layout(mut self, layout: &Layout, entries: &[Descriptor]) -> Archive {
        for blob in std::fs::read_dir(layout.dir.path().join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            let name = format!("blobs/sha256/{}", blob.file_name().to_str().unwrap());
            self = self.file(&name, std::fs::read(blob.path()).unwrap());
        }
        let index = json!({"schemaVersion": 2, "manifests": entries});
        self.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", index.to_string())
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Imports under a lease of its own, all platforms or one, unpacked.
async fn take(home: &Home, archive: Vec<u8>, platform: Option<&str>) -> Result<Vec<Descriptor>> {
    let _ = home.leases.create("import", Default::default()).await;
    let content: Arc<dyn ContentStore> = Arc::new(home.content.namespace("test", Some("import")));
    let index = import(&content, std::io::Cursor::new(archive), Import::default()).await?;
    let mut wanted = TakeIn::default();
    if let Some(platform) = platform {
        let platform: Platform = platform.parse().unwrap();
        let unpack = Unpack {
            name: "overlayfs".into(),
            snapshots: home.snapshots.namespace("test", Some("import")),
            limit: 1 << 32,
        };
        wanted.platforms.push(platform.clone());
        wanted.unpacks.push((platform, unpack));
    }
    take_in(&content, &index, &wanted, &Progress::default()).await
}

async fn exported(home: &Home, what: Export) -> Result<Vec<u8>> {
    let (sink, mut parts) = tokio::sync::mpsc::channel(4);
    let content = home.store();
    let (sent, archive) = tokio::join!(
        async move { export(content.as_ref(), &what, &sink).await },
        async move {
            let mut archive = Vec::new();
            while let Some(part) = parts.recv().await {
                archive.extend_from_slice(&part);
            }
            archive
        }
    );
    sent.map(|()| archive)
}

fn json_of(archive: &[u8], name: &str) -> Value {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().to_str() == Some(name) {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            return serde_json::from_str(&text).unwrap();
        }
    }
    panic!("{name} is not in the archive");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_out_and_in_and_out_the_same() {
    let (layout, home) = (Layout::new(), Home::new());
    let layers = [
        layout.layer("mkdir d; echo one >d/file"),
        layout.layer("echo two >top"),
    ];
    let (amd, arm) = (
        layout.image(&layers, "amd64"),
        layout.image(&layers[..1], "arm64"),
    );
    let index = layout.index(&[amd.clone(), arm.clone()]);
    let archive = Archive::new()
        .layout(&layout, std::slice::from_ref(&index))
        .done();
    let entries = take(&home, archive, Some("linux/amd64")).await.unwrap();
    assert_eq!(entries[0].digest, index.digest);
    let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    let chain_id = lighter_oci::chain_ids(&diff_ids).pop().unwrap();
    assert_eq!(home.look(&chain_id, "cat d/file top").await, "one\ntwo\n");
    assert!(home.is_clean().await);

    let name = "example.com/team/app:v1".to_owned();
    let one = Export {
        images: vec![(name.clone(), index.clone())],
        platforms: vec!["linux/arm64".parse().unwrap()],
        ..Export::default()
    };
    let all = Export {
        all_platforms: true,
        ..one.clone()
    };
    let first = exported(&home, all.clone()).await.unwrap();
    let entry = &json_of(&first, "index.json")["manifests"][0];
    assert_eq!(entry["digest"], index.digest.as_str());
    let annotations = &entry["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], name.as_str());
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "v1");
    let docker = json_of(&first, "manifest.json");
    assert_eq!(docker[0]["RepoTags"], json!([name]));
    assert_eq!(
        docker[0]["Layers"].as_array().unwrap().len(),
        1,
        "Docker takes arm64"
    );

    let second = Home::new();
    take(&second, first.clone(), Some("linux/amd64")).await.unwrap();
    assert_eq!(exported(&second, all).await.unwrap(), first);
    assert!(second.is_clean().await);

    // Of one platform the other's blobs stay behind, and are not missed by who does not want them.
    let part = exported(&home, one).await.unwrap();
    assert!(part.len() < first.len());
    let third = Home::new();
    let error = take(&third, part.clone(), Some("linux/amd64")).await.unwrap_err();
    assert!(matches!(error, Error::Part { .. }), "{error}");
    take(&third, part, Some("linux/arm64")).await.unwrap();
}

/// What `docker save` writes: the config, each layer once, and links.
fn saved(layout: &Layout, change: impl FnOnce(&mut Value)) -> (Archive, Digest) {
    let (_, diff_id) = layout.layer("echo one >one");
    let tar = {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("file"), "text").unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", tree.path()).unwrap();
        builder.into_inner().unwrap()
    };
    drop(diff_id);
    let diff_id = Digest::sha256(&tar);
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]},
    });
    let mut manifest = json!([{
        "Config": "abc.json", "RepoTags": ["app:v1", "other/app:v2"], "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    change(&mut manifest);
    let archive = Archive::new()
        .file("one/VERSION", "1.0")
        .file("one/json", "{}")
        .file("one/layer.tar", &tar)
        .link("two/layer.tar", "../one/layer.tar")
        .file("abc.json", config.to_string())
        .file("manifest.json", manifest.to_string())
        .file("repositories", "{}");
    (archive, diff_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_saves_is_taken_in() {
    let (layout, home) = (Layout::new(), Home::new());
    let (archive, _) = saved(&layout, |_| {});
    // Compressed as well, as people keep them.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive.done()).unwrap();
    let entries = take(&home, gzip.finish().unwrap(), Some("linux/amd64"))
        .await
        .unwrap();
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry.annotations["io.containerd.image.name"].as_str())
        .collect();
    assert_eq!(names, ["docker.io/library/app:v1", "docker.io/other/app:v2"]);
    assert_eq!(entries[0].media_type, media_type::DOCKER_MANIFEST);
    assert_eq!(entries[0].platform.as_ref().unwrap().to_string(), "linux/amd64");
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_compressed_when_asked_for() {
    let (layout, home) = (Layout::new(), Home::new());
    let (archive, diff_id) = saved(&layout, |_| {});
    let content = home.store();
    let compress = Import { compress: true };
    let index = import(&content, std::io::Cursor::new(archive.done()), compress)
        .await
        .unwrap();
    let entries = take_in(&content, &index, &TakeIn::default(), &Progress::default())
        .await
        .unwrap();
    let image = lighter_images::read(content.as_ref(), &entries[0], &Platform::host())
        .await
        .unwrap();
    let layer = &image.manifest.layers[0];
    assert_eq!(layer.media_type, media_type::DOCKER_LAYER_GZIP);
    assert_ne!(layer.digest, diff_id);
    let info = content.info(&layer.digest).await.unwrap();
    assert_eq!(info.labels["containerd.io/uncompressed"], diff_id.to_string());
}

/// Imports what must be refused with these words, and leaves nothing.
async fn refused(what: &str, archive: Vec<u8>, words: &str) {
    let home = Home::new();
    let error = take(&home, archive, Some("linux/amd64")).await.unwrap_err();
    let error = lighter_stdx::error::chain(&error);
    assert!(error.contains(words), "{what}: {error}");
    assert!(home.is_clean().await, "{what}");
    home.leases.delete("import").await.unwrap();
    let snapshots: Vec<_> = { home.snapshots.namespace("test", None).walk(&[]).await.unwrap() };
    assert!(snapshots.is_empty(), "{what}: {snapshots:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_of_images_is_refused() {
    refused("nothing", Vec::new(), "unrecognized image format").await;
    refused("zeros", vec![0; 4096], "unrecognized image format").await;
    refused("text", b"text".repeat(500), "not a tar header").await;
    refused(
        "another archive",
        Archive::new().file("a", "b").done(),
        "unrecognized",
    )
    .await;
    let (archive, _) = saved(&Layout::new(), |_| {});
    let mut archive = archive.done();
    archive.truncate(700);
    refused("one that is cut", archive, "the archive is cut").await;
    let version = Archive::new().file("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#);
    refused(
        "another version",
        version.done(),
        "version \"2.0.0\" of the layout",
    )
    .await;
    let no_index = Archive::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    refused("no index", no_index.done(), "\"index.json\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_lie_are_refused() {
    let layout = Layout::new();
    let manifest = layout.image(&[layout.layer("echo x >x")], "amd64");
    let other = Digest::sha256(b"other");
    let named = format!("blobs/sha256/{}", other.encoded());
    let lie = Archive::new()
        .file(&named, "not it")
        .layout(&layout, std::slice::from_ref(&manifest));
    refused("a blob of another digest", lie.done(), "its content has digest").await;

    let mut gone = manifest.clone();
    gone.digest = other.clone();
    let archive = Archive::new().layout(&layout, &[gone]);
    refused("a manifest that is not there", archive.done(), "not found").await;

    // An index that leads to ever another one.
    let deep = Layout::new();
    let mut index = deep.index(&[deep.image(&[], "amd64")]);
    for _ in 0..8 {
        index = deep.index(&[index]);
    }
    let archive = Archive::new().layout(&deep, &[index]);
    refused("indexes in indexes", archive.done(), "indexes in indexes").await;

    // What unpacks to something else than the config tells.
    let wrong = Layout::new();
    let (layer, _) = wrong.layer("echo x >x");
    let image = wrong.image(&[(layer, other.clone())], "amd64");
    let archive = Archive::new().layout(&wrong, &[image]);
    refused("a wrong diff id", archive.done(), "wrong diff id").await;

    let only_arm = Layout::new();
    let image = only_arm.image(&[], "arm64");
    let archive = Archive::new().layout(&only_arm, &[image]);
    refused(
        "another platform",
        archive.done(),
        "for a platform that is wanted",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_would_never_save_is_refused() {
    let check = async |what: &str, words: &str, change: fn(&mut Value)| {
        let (archive, _) = saved(&Layout::new(), change);
        refused(what, archive.done(), words).await;
    };
    check("no such config", "the image config is not in it", |m| {
        m[0]["Config"] = "/etc/passwd".into()
    })
    .await;
    check("no such layer", "the layer is not in it", |m| {
        m[0]["Layers"][1] = "../../etc/shadow".into();
    })
    .await;
    check("too few layers", "it tells of 2 layers", |m| {
        m[0]["Layers"] = json!(["one/layer.tar"])
    })
    .await;
    check("a config that is none", "\"one/layer.tar\"", |m| {
        m[0]["Config"] = "one/layer.tar".into()
    })
    .await;
    check("a name that is none", "\"App:v1\"", |m| {
        m[0]["RepoTags"] = json!(["App:v1"])
    })
    .await;
    check("no list", "\"manifest.json\"", |m| *m = json!({"a": 1})).await;
    let (archive, _) = saved(&Layout::new(), |_| {});
    let archive = archive.link("three/layer.tar", "../nowhere").done();
    refused("a link to nowhere", archive, "\"nowhere\", which is not in it").await;
}

/// CVE-2023-25153: a document of the archive that is read into memory may have any size.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_25153_documents_are_bounded() {
    for name in ["manifest.json", "oci-layout"] {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(1 << 33);
        header.set_cksum();
        let archive = header.as_bytes().to_vec();
        refused(name, archive, "it has 8589934592 bytes, more than 20971520").await;
    }
    // An index is a blob, which is read up to a limit.
    let archive = Archive::new()
        .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", vec![b' '; 5 << 20]);
    refused(
        "index.json",
        archive.done(),
        "at most 4194304 are read into memory",
    )
    .await;
    // Names are kept in memory, too.
    let mut many = Archive::new();
    for at in 0..=100_000 {
        many = many.link(&format!("{at}"), "x");
    }
    refused("many files", many.done(), "more than 100000 files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_what_is_not_there_sends_nothing() {
    let (layout, home) = (Layout::new(), Home::new());
    let manifest = layout.image(&[layout.layer("echo x >x")], "amd64");
    take(
        &home,
        Archive::new()
            .layout(&layout, std::slice::from_ref(&manifest))
            .done(),
        None,
    )
    .await
    .unwrap();
    let document: Value =
        serde_json::from_slice(&std::fs::read(layout.path(&manifest.digest)).unwrap()).unwrap();
    let layer: Digest = document["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    home.store().delete(&layer).await.unwrap();
    let what = Export {
        images: vec![("a:b".into(), manifest)],
        ..Export::default()
    };
    let error = exported(&home, what).await.unwrap_err();
    assert!(
        matches!(&error, Error::Part { what, .. } if what.contains(layer.as_str())),
        "{error}"
    );
}
