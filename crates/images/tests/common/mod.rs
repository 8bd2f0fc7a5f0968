//! Real stores in a directory, a real registry on this machine, and images made by hand.
#![allow(dead_code, reason = "each suite uses a part")]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lighter_content::lease::Leases;
use lighter_content::{ContentStore, LocalContent};
use lighter_images::{Event, Progress, Pulled, Request, Result, State, Stores, Unpack, pull};
use lighter_meta::Db;
use lighter_oci::{Descriptor, Digest, Platform, media_type};
use lighter_registry::{Client, Options};
use lighter_snapshots::{Local, Snapshotter, Snapshotters, overlayfs};
use lighter_stdx::clock::Clock;

/// Stores as a containerd would have them.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) content: LocalContent,
    pub(crate) snapshots: Local,
    pub(crate) leases: Leases,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home::of(tempfile::tempdir().unwrap())
    }

    pub(crate) fn new_in(dir: &Path) -> Home {
        Home::of(tempfile::tempdir_in(dir).unwrap())
    }

    fn of(dir: tempfile::TempDir) -> Home {
        let clock = Clock::system();
        let db = Db::open(&dir.path().join("meta.db"), 1).unwrap();
        let (content, _) = LocalContent::open(&dir.path().join("content"), &db, &clock).unwrap();
        let (snapshots, _) = overlayfs::open(&dir.path().join("snapshots"), &db, &clock).unwrap();
        let leases = Leases::new(&db, &clock, "test");
        Home {
            dir,
            content,
            snapshots,
            leases,
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn ContentStore> {
        Arc::new(self.content.namespace("test", None))
    }

    pub(crate) fn snapshotter(&self) -> Arc<dyn Snapshotter> {
        self.snapshots.namespace("test", None)
    }

    /// Pulls under a lease of its own; gives what came and the events.
    pub(crate) async fn pull(&self, name: &str, options: Options) -> (Result<Pulled>, Vec<Event>) {
        self.pull_for(name, options, "linux/amd64").await
    }

    pub(crate) async fn pull_for(
        &self,
        name: &str,
        options: Options,
        platform: &str,
    ) -> (Result<Pulled>, Vec<Event>) {
        // One that was there is as good.
        let _ = self.leases.create("pull", Default::default()).await;
        let stores = Stores {
            content: Arc::new(self.content.namespace("test", Some("pull"))),
            unpack: Some(Unpack {
                name: "overlayfs".into(),
                snapshots: self.snapshots.namespace("test", Some("pull")),
                limit: 1 << 32,
            }),
        };
        let request = Request {
            reference: name.parse().unwrap(),
            platform: platform.parse::<Platform>().unwrap(),
        };
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let result = pull(&Client::new(options), &stores, &request, &Progress::new(sender)).await;
        let mut events = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            events.push(event);
        }
        (result, events)
    }

    /// Runs `script` with the image's root file system as its directory, in a mount namespace of its own.
    pub(crate) async fn look(&self, chain_id: &Digest, script: &str) -> String {
        let snapshotter = self.snapshotter();
        let mounts = snapshotter
            .prepare("look", chain_id.as_str(), Default::default())
            .await
            .unwrap();
        let root = self.dir.path().join("root");
        fs::create_dir_all(&root).unwrap();
        let options = mounts[0].options.join(",");
        let setup = format!(
            "mount -t {} -o {options} {} {root:?} && cd {root:?} && {script}",
            mounts[0].kind, mounts[0].source
        );
        let output = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-ec", &setup])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        snapshotter.remove("look").await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// No ingest and no half-made snapshot is there.
    pub(crate) async fn is_clean(&self) -> bool {
        let ingests = self.store().list_statuses(&[]).await.unwrap();
        let active = self.snapshotter().walk(&["kind==Active".into()]).await.unwrap();
        ingests.is_empty() && active.is_empty()
    }
}

/// Quick to give up.
pub(crate) fn options() -> Options {
    Options {
        stall_timeout: Duration::from_secs(2),
        retry_pause: Duration::from_millis(5),
        ..Options::default()
    }
}

/// The states of each layer, in the order of their first events; repeats left out.
pub(crate) fn states(events: &[Event]) -> Vec<(Digest, Vec<State>)> {
    let mut found: Vec<(Digest, Vec<State>)> = Vec::new();
    for event in events {
        let at = found
            .iter()
            .position(|(layer, _)| *layer == event.layer)
            .unwrap_or_else(|| {
                found.push((event.layer.clone(), Vec::new()));
                found.len() - 1
            });
        if found[at].1.last() != Some(&event.state) {
            found[at].1.push(event.state);
        }
    }
    found
}

/// An OCI image layout being made.
pub(crate) struct Layout {
    pub(crate) dir: tempfile::TempDir,
}

/// A layer: its descriptor and diff id.
pub(crate) type Layer = (Descriptor, Digest);

impl Layout {
    pub(crate) fn new() -> Layout {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { dir }
    }

    pub(crate) fn blob(&self, kind: &str, data: &[u8]) -> Descriptor {
        let digest = Digest::sha256(data);
        fs::write(self.path(&digest), data).unwrap();
        Descriptor::new(kind, digest, data.len() as u64)
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.path().join("blobs/sha256").join(digest.encoded())
    }

    /// A layer of what `script` makes in an empty directory.
    pub(crate) fn layer(&self, script: &str) -> Layer {
        let tree = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .args(["-ec", script])
            .current_dir(tree.path())
            .status()
            .unwrap();
        assert!(status.success());
        let tar = Command::new("tar")
            .args(["--sort=name", "--mtime=@1600000000", "-cf", "-", "."])
            .current_dir(tree.path())
            .output()
            .unwrap();
        self.layer_of(&tar.stdout)
    }

    pub(crate) fn layer_of(&self, tar: &[u8]) -> Layer {
        let mut gzip = Command::new("gzip")
            .arg("-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = gzip.stdin.take().unwrap();
        let data = tar.to_vec();
        let feeder = std::thread::spawn(move || input.write_all(&data).unwrap());
        let packed = gzip.wait_with_output().unwrap().stdout;
        feeder.join().unwrap();
        (
            self.blob(media_type::OCI_LAYER_GZIP, &packed),
            Digest::sha256(tar),
        )
    }

    /// An image of these layers.
    pub(crate) fn image(&self, layers: &[Layer], architecture: &str) -> Descriptor {
        let diff_ids: Vec<_> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(media_type::OCI_CONFIG, config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|(layer, _)| layer).collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers});
        let mut manifest = self.blob(media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
        manifest.platform = Some(format!("linux/{architecture}").parse().unwrap());
        manifest
    }

    pub(crate) fn index(&self, manifests: &[Descriptor]) -> Descriptor {
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
        self.blob(media_type::OCI_INDEX, index.to_string().as_bytes())
    }

    /// Pushes `target` by skopeo, which is not ours.
    pub(crate) fn push(&self, target: &Descriptor, image: &str) {
        let mut entry = target.clone();
        entry
            .annotations
            .insert("org.opencontainers.image.ref.name".into(), "it".into());
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(self.dir.path().join("index.json"), index.to_string()).unwrap();
        let output = Command::new("skopeo")
            .args([
                "--insecure-policy",
                "copy",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}:it", self.dir.path().display()))
            .arg(format!("docker://{image}"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Debian's docker-registry on a port of this machine.
pub(crate) struct Registry {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: String,
}

impl Registry {
    pub(crate) fn start() -> Registry {
        Registry::start_with("")
    }

    /// With more words for the `http` section of its configuration.
    pub(crate) fn start_with(http: &str) -> Registry {
        let dir = tempfile::tempdir().unwrap();
        // Free a moment ago; nobody else asks for ports at random here.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"{address}\"{http}}}\n",
            dir.path().join("data").display()
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's package docker-registry");
        let registry = Registry { child, dir, address };
        for _ in 0..500 {
            if TcpStream::connect(&registry.address).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the registry did not start");
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
