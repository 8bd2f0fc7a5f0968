//! The conformance suite: what every snapshotter must do, in real mounts.
//!
//! [`run`] needs root; it mounts in a mount namespace that ends with it. Panics at the first promise that is not kept.
//! Only tests call it, so no program carries it. The promises are those that containerd's own suite (core/snapshots/testsuite) checks of its snapshotters.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lighter_stdx::kind::Kind as Failure;
use lighter_sys::{mount, namespace};

use crate::{Info, Kind, Labels, Mount, Result, Snapshotter, Snapshotters, unmount};

mod kinds;

/// What a snapshot takes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// What it adds to its parent.
    WhatItAdds,
    /// All that it shows: it is a copy.
    AllItShows,
}

/// Runs the suite on the snapshotter that `make` opens in an empty directory; each part gets a new one. `scratch` is a directory for mount
/// points and more.
pub fn run(scratch: &Path, takes: Takes, make: impl Fn(&Path) -> Arc<dyn Snapshotters> + Send + Sync) {
    std::thread::scope(|scope| {
        let suite = scope.spawn(|| {
            namespace::unshare(namespace::MOUNT).expect("the suite needs root");
            let private = mount::mount(None, c"/", None, PRIVATE, None);
            private.expect("mounts are made private");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime starts");
            let part = |name: &str| {
                let dir = scratch.join(name);
                fs::create_dir_all(dir.join("at")).expect("the scratch directory can be written");
                let all = make(&dir.join("root"));
                World {
                    one: all.namespace("one", None),
                    two: all.namespace("two", None),
                    at: dir.join("at"),
                }
            };
            runtime.block_on(async {
                layers_are_stacked(&part("stack")).await;
                names_are_checked(&part("names")).await;
                states_are_checked(&part("states")).await;
                walking_and_labels(&part("walk")).await;
                usage_is_what_a_snapshot_takes(&part("usage"), takes).await;
                a_deep_chain_is_mounted(&part("deep")).await;
                the_root_keeps_its_owner_and_mode(&part("owner")).await;
                kinds::every_kind_of_file_is_kept(&part("kinds")).await;
            });
        });
        if let Err(panic) = suite.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// `MS_REC | MS_PRIVATE`, as `mount(2)` takes them.
const PRIVATE: u64 = 0x4000 | 0x4_0000;

#[derive(Debug)]
struct World {
    one: Arc<dyn Snapshotter>,
    two: Arc<dyn Snapshotter>,
    /// A mount point.
    at: PathBuf,
}

impl World {
    /// Does `work` in the mounted tree.
    fn mounted<T>(&self, mounts: &[Mount], work: impl FnOnce(&Path) -> T) -> T {
        for mount in mounts {
            mount
                .mount(&self.at)
                .expect("the mounts of a snapshot can be mounted");
        }
        let result = work(&self.at);
        for _ in mounts {
            unmount(&self.at).expect("what was mounted can be unmounted");
        }
        result
    }

    /// Commits a layer that `work` writes.
    async fn layer(&self, name: &str, parent: &str, work: impl FnOnce(&Path)) {
        let key = format!("making-{name}");
        let mounts = self
            .one
            .prepare(&key, parent, Labels::new())
            .await
            .expect("a layer is prepared");
        self.mounted(&mounts, work);
        self.one
            .commit(name, &key, Labels::new())
            .await
            .expect("a layer is committed");
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a writable snapshot can be written");
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn refused<T: std::fmt::Debug>(result: Result<T>, kind: Failure) {
    let error = result.expect_err("this is refused");
    assert_eq!(error.kind(), kind, "{error}");
}

async fn layers_are_stacked(world: &World) {
    let one = &world.one;
    world
        .layer("base", "", |at| {
            write(&at.join("kept"), "base");
            write(&at.join("changed"), "base");
            write(&at.join("removed"), "base");
            fs::create_dir_all(at.join("dir/sub")).expect("a directory is made");
        })
        .await;
    world
        .layer("top", "base", |at| {
            assert_eq!(read(&at.join("kept")).as_deref(), Some("base"));
            write(&at.join("changed"), "top");
            fs::remove_file(at.join("removed")).expect("a file of a lower layer is removed");
            fs::remove_dir_all(at.join("dir")).expect("a directory of a lower layer is removed");
            fs::create_dir(at.join("dir")).expect("and made again");
        })
        .await;
    let check = |at: &Path| {
        assert_eq!(read(&at.join("kept")).as_deref(), Some("base"));
        assert_eq!(read(&at.join("changed")).as_deref(), Some("top"));
        assert_eq!(read(&at.join("removed")), None);
        assert_eq!(fs::read_dir(at.join("dir")).map(Iterator::count).ok(), Some(0));
    };
    let mounts = one
        .prepare("active", "top", Labels::new())
        .await
        .expect("prepared");
    world.mounted(&mounts, |at| {
        check(at);
        write(&at.join("changed"), "active");
    });
    // The same mounts again, and what was written is still there.
    assert_eq!(one.mounts("active").await.expect("mounts"), mounts);
    world.mounted(&mounts, |at| {
        assert_eq!(read(&at.join("changed")).as_deref(), Some("active"))
    });
    for (key, parent) in [("view-one", "base"), ("view-two", "top")] {
        let mounts = one.view(key, parent, Labels::new()).await.expect("a view");
        assert_eq!(one.mounts(key).await.expect("mounts"), mounts);
        world.mounted(&mounts, |at| {
            if parent == "top" {
                check(at);
            }
            assert_eq!(read(&at.join("kept")).as_deref(), Some("base"));
            let refused = fs::write(at.join("new"), "").expect_err("a view is read-only");
            assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        });
    }
    let empty = one
        .view("view-none", "", Labels::new())
        .await
        .expect("a view of nothing");
    world.mounted(&empty, |at| {
        assert_eq!(fs::read_dir(at).map(Iterator::count).ok(), Some(0))
    });
}

async fn names_are_checked(world: &World) {
    let World { one, two, .. } = world;
    world.layer("base", "", |_| {}).await;
    one.prepare("active", "base", Labels::new())
        .await
        .expect("prepared");
    refused(
        one.prepare("active", "base", Labels::new()).await,
        Failure::AlreadyExists,
    );
    refused(
        one.view("active", "base", Labels::new()).await,
        Failure::AlreadyExists,
    );
    refused(
        one.prepare("base", "", Labels::new()).await,
        Failure::AlreadyExists,
    );
    refused(
        one.commit("base", "active", Labels::new()).await,
        Failure::AlreadyExists,
    );
    assert_eq!(
        one.stat("active")
            .await
            .expect("a refused commit changes nothing")
            .kind,
        Kind::Active
    );
    refused(
        one.prepare("", "base", Labels::new()).await,
        Failure::InvalidArgument,
    );
    refused(
        one.prepare("a\nb", "base", Labels::new()).await,
        Failure::InvalidArgument,
    );
    refused(
        one.commit("", "active", Labels::new()).await,
        Failure::InvalidArgument,
    );
    refused(
        one.prepare("other", "absent", Labels::new()).await,
        Failure::NotFound,
    );
    // Another namespace has names of its own.
    refused(two.stat("base").await, Failure::NotFound);
    refused(
        two.prepare("other", "base", Labels::new()).await,
        Failure::NotFound,
    );
    two.prepare("active", "", Labels::new())
        .await
        .expect("the name is free there");
    assert_eq!(two.walk(&[]).await.expect("walked").len(), 1);
}

async fn states_are_checked(world: &World) {
    let one = &world.one;
    for failed in ["stat", "mounts", "usage", "remove", "commit", "update"] {
        let result = match failed {
            "stat" => one.stat("absent").await.map(drop),
            "mounts" => one.mounts("absent").await.map(drop),
            "usage" => one.usage("absent").await.map(drop),
            "remove" => one.remove("absent").await,
            "commit" => one.commit("new", "absent", Labels::new()).await,
            _ => one.update(named("absent"), &[]).await.map(drop),
        };
        refused(result, Failure::NotFound);
    }
    world.layer("base", "", |_| {}).await;
    world.layer("top", "base", |_| {}).await;
    one.prepare("active", "top", Labels::new())
        .await
        .expect("prepared");
    one.view("view", "top", Labels::new()).await.expect("viewed");
    refused(
        one.prepare("on-active", "active", Labels::new()).await,
        Failure::InvalidArgument,
    );
    refused(one.mounts("top").await, Failure::FailedPrecondition);
    refused(
        one.commit("again", "top", Labels::new()).await,
        Failure::FailedPrecondition,
    );
    refused(
        one.commit("again", "view", Labels::new()).await,
        Failure::FailedPrecondition,
    );
    for name in ["base", "top"] {
        refused(one.remove(name).await, Failure::FailedPrecondition);
    }
    for name in ["view", "active", "top", "base"] {
        one.remove(name).await.expect("without children it is removed");
        refused(one.stat(name).await, Failure::NotFound);
    }
    one.cleanup().await.expect("cleaned up");
    assert_eq!(one.walk(&[]).await.expect("walked"), []);
    // A name that was removed is free again, and nothing of the old tree shows.
    world
        .layer("base", "", |at| {
            assert_eq!(fs::read_dir(at).map(Iterator::count).ok(), Some(0))
        })
        .await;
}

/// What an update needs of an [`Info`].
fn named(name: &str) -> Info {
    let zero = jiff::Timestamp::UNIX_EPOCH;
    let (name, parent) = (name.to_owned(), String::new());
    Info {
        kind: Kind::Active,
        name,
        parent,
        labels: Labels::new(),
        created_at: zero,
        updated_at: zero,
    }
}

async fn walking_and_labels(world: &World) {
    let one = &world.one;
    let labels = |value: &str| Labels::from([("of".to_owned(), value.to_owned())]);
    one.prepare("making", "", labels("making"))
        .await
        .expect("prepared");
    one.commit("base", "making", labels("base"))
        .await
        .expect("committed");
    one.prepare("active", "base", labels("active"))
        .await
        .expect("prepared");
    one.view("view", "base", Labels::new()).await.expect("viewed");
    let found = |filter: &'static str| async move {
        let filters: Vec<String> = [filter]
            .iter()
            .filter(|filter| !filter.is_empty())
            .map(ToString::to_string)
            .collect();
        let found = one.walk(&filters).await.expect("walked");
        found.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    assert_eq!(found("").await, ["active", "base", "view"]);
    assert_eq!(found("kind==Committed").await, ["base"]);
    assert_eq!(found("parent==base").await, ["active", "view"]);
    assert_eq!(found("labels.of~=^a").await, ["active"]);
    assert_eq!(found("name==view").await, ["view"]);
    refused(one.walk(&["==".to_owned()]).await, Failure::InvalidArgument);
    let info = one.stat("base").await.expect("there");
    assert_eq!(
        (info.kind, info.parent.as_str(), &info.labels),
        (Kind::Committed, "", &labels("base"))
    );
    let changed = Info {
        labels: Labels::from([("new".to_owned(), "1".to_owned())]),
        ..info
    };
    let info = one
        .update(changed.clone(), &["labels.new".to_owned()])
        .await
        .expect("updated");
    assert_eq!(info.labels.len(), 2);
    let info = one.update(changed, &[]).await.expect("updated");
    assert_eq!(info.labels.len(), 1);
    assert_eq!(one.stat("base").await.expect("there"), info);
    refused(
        one.update(info, &["parent".to_owned()]).await,
        Failure::InvalidArgument,
    );
}

async fn usage_is_what_a_snapshot_takes(world: &World, takes: Takes) {
    let one = &world.one;
    let size = 1 << 20;
    let fill = |at: &Path, name: &str| {
        let big = at.join(name);
        write(&big, &"x".repeat(size));
        fs::hard_link(&big, big.with_extension("again")).expect("a link is made");
        // The blocks of a file that is still in memory are not counted by every file system.
        rustix::fs::sync();
    };
    world.layer("base", "", |at| fill(at, "big")).await;
    world
        .layer("top", "base", |at| write(&at.join("small"), "x"))
        .await;
    let base = one.usage("base").await.expect("usage");
    assert!(
        base.size >= size as u64 && base.size < 2 * size as u64,
        "{base:?}"
    );
    assert_eq!(base.inodes, 2, "the root and one file");
    let top = one.usage("top").await.expect("usage");
    match takes {
        Takes::WhatItAdds => assert!(top.size < size as u64 && top.inodes == 2, "{top:?}"),
        Takes::AllItShows => assert!(top.size > base.size && top.inodes == 3, "{top:?}"),
    }
    assert_eq!(one.usage("base").await.expect("usage"), base);
    let mounts = one
        .prepare("active", "top", Labels::new())
        .await
        .expect("prepared");
    let before = one.usage("active").await.expect("usage");
    one.view("view", "base", Labels::new()).await.expect("viewed");
    let view = one.usage("view").await.expect("usage");
    assert_eq!(view, crate::Usage::default(), "a view takes nothing");
    world.mounted(&mounts, |at| fill(at, "other"));
    let after = one.usage("active").await.expect("usage");
    assert!(
        after.size >= before.size + size as u64 && after.inodes == before.inodes + 1,
        "{before:?} {after:?}"
    );
}

async fn a_deep_chain_is_mounted(world: &World) {
    const DEPTH: usize = 120;
    let mut parent = String::new();
    for number in 0..DEPTH {
        let name = format!("layer-{number}");
        world
            .layer(&name, &parent, |at| {
                write(&at.join(format!("only-{number}")), "");
                write(&at.join("top"), &number.to_string());
            })
            .await;
        parent = name;
    }
    let mounts = world
        .one
        .prepare("active", &parent, Labels::new())
        .await
        .expect("prepared");
    world.mounted(&mounts, |at| {
        assert_eq!(read(&at.join("top")), Some((DEPTH - 1).to_string()));
        for number in 0..DEPTH {
            assert!(at.join(format!("only-{number}")).exists(), "{number}");
        }
        write(&at.join("top"), "active");
        assert_eq!(read(&at.join("top")).as_deref(), Some("active"));
    });
}

async fn the_root_keeps_its_owner_and_mode(world: &World) {
    world
        .layer("base", "", |at| {
            std::os::unix::fs::chown(at, Some(1234), Some(4321)).expect("the owner of the root is changed");
            fs::set_permissions(at, fs::Permissions::from_mode(0o1777)).expect("its mode is changed");
        })
        .await;
    world.layer("top", "base", |_| {}).await;
    let mounts = world
        .one
        .prepare("active", "top", Labels::new())
        .await
        .expect("prepared");
    world.mounted(&mounts, |at| {
        let root = at.metadata().expect("there");
        assert_eq!(
            (root.uid(), root.gid(), root.mode() & 0o7777),
            (1234, 4321, 0o1777)
        );
    });
}
