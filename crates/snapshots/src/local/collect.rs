//! What the collector needs of a snapshotter of this machine.

use lighter_content::gc::{Collectible, Node, Thing};
use lighter_meta::{Read, WriteTx};

use super::Local;
use crate::Error;
use crate::record::Records;

impl Collectible for Local {
    fn things(&self, tx: &dyn Read) -> lighter_content::Result<Vec<Thing>> {
        Records::things(tx, self.0.driver.name()).map_err(|error| self.failed(error))
    }

    fn node(&self, bucket: &str, key: &str) -> Option<Node> {
        Records::node(bucket, key, self.0.driver.name())
    }

    fn thing(&self, tx: &dyn Read, node: &Node) -> lighter_content::Result<Option<Thing>> {
        Records::thing(tx, node, self.0.driver.name()).map_err(|error| self.failed(error))
    }

    fn owns(&self, node: &Node) -> bool {
        matches!(node, Node::Snapshot { snapshotter, .. } if snapshotter == self.0.driver.name())
    }

    fn forget(&self, tx: &WriteTx<'_>, node: &Node) -> lighter_content::Result<Option<u64>> {
        let Node::Snapshot { namespace, key, .. } = node else {
            return Ok(None);
        };
        let records = Records {
            namespace: namespace.clone(),
            snapshotter: self.0.driver.name(),
        };
        let record = records.get(tx, key).map_err(|error| self.failed(error))?;
        records
            .remove(tx, key, &record)
            .map_err(|error| self.failed(error))?;
        Ok(Some(record.id))
    }

    fn sweep(&self, forgotten: &[(Node, Option<u64>)]) -> lighter_content::Result<()> {
        let mut first = Ok(());
        for id in forgotten.iter().filter_map(|(_, id)| *id) {
            first = first.and(
                self.0
                    .trash
                    .take(&self.0.directory(id))
                    .map_err(|error| self.failed(error)),
            );
        }
        self.0.trash.again();
        first
    }
}

impl Local {
    /// A failure of this store as the collector passes it on.
    fn failed(&self, error: Error) -> lighter_content::Error {
        match error {
            Error::Meta(error) => lighter_content::Error::Meta(error),
            error => lighter_content::Error::Store {
                name: self.0.driver.name(),
                kind: error.kind(),
                source: Box::new(error),
            },
        }
    }
}
