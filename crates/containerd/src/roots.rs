//! Where the collector begins: what images and containers refer to.

use lighter_content::gc::{Node, Roots, references};
use lighter_meta::Read;

use crate::containers::{self, Container};
use crate::images::{self, Image};

/// The image and container records of all namespaces.
#[derive(Debug)]
pub(crate) struct Records;

impl Roots for Records {
    fn roots(&self, tx: &dyn Read, root: &mut dyn FnMut(Node)) -> lighter_content::Result<()> {
        for bucket in tx.buckets("v1/")? {
            let Some(namespace) = bucket.split('/').nth(1) else {
                continue;
            };
            let namespace = namespace.to_owned();
            if bucket == images::bucket(&namespace) {
                for (_, image) in (&tx).list_json::<Image>(&bucket, "")? {
                    let (namespace, digest) = (namespace.clone(), image.target.digest);
                    references(&namespace, &image.labels)
                        .into_iter()
                        .for_each(&mut *root);
                    root(Node::Content { namespace, digest });
                }
            } else if bucket == containers::bucket(&namespace) {
                for (_, container) in (&tx).list_json::<Container>(&bucket, "")? {
                    references(&namespace, &container.labels)
                        .into_iter()
                        .for_each(&mut *root);
                    if !container.snapshot_key.is_empty() {
                        root(Node::Snapshot {
                            namespace: namespace.clone(),
                            snapshotter: container.snapshotter,
                            key: container.snapshot_key,
                        });
                    }
                }
            }
        }
        Ok(())
    }
    fn are_in(&self, bucket: &str) -> bool {
        let namespace = bucket.split('/').nth(1).unwrap_or_default();
        bucket == images::bucket(namespace) || bucket == containers::bucket(namespace)
    }
}
