//! A tree while trees are laid over one another.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::{Checksum, DirEntry, DirTree, FileEntry, METADATA_BYTES_MAX, ObjectType};
use crate::repo::{TreeRoot, load_dirtree};
use crate::store::{Incoming, ObjectSource};

/// A directory of a [`MutableTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Node(usize);

/// A tree in memory. What is recorded already is loaded only where something is laid over it.
#[derive(Debug)]
pub(super) struct MutableTree {
    dirs: Vec<Dir>,
    free: Vec<Node>,
}

#[derive(Debug, Default)]
struct Dir {
    /// The dirtree it was filled from: if it still is that, there is nothing to write.
    origin: Option<Checksum>,
    meta: Option<Checksum>,
    files: BTreeMap<Box<str>, Checksum>,
    dirs: BTreeMap<Box<str>, Child>,
}

#[derive(Debug, Clone, Copy)]
enum Child {
    Loaded(Node),
    Recorded(TreeRoot),
}

impl MutableTree {
    /// Creates an empty tree, without even a dirmeta for its root.
    pub(super) fn new() -> Self {
        Self {
            dirs: vec![Dir::default()],
            free: Vec::new(),
        }
    }

    pub(super) const ROOT: Node = Node(0);

    /// Fills an empty directory with what `root` records.
    pub(super) async fn load(
        &mut self,
        node: Node,
        root: TreeRoot,
        source: &dyn ObjectSource,
    ) -> Result<()> {
        let tree = load_dirtree(source, &root.tree).await?;
        let dir = &mut self.dirs[node.0];
        dir.origin = Some(root.tree);
        dir.meta = Some(root.meta);
        let files = tree.files().iter();
        dir.files
            .extend(files.map(|file| (file.name.clone(), file.file)));
        let recorded = |entry: &DirEntry| {
            let root = TreeRoot {
                tree: entry.tree,
                meta: entry.meta,
            };
            (entry.name.clone(), Child::Recorded(root))
        };
        dir.dirs.extend(tree.dirs().iter().map(recorded));
        Ok(())
    }

    /// Returns whether nothing at all is in the tree yet.
    pub(super) fn is_blank(&self) -> bool {
        let root = &self.dirs[Self::ROOT.0];
        root.meta.is_none() && root.files.is_empty() && root.dirs.is_empty()
    }

    /// Returns whether the directory `name` is in `node`.
    pub(super) fn has_dir(&self, node: Node, name: &str) -> bool {
        self.dirs[node.0].dirs.contains_key(name)
    }

    /// Returns the file `name` in `node`.
    pub(super) fn file(&self, node: Node, name: &str) -> Option<Checksum> {
        self.dirs[node.0].files.get(name).copied()
    }

    /// Returns whether a directory has a dirmeta yet.
    pub(super) fn has_meta(&self, node: Node) -> bool {
        self.dirs[node.0].meta.is_some()
    }

    /// Returns the directory `name` in `node`, made if it is not there.
    pub(super) async fn enter(
        &mut self,
        node: Node,
        name: &str,
        source: &dyn ObjectSource,
    ) -> Result<Node> {
        self.check_dir(node, name)?;
        let child = self.dirs[node.0].dirs.get(name).copied();
        if let Some(Child::Loaded(child)) = child {
            return Ok(child);
        }
        let made = self.free.pop().unwrap_or(Node(self.dirs.len()));
        if made.0 == self.dirs.len() {
            self.dirs.push(Dir::default());
        }
        if let Some(Child::Recorded(root)) = child {
            self.load(made, root, source).await?;
        }
        self.dirs[node.0]
            .dirs
            .insert(name.into(), Child::Loaded(made));
        Ok(made)
    }

    /// Fails if a file stands where the directory `name` is to be.
    fn check_dir(&self, node: Node, name: &str) -> Result<()> {
        if self.dirs[node.0].files.contains_key(name) {
            let problem = format!("Can't replace file with directory: {name}");
            return Err(Error::invalid(problem));
        }
        Ok(())
    }

    /// Fails if a directory stands where the file `name` is to be.
    pub(super) fn check_file(&self, node: Node, name: &str) -> Result<()> {
        if self.dirs[node.0].dirs.contains_key(name) {
            let problem = format!("Can't replace directory with file: {name}");
            return Err(Error::invalid(problem));
        }
        Ok(())
    }

    pub(super) fn set_file(&mut self, node: Node, name: Box<str>, file: Checksum) {
        self.dirs[node.0].files.insert(name, file);
    }

    pub(super) fn set_meta(&mut self, node: Node, meta: Checksum) {
        self.dirs[node.0].meta = Some(meta);
    }

    /// Puts a recorded directory where none is yet; returns whether there was none.
    pub(super) fn attach(&mut self, node: Node, name: &str, root: TreeRoot) -> Result<bool> {
        self.check_dir(node, name)?;
        let dirs = &mut self.dirs[node.0].dirs;
        if dirs.contains_key(name) {
            return Ok(false);
        }
        dirs.insert(name.into(), Child::Recorded(root));
        Ok(true)
    }

    /// Records the directory `name` in `parent`, which nothing will be laid over any more.
    pub(super) fn settle(
        &mut self,
        parent: Node,
        name: &str,
        out: &mut Vec<Incoming>,
    ) -> Result<()> {
        let child = self.dirs[parent.0].dirs.get(name).copied();
        if let Some(Child::Loaded(child)) = child {
            let root = self.record(child, out)?;
            let dirs = &mut self.dirs[parent.0].dirs;
            dirs.insert(name.into(), Child::Recorded(root));
        }
        Ok(())
    }

    /// Writes the dirtrees of `node` and of all below it that are not recorded.
    ///
    /// Recursion is bounded: whatever is loaded was entered, which is bounded by the walks.
    pub(super) fn record(&mut self, node: Node, out: &mut Vec<Incoming>) -> Result<TreeRoot> {
        let dir = std::mem::take(&mut self.dirs[node.0]);
        if node != Self::ROOT {
            self.free.push(node);
        }
        let mut dirs = Vec::with_capacity(dir.dirs.len());
        for (name, child) in dir.dirs {
            let root = match child {
                Child::Recorded(root) => root,
                Child::Loaded(child) => self.record(child, out)?,
            };
            dirs.push(DirEntry {
                name,
                tree: root.tree,
                meta: root.meta,
            });
        }
        let files = dir.files.into_iter();
        let files = files.map(|(name, file)| FileEntry { name, file });
        let tree = DirTree::new(files.collect(), dirs)?;
        let meta = dir.meta.ok_or_else(|| {
            Error::invalid("Can't commit an empty tree: give a directory, a commit or a base")
        })?;
        let bytes = tree.to_bytes();
        if bytes.len() as u64 > METADATA_BYTES_MAX {
            let problem = format!(
                "a directory of {} entries is longer than the limit for metadata, \
                 {METADATA_BYTES_MAX} bytes",
                tree.files().len() + tree.dirs().len()
            );
            return Err(Error::invalid(problem));
        }
        let tree = Checksum::of(&bytes);
        if dir.origin != Some(tree) {
            out.push(Incoming::recorded_metadata(ObjectType::DirTree, bytes));
        }
        Ok(TreeRoot { tree, meta })
    }
}
