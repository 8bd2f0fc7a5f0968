//! What is there, what it refers to, and what a root leads to.

use std::collections::{HashMap, HashSet};

use crate::gc::{Node, ROOT_LABEL, Thing, references};

#[derive(Default)]
pub(crate) struct Marks {
    /// Everything there is, and what it refers to.
    edges: HashMap<Node, Vec<Node>>,
    /// Kept, and followed.
    reached: HashSet<Node>,
    /// Kept, and not followed yet.
    pending: Vec<Node>,
    /// Kept by a flat lease: not followed, unless something else reaches it.
    flat: HashSet<Node>,
}

impl Marks {
    /// Notes a thing. What it referred to before counts on.
    pub(crate) fn add(&mut self, thing: Thing) {
        let (Node::Content { namespace, .. } | Node::Snapshot { namespace, .. }) = &thing.node;
        let mut edges = references(namespace, &thing.labels);
        edges.extend(thing.references);
        if thing.labels.contains_key(ROOT_LABEL) {
            self.pending.push(thing.node.clone());
        }
        // Followed already, if it was reached: what is new has to be followed now.
        if self.reached.contains(&thing.node) {
            self.pending.extend(edges.iter().cloned());
        }
        self.edges.entry(thing.node).or_default().extend(edges);
    }

    /// Notes that a thing is gone.
    pub(crate) fn gone(&mut self, node: &Node) {
        self.edges.remove(node);
    }

    /// Keeps `node`, and what it refers to.
    pub(crate) fn keep(&mut self, node: Node) {
        self.pending.push(node);
    }

    /// Keeps `node`, and not what it refers to.
    pub(crate) fn keep_alone(&mut self, node: Node) {
        self.flat.insert(node);
    }

    /// Follows what is kept.
    pub(crate) fn spread(&mut self) {
        while let Some(node) = self.pending.pop() {
            if let Some((node, edges)) = self.edges.get_key_value(&node)
                && self.reached.insert(node.clone())
            {
                self.pending.extend(edges.iter().cloned());
            }
        }
    }

    /// Whether it is there and nothing keeps it.
    pub(crate) fn is_litter(&self, node: &Node) -> bool {
        !self.reached.contains(node) && !self.flat.contains(node) && self.edges.contains_key(node)
    }

    /// What nothing keeps; each before what it refers to (in a circle, somewhere).
    pub(crate) fn litter(&self) -> Vec<Node> {
        let mut all: Vec<&Node> = self.edges.keys().filter(|node| self.is_litter(node)).collect();
        all.sort();
        let (mut seen, mut order) = (HashSet::new(), Vec::with_capacity(all.len()));
        for first in all {
            // Depth first; a thing is put down when all that it refers to is.
            let mut path = vec![(first, false)];
            while let Some((node, done)) = path.pop() {
                if done {
                    order.push(node.clone());
                } else if seen.insert(node) {
                    path.push((node, true));
                    let edges = self.edges.get(node).into_iter().flatten();
                    let further = edges.filter(|edge| self.is_litter(edge) && !seen.contains(edge));
                    path.extend(further.map(|edge| (edge, false)));
                }
            }
        }
        order.reverse();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node::Snapshot {
            namespace: "n".into(),
            snapshotter: "s".into(),
            key: name.into(),
        }
    }

    fn marks(things: &[(&str, &[&str])]) -> Marks {
        let mut marks = Marks::default();
        for (name, edges) in things {
            marks.add(Thing {
                node: node(name),
                labels: Default::default(),
                references: edges.iter().map(|name| node(name)).collect(),
            });
        }
        marks
    }

    #[test]
    fn what_refers_goes_before_what_it_refers_to() {
        let order = marks(&[("a", &["c", "d"]), ("b", &["a"]), ("c", &["d"]), ("d", &[])]).litter();
        assert_eq!(order, ["b", "a", "c", "d"].map(node));
        let mut circle = marks(&[("a", &["b"]), ("b", &["a", "c"]), ("c", &[])]).litter();
        assert_eq!(circle.pop(), Some(node("c")));
        assert_eq!(circle.len(), 2);
    }

    #[test]
    fn what_is_reached_later_is_followed() {
        let mut marks = marks(&[("a", &["b"]), ("b", &["c"]), ("c", &[]), ("d", &[])]);
        marks.keep_alone(node("a"));
        marks.spread();
        assert_eq!(marks.litter(), [node("d"), node("b"), node("c")]);
        marks.keep(node("a"));
        marks.spread();
        assert_eq!(marks.litter(), [node("d")]);
        // A reference that a kept thing has got since.
        marks.add(Thing {
            node: node("c"),
            labels: Default::default(),
            references: vec![node("d")],
        });
        marks.spread();
        assert_eq!(marks.litter(), []);
    }
}
