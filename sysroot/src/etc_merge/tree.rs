//! A tree of configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use treeferry_core::error::Result;
use treeferry_core::format::{Checksum, Hasher};

use crate::files::{self, failed};

/// A tree of configuration: what is at each path, relative to its root, which is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcTree(pub BTreeMap<PathBuf, Node>);

/// What is at a path. Extended attributes do not count: labels differ between `/usr/etc` and `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file, with the SHA-256 of its content.
    File(Checksum),
    /// A symbolic link, with its target.
    Symlink(OsString),
    /// Anything else, which no merge takes along.
    Special,
}

impl Node {
    /// Returns whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Returns whether both are of one kind, whatever is in them.
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.kind) == std::mem::discriminant(&other.kind)
    }
}

impl EtcTree {
    /// Returns what is at `path`.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.0.get(path)
    }

    /// Returns what is below `path`, itself included, parents first.
    pub fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
        let from = self
            .0
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.take_while(move |(p, _)| p.starts_with(path))
    }

    /// Returns the names directly in `path`, sorted.
    pub fn children<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        let depth = path.components().count() + 1;
        let below: Box<dyn Iterator<Item = (&PathBuf, &Node)>> = match depth {
            1 => Box::new(self.0.iter()),
            _ => Box::new(self.below(path)),
        };
        below
            .map(|(p, _)| p)
            .filter(move |p| p.components().count() == depth)
    }

    /// Removes what is at `path` and below it.
    pub(crate) fn remove(&mut self, path: &Path) {
        let doomed: Vec<_> = self.below(path).map(|(p, _)| p.clone()).collect();
        for path in doomed {
            self.0.remove(&path);
        }
    }

    /// Reads the tree in a directory; an empty one when there is none. **Blocking.**
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = BTreeMap::new();
        let mut todo = vec![PathBuf::new()];
        while let Some(dir) = todo.pop() {
            for name in files::names(&root.join(&dir))? {
                let path = dir.join(name);
                let node = read_node(&root.join(&path))?;
                if node.is_dir() {
                    todo.push(path.clone());
                }
                tree.insert(path, node);
            }
        }
        Ok(Self(tree))
    }
}

fn read_node(path: &Path) -> Result<Node> {
    let meta = fs::symlink_metadata(path).map_err(failed(path, "cannot be looked at"))?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => Kind::Dir,
        kind if kind.is_file() => {
            let mut file = fs::File::open(path).map_err(failed(path, "cannot be opened"))?;
            Kind::File(hash(&mut file).map_err(failed(path, "cannot be read"))?)
        }
        kind if kind.is_symlink() => {
            let target = fs::read_link(path).map_err(failed(path, "cannot be read"))?;
            Kind::Symlink(target.into_os_string())
        }
        _ => Kind::Special,
    };
    Ok(Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

fn hash(file: &mut fs::File) -> std::io::Result<Checksum> {
    use std::io::Read;
    let mut hasher = Hasher::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
