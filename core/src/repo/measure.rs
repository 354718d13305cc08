//! Measures a tree before anything walks it in full.
//!
//! A tree is hostile until measured: 65 small objects can spell out 2^64 paths, and a chain of
//! dirtrees can be deeper than any stack. Each dirtree is read once, and what lies below it is
//! counted from the counts of its children, so measuring costs what the objects cost.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;

use super::{Repo, load_many};
use crate::error::{Error, Result};
use crate::format::{Checksum, DirTree, ObjectName, TREE_DEPTH_MAX};
use crate::store::{Body, Incoming, LocalObjects, Payload};

/// Entries of dirtrees that are kept for whoever walks the tree next, at most: some 20 MB.
const KEPT_ENTRIES_MAX: usize = 200_000;

/// What a tree may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeLimits {
    /// How deep directories may be nested; the root alone is a depth of 1.
    pub depth_max: usize,
    /// How many files and directories there may be, counted as often as they appear.
    pub entries_max: u64,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            depth_max: TREE_DEPTH_MAX,
            entries_max: 1 << 31,
        }
    }
}

/// What a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeMeasure {
    /// How many files and directories there are below the root, counted as often as they appear.
    pub entries: u64,
    /// How deep directories are nested; the root alone is a depth of 1.
    pub depth: usize,
    /// How many different dirtrees it is made of.
    pub dirtrees: u64,
    /// How many of those are not there: the commit is partial.
    pub missing_dirtrees: u64,
}

/// A measured tree, with as many of its dirtrees as are worth keeping.
#[derive(Debug)]
pub(crate) struct MeasuredTree {
    /// What it is.
    pub(crate) measure: TreeMeasure,
    /// Its dirtrees, or those that were read first when there are very many.
    pub(crate) dirtrees: HashMap<Checksum, Arc<DirTree>>,
}

/// Measures the tree below the dirtree `root`, and fails if it is more than `limits`.
///
/// Dirtrees that are not there count as empty: whoever reaches them will say so.
///
/// # Errors
///
/// Names the dirtree that is too deep, or below which there is too much.
pub async fn measure_tree(repo: &Repo, root: &Checksum, limits: TreeLimits) -> Result<TreeMeasure> {
    Ok(measure_and_keep(repo, root, limits).await?.measure)
}

/// Measures a tree as [`measure_tree`] does, and keeps what was read.
pub(crate) async fn measure_and_keep(
    repo: &Repo,
    root: &Checksum,
    limits: TreeLimits,
) -> Result<MeasuredTree> {
    let mut graph = Graph::new(*root);
    let mut kept = HashMap::new();
    let mut kept_entries = 0;
    let mut level = 1;
    while let Some(wanted) = graph.next_level() {
        if level > limits.depth_max {
            return Err(too_deep(limits, wanted[0]));
        }
        let names = wanted.into_iter().map(ObjectName::dirtree).collect();
        for (name, tree) in load_many(repo, names, DirTree::parse).await? {
            let tree = tree?;
            graph.add(&name.checksum, tree.as_ref());
            let Some(tree) = tree else { continue };
            kept_entries += tree.files().len() + tree.dirs().len();
            if kept_entries <= KEPT_ENTRIES_MAX {
                kept.insert(name.checksum, Arc::new(tree));
            }
        }
        level += 1;
    }
    Ok(MeasuredTree {
        measure: graph.measure(limits)?,
        dirtrees: kept,
    })
}

/// Reads and verifies a dirtree of a local store; `None` when it is not there. **Blocking.**
pub(crate) fn read_local_dirtree(
    local: &dyn LocalObjects,
    checksum: &Checksum,
) -> Result<Option<DirTree>> {
    let name = ObjectName::dirtree(*checksum);
    let Some(bytes) = read_local_metadata(local, name)? else {
        return Ok(None);
    };
    let tree = DirTree::parse(&bytes).map_err(|e| Error::from(e).about(name))?;
    Ok(Some(tree))
}

