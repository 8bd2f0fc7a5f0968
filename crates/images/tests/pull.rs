//! Images pushed by skopeo to Debian's docker-registry come into the stores. Needs root, docker-registry, skopeo.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use common::{Home, Layout, Registry, options, states};
use lighter_images::{Error, State, read};
use lighter_oci::{Platform, chain_ids};

const WAITED: [State; 5] = [
    State::Waiting,
    State::Downloading,
    State::Downloaded,
    State::Extracting,
    State::Complete,
];

/// Three layers: a base, one that hides and replaces, one on top.
fn layers(layout: &Layout) -> Vec<common::Layer> {
    vec![
        layout.layer("mkdir -p etc bin old; echo one >etc/file; echo gone >etc/gone; echo x >old/x; head -c 3000000 /dev/urandom >bin/big; ln -s big bin/link"),
        layout.layer("mkdir -p etc old; echo two >etc/file; : >etc/.wh.gone; : >old/.wh..wh..opq; echo y >old/y"),
        layout.layer("mkdir -p etc; echo three >etc/top; chmod 4755 etc/top"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_and_unpacked() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let layers = layers(&layout);
    let other = layout.image(&[layout.layer("echo arm >arm")], "arm64");
    let manifest = layout.image(&layers, "amd64");
    let index = layout.index(&[other.clone(), manifest.clone()]);
    let name = registry.image("team/app:v1");
    layout.push(&index, &name);

    let (pulled, events) = home.pull(&name, options()).await;
    let pulled = pulled.unwrap();
    assert_eq!(
        (&pulled.name, &pulled.target.digest, &pulled.manifest.digest),
        (&name, &index.digest, &manifest.digest)
    );
    let chain_id = pulled.chain_id.clone().unwrap();
    let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    assert_eq!(chain_ids(&diff_ids).last(), Some(&chain_id));
    let script =
        "cat etc/file etc/top old/y; ls etc old bin; stat -c %a etc/top; cmp bin/link bin/big && echo same";
    let seen = home.look(&chain_id, script).await;
    assert_eq!(
        seen,
        "two\nthree\ny\nbin:\nbig\nlink\n\netc:\nfile\ntop\n\nold:\ny\n4755\nsame\n"
    );
    assert!(home.is_clean().await);

    let told = states(&events);
    assert_eq!(
        told.iter().map(|(layer, _)| layer).collect::<Vec<_>>(),
        layers.iter().map(|(layer, _)| &layer.digest).collect::<Vec<_>>()
    );
    for (layer, states) in told {
        assert_eq!(states, WAITED, "{layer}");
    }

    // Labels as containerd has them.
    let store = home.store();
    let label = async |digest: &lighter_oci::Digest, name: &str| {
        store.info(digest).await.unwrap().labels.get(name).cloned()
    };
    let source = "containerd.io/distribution.source.127.0.0.1";
    let image = read(
        store.as_ref(),
        &pulled.target,
        &"linux/amd64".parse::<Platform>().unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(image.chain_id().as_ref(), Some(&chain_id));
    assert_eq!(
        label(&index.digest, "containerd.io/gc.ref.content.m.1")
            .await
            .as_deref(),
        Some(manifest.digest.as_str())
    );
    assert_eq!(
        label(&manifest.digest, "containerd.io/gc.ref.content.config")
            .await
            .as_deref(),
        Some(pulled.config.as_str())
    );
    assert_eq!(
        label(&manifest.digest, "containerd.io/gc.ref.content.l.2")
            .await
            .as_deref(),
        Some(layers[2].0.digest.as_str())
    );
    assert_eq!(
        label(&pulled.config, "containerd.io/gc.ref.snapshot.overlayfs")
            .await
            .as_deref(),
        Some(chain_id.as_str())
    );
    assert_eq!(
        label(&layers[0].0.digest, "containerd.io/uncompressed")
            .await
            .as_deref(),
        Some(diff_ids[0].as_str())
    );
    for digest in [
        &index.digest,
        &manifest.digest,
        &pulled.config,
        &layers[1].0.digest,
    ] {
        assert_eq!(
            label(digest, source).await.as_deref(),
            Some("team/app"),
            "{digest}"
        );
    }
    assert!(store.info(&other.digest).await.is_err(), "nobody asked for arm64");

    // The same again fetches nothing, even with the registry's blobs gone.
    std::fs::remove_dir_all(
        registry
            .dir
            .path()
            .join("data/docker/registry/v2/blobs/sha256")
            .join(&layers[0].0.digest.encoded()[..2]),
    )
    .unwrap();
    let (again, events) = home.pull(&name, options()).await;
    assert_eq!(again.unwrap().target, pulled.target);
    assert!(events.iter().all(|event| event.state == State::Exists) && events.len() == 3);

    // Everything is under the lease.
    let kept = home.leases.resources("pull").unwrap();
    for digest in [
        &index.digest,
        &manifest.digest,
        &pulled.config,
        &layers[1].0.digest,
    ] {
        assert!(
            kept.iter().any(|resource| resource.id == digest.as_str()),
            "{digest}"
        );
    }
    assert!(kept.iter().any(|resource| resource.id == chain_id.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_layers_are_there_already_and_one_layer_may_come_twice() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let layers = layers(&layout);
    let base = layout.image(&layers[..1], "amd64");
    layout.push(&base, &registry.image("base"));
    let twice = vec![
        layers[0].clone(),
        layers[2].clone(),
        layers[1].clone(),
        layers[2].clone(),
    ];
    let full = layout.image(&twice, "amd64");
    layout.push(&full, &registry.image("full"));
    home.pull(&registry.image("base"), options()).await.0.unwrap();
    let (pulled, events) = home.pull(&registry.image("full"), options()).await;
    let chain_id = pulled.unwrap().chain_id.unwrap();
    let told = states(&events);
    assert_eq!(told[0], (layers[0].0.digest.clone(), vec![State::Exists]));
    assert_eq!(told.len(), 3);
    assert_eq!(home.look(&chain_id, "cat etc/file etc/top").await, "two\nthree\n");
    // The layer's blob is there, its snapshot on another parent is not: no download, but an extraction.
    let other = layout.image(&[layers[2].clone()], "amd64");
    layout.push(&other, &registry.image("other"));
    let (pulled, events) = home.pull(&registry.image("other"), options()).await;
    pulled.unwrap();
    assert_eq!(
        states(&events)[0].1,
        [
            State::Waiting,
            State::Downloaded,
            State::Extracting,
            State::Complete
        ]
    );
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_tags_and_names_that_are_not_there() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let amd64 = layout.image(&[layout.layer("echo amd64 >arch")], "amd64");
    let arm64 = layout.image(&[layout.layer("echo arm64 >arch")], "arm64");
    layout.push(&layout.index(&[amd64, arm64.clone()]), &registry.image("app"));
    let (pulled, _) = home
        .pull_for(&registry.image("app"), options(), "linux/arm64/v8")
        .await;
    let pulled = pulled.unwrap();
    assert_eq!(pulled.manifest.digest, arm64.digest);
    assert_eq!(home.look(&pulled.chain_id.unwrap(), "cat arch").await, "arm64\n");
    let (missing, _) = home
        .pull_for(&registry.image("app"), options(), "linux/s390x")
        .await;
    assert_eq!(
        missing.unwrap_err().to_string(),
        "no matching manifest for linux/s390x in the manifest list entries"
    );
    for (name, words) in [("app:nope", "manifest unknown"), ("nope", "not found")] {
        let (result, _) = home.pull(&registry.image(name), options()).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), lighter_stdx::kind::Kind::NotFound);
        assert!(error.to_string().contains(words), "{error}");
    }
    let by_digest = registry.image(&format!("app@{}", arm64.digest));
    let (pulled, _) = home.pull(&by_digest, options()).await;
    assert_eq!(pulled.unwrap().name, by_digest);
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_the_same_image_at_once_do_not_disturb_each_other() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let name = registry.image("app");
    layout.push(&layout.image(&layers(&layout), "amd64"), &name);
    let (one, two, three) = tokio::join!(
        home.pull(&name, options()),
        home.pull(&name, options()),
        home.pull(&name, options())
    );
    let chain_ids: Vec<_> = [one, two, three]
        .into_iter()
        .map(|(pulled, _)| pulled.unwrap().chain_id.unwrap())
        .collect();
    assert_eq!(home.look(&chain_ids[2], "cat etc/file").await, "two\n");
    assert!(home.is_clean().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_container_image_is_refused() {
    let (registry, layout, home) = (Registry::start(), Layout::new(), Home::new());
    let layer = layout.layer("echo x >x");
    let config = layout.blob("application/vnd.example.chart+json", b"{}");
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": lighter_oci::media_type::OCI_MANIFEST, "config": config, "layers": [layer.0]});
    let manifest = layout.blob(
        lighter_oci::media_type::OCI_MANIFEST,
        manifest.to_string().as_bytes(),
    );
    layout.push(&manifest, &registry.image("chart"));
    let (result, _) = home.pull(&registry.image("chart"), options()).await;
    assert!(matches!(result, Err(Error::NotAnImage(kind)) if kind.contains("chart")));
}

/// A service runs a pull as a task of its own.
#[allow(dead_code, reason = "that it compiles is the test")]
fn a_pull_can_be_a_task(
    client: lighter_registry::Client,
    stores: lighter_images::Stores,
    request: lighter_images::Request,
) {
    drop(tokio::spawn(async move {
        lighter_images::pull(&client, &stores, &request, &lighter_images::Progress::default()).await
    }));
}
