use lighter_content::LocalContent;
use lighter_images::*;
use lighter_meta::Db;
use lighter_snapshots::{Overlayfs, Snapshotters};
use lighter_stdx::clock::Clock;
use std::sync::Arc;
#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .init();
    let a: Vec<String> = std::env::args().collect();
    let dir = std::path::PathBuf::from(&a[2]);
    let clock = Clock::system();
    let db = Db::open(&dir.join("meta.db"), 1).unwrap();
    let (content, _) = LocalContent::open(&dir.join("content"), &db, &clock).unwrap();
    let (snapshots, _) = Overlayfs::open(&dir.join("snapshots"), &db, &clock).unwrap();
    let stores = Stores {
        content: Arc::new(content.namespace("t", None)),
        unpack: Some(Unpack {
            name: "overlayfs".into(),
            snapshots: snapshots.namespace("t", None),
            limit: 1 << 36,
        }),
    };
    let client = lighter_registry::Client::new(lighter_registry::Options::default());
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let t = std::time::Instant::now();
    tokio::spawn(async move {
        let mut last = None;
        while let Some(e) = rx.recv().await {
            let e: Event = e;
            let k = (e.layer.clone(), e.state);
            if last.as_ref() != Some(&k) {
                eprintln!(
                    "{:?} {} {} {}",
                    t.elapsed(),
                    &e.layer.encoded()[..8],
                    e.state.name(),
                    e.total
                );
                last = Some(k);
            }
        }
    });
    let r = pull(
        &client,
        &stores,
        &Request {
            reference: a[1].parse().unwrap(),
            platform: "linux/amd64".parse().unwrap(),
        },
        &Progress::new(tx),
    )
    .await;
    println!("{:?} {:?}", t.elapsed(), r.map(|p| p.chain_id));
}