/// Reads and verifies a metadata object of a local store; `None` when it is not there.
/// **Blocking.**
pub(crate) fn read_local_metadata(
    local: &dyn LocalObjects,
    name: ObjectName,
) -> Result<Option<Bytes>> {
    let Some(bytes) = local.read_metadata(&name)? else {
        return Ok(None);
    };
    let body = Body::Metadata(Payload::Bytes(bytes));
    let (_, bytes) = Incoming::named(name, body).into_metadata()?;
    Ok(Some(bytes))
}

fn too_deep(limits: TreeLimits, dirtree: Checksum) -> Error {
    let max = limits.depth_max;
    Error::corrupt(format!("directories are nested deeper than {max} here"))
        .about(ObjectName::dirtree(dirtree))
}

/// The dirtrees below a root, each once, and which hold which.
#[derive(Default)]
struct Graph {
    index: HashMap<Checksum, usize>,
    nodes: Vec<Node>,
    /// Nodes from here on have not been read.
    next: usize,
}

struct Node {
    checksum: Checksum,
    files: u64,
    /// The directories in it, as often as they appear.
    children: Vec<usize>,
    missing: bool,
}

impl Graph {
    fn new(root: Checksum) -> Self {
        let mut graph = Self::default();
        graph.node(root);
        graph
    }

    fn node(&mut self, checksum: Checksum) -> usize {
        match self.index.entry(checksum) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.nodes.push(Node {
                    checksum,
                    files: 0,
                    children: Vec::new(),
                    missing: true,
                });
                *entry.insert(self.nodes.len() - 1)
            }
        }
    }

    /// Returns the dirtrees that were found and not yet read, if there are any.
    fn next_level(&mut self) -> Option<Vec<Checksum>> {
        let unread = &self.nodes[self.next..];
        let wanted: Vec<_> = unread.iter().map(|node| node.checksum).collect();
        self.next = self.nodes.len();
        (!wanted.is_empty()).then_some(wanted)
    }

    fn add(&mut self, checksum: &Checksum, tree: Option<&DirTree>) {
        let Some(tree) = tree else { return };
        let children = tree.dirs().iter().map(|dir| self.node(dir.tree)).collect();
        let node = self.node(*checksum);
        self.nodes[node].files = tree.files().len() as u64;
        self.nodes[node].children = children;
        self.nodes[node].missing = false;
    }

    /// Returns all nodes in an order in which parents precede their children.
    ///
    /// There are no rings: a dirtree that is its own descendant would have to contain its own hash.
    fn parents_first(&self) -> Vec<usize> {
        let mut parents = vec![0_u64; self.nodes.len()];
        for child in self.nodes.iter().flat_map(|node| &node.children) {
            parents[*child] += 1;
        }
        let mut order = vec![0];
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            for child in &self.nodes[node].children {
                parents[*child] -= 1;
                if parents[*child] == 0 {
                    order.push(*child);
                }
            }
            at += 1;
        }
        order
    }

    fn measure(&self, limits: TreeLimits) -> Result<TreeMeasure> {
        let order = self.parents_first();
        let mut depth = vec![1; self.nodes.len()];
        for node in &order {
            if depth[*node] > limits.depth_max {
                return Err(too_deep(limits, self.nodes[*node].checksum));
            }
            for child in &self.nodes[*node].children {
                depth[*child] = depth[*child].max(depth[*node] + 1);
            }
        }
        let mut entries = vec![0_u64; self.nodes.len()];
        for node in order.iter().rev() {
            let Node {
                files, children, ..
            } = &self.nodes[*node];
            let below = |sum: u64, child: &usize| sum.saturating_add(1 + entries[*child]);
            let sum = children.iter().fold(*files, below);
            if sum > limits.entries_max {
                let max = limits.entries_max;
                let problem = format!("holds more than {max} files and directories, all told");
                let name = ObjectName::dirtree(self.nodes[*node].checksum);
                return Err(Error::corrupt(problem).about(name));
            }
            entries[*node] = sum;
        }
        Ok(TreeMeasure {
            entries: entries[0],
            depth: depth.into_iter().max().unwrap_or(1),
            dirtrees: self.nodes.len() as u64,
            missing_dirtrees: self.nodes.iter().filter(|node| node.missing).count() as u64,
        })
    }
}
