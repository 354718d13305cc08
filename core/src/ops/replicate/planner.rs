//! What to fetch next. Does no I/O: it is told what arrived, and says what that makes wanted.

use std::collections::{HashMap, HashSet};

use super::options::{Limits, Scope};
use crate::error::{Error, Result};
use crate::format::{Checksum, Commit, DirMeta, DirTree, ObjectName, ObjectSize, read_sizes};
use crate::repo::{Depth, split_path};

/// A metadata object that is wanted, and why: that decides what its children are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) name: ObjectName,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A commit that was asked for, or the parent of one, which may be missing at the source.
    Commit {
        depth: Depth,
        asked_for: bool,
    },
    /// A directory so many levels down, of which `filter` says what is wanted.
    Tree {
        level: usize,
        filter: Filter,
    },
    Meta,
}

/// A node in the tree of subpaths. [`Filter::ALL`] wants everything below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Filter(usize);

impl Filter {
    const ALL: Self = Self(0);
    const ROOT: Self = Self(1);
}

/// The state of a walk that grows from what arrives.
#[derive(Debug)]
pub(super) struct Planner {
    limits: Limits,
    scope: Scope,
    filters: Vec<HashMap<String, Filter>>,
    seen_trees: HashSet<(Checksum, Filter)>,
    seen_metas: HashSet<Checksum>,
    seen_files: HashSet<Checksum>,
    seen_commits: HashSet<Checksum>,
    metadata: Vec<Want>,
    content: Vec<Checksum>,
    sizes: HashMap<Checksum, ObjectSize>,
}

impl Planner {
    pub(super) fn new(scope: Scope, limits: Limits) -> Result<Self> {
        let mut planner = Self {
            limits,
            scope: Scope::Everything,
            // The first two nodes are `ALL`, whose children are not looked up, and the root.
            filters: vec![HashMap::new(), HashMap::new()],
            seen_trees: HashSet::new(),
            seen_metas: HashSet::new(),
            seen_files: HashSet::new(),
            seen_commits: HashSet::new(),
            metadata: Vec::new(),
            content: Vec::new(),
            sizes: HashMap::new(),
        };
        if let Scope::Subpaths(paths) = &scope {
            for path in paths {
                planner.add_subpath(path)?;
            }
        }
        planner.scope = scope;
        Ok(planner)
    }

    fn add_subpath(&mut self, path: &str) -> Result<()> {
        let mut node = Filter::ROOT;
        let parts = split_path(path)?;
        let Some((last, dirs)) = parts.split_last() else {
            return Err(Error::invalid(
                "the subpath '/' is the whole tree: leave it out",
            ));
        };
        for part in dirs {
            let known = self.filters[node.0].get(*part).copied();
            node = match known {
                // A directory above is wanted whole already.
                Some(Filter::ALL) => return Ok(()),
                Some(next) => next,
                None => {
                    self.filters.push(HashMap::new());
                    let next = Filter(self.filters.len() - 1);
                    self.filters[node.0].insert((*part).to_owned(), next);
                    next
                }
            };
        }
        self.filters[node.0].insert((*last).to_owned(), Filter::ALL);
        Ok(())
    }

    /// Asks for a commit.
    pub(super) fn want_commit(&mut self, checksum: Checksum, depth: Depth) {
        self.push_commit(checksum, depth, true);
    }

    fn push_commit(&mut self, checksum: Checksum, depth: Depth, asked_for: bool) {
        if self.seen_commits.insert(checksum) {
            let role = Role::Commit { depth, asked_for };
            self.metadata.push(Want {
                name: ObjectName::commit(checksum),
                role,
            });
        }
    }

    /// Takes what is wanted of metadata, at most `max`.
    pub(super) fn take_metadata(&mut self, max: usize) -> Vec<Want> {
        self.metadata
            .split_off(self.metadata.len().saturating_sub(max))
    }

    /// Takes what is wanted of content, at most `max`.
    pub(super) fn take_content(&mut self, max: usize) -> Vec<Checksum> {
        self.content
            .split_off(self.content.len().saturating_sub(max))
    }

    /// Tells that a wanted object is at hand, and what its bytes are.
    pub(super) fn on_object(&mut self, want: &Want, bytes: &[u8]) -> Result<()> {
        let about = |e| Error::from(e).about(want.name);
        match want.role {
            Role::Commit { depth, .. } => {
                let commit = Commit::parse(bytes).map_err(about)?;
                self.on_commit(&commit, depth)
                    .map_err(|e| e.about(want.name))
            }
            Role::Tree { level, filter } => {
                let tree = DirTree::parse(bytes).map_err(about)?;
                self.on_tree(&tree, level, filter)
                    .map_err(|e| e.about(want.name))
            }
            Role::Meta => DirMeta::parse(bytes).map(drop).map_err(about),
        }
    }

    /// Tells that the source does not have a wanted object. History may end; all else is an error.
    pub(super) fn on_missing(&self, want: &Want, source: &str) -> Result<()> {
        match want.role {
            Role::Commit {
                asked_for: false, ..
            } => Ok(()),
            _ => Err(Error::missing(format!("is not at {source}")).about(want.name)),
        }
    }

    /// Returns the parents' part of the wish for a commit that need not be walked again.
    pub(super) fn is_commit(want: &Want) -> bool {
        matches!(want.role, Role::Commit { .. })
    }

    /// Tells that a wanted commit is there and whole: only its history is still of interest.
    pub(super) fn on_whole_commit(&mut self, want: &Want, bytes: &[u8]) -> Result<()> {
        let Role::Commit { depth, .. } = want.role else {
            return Ok(());
        };
        let commit = Commit::parse(bytes).map_err(|e| Error::from(e).about(want.name))?;
        self.push_parent(&commit, depth);
        Ok(())
    }

    fn on_commit(&mut self, commit: &Commit, depth: Depth) -> Result<()> {
        self.push_parent(commit, depth);
        if self.scope == Scope::CommitMetadataOnly {
            return Ok(());
        }
        for size in read_sizes(&commit.metadata)?.unwrap_or_default() {
            self.sizes.insert(size.checksum, size);
        }
        let filter = match self.scope {
            Scope::Subpaths(_) => Filter::ROOT,
            _ => Filter::ALL,
        };
        self.push_dir(commit.tree, commit.meta, 0, filter);
        Ok(())
    }

    fn push_parent(&mut self, commit: &Commit, depth: Depth) {
        if let (Some(parent), Some(depth)) = (commit.parent, depth.step()) {
            self.push_commit(parent, depth, false);
        }
    }

    fn push_dir(&mut self, tree: Checksum, meta: Checksum, level: usize, filter: Filter) {
        if self.seen_metas.insert(meta) {
            self.metadata.push(Want {
                name: ObjectName::dirmeta(meta),
                role: Role::Meta,
            });
        }
        let whole_is_seen = self.seen_trees.contains(&(tree, Filter::ALL));
        if !whole_is_seen && self.seen_trees.insert((tree, filter)) {
            let role = Role::Tree { level, filter };
            self.metadata.push(Want {
                name: ObjectName::dirtree(tree),
                role,
            });
        }
    }

    fn on_tree(&mut self, tree: &DirTree, level: usize, filter: Filter) -> Result<()> {
        if level >= self.limits.tree_depth_max {
            let max = self.limits.tree_depth_max;
            return Err(Error::corrupt(format!(
                "directories are nested deeper than {max}"
            )));
        }
        for entry in tree.files() {
            let wanted = filter == Filter::ALL || self.below(filter, &entry.name).is_some();
            if wanted && self.seen_files.insert(entry.file) {
                self.content.push(entry.file);
            }
        }
        for entry in tree.dirs() {
            if let Some(below) = self.below(filter, &entry.name) {
                self.push_dir(entry.tree, entry.meta, level + 1, below);
            }
        }
        Ok(())
    }

    fn below(&self, filter: Filter, name: &str) -> Option<Filter> {
        if filter == Filter::ALL {
            return Some(Filter::ALL);
        }
        self.filters[filter.0].get(name).copied()
    }

    /// Returns how long a file is in an archive, where a commit announced it.
    pub(super) fn archived_bytes(&self, file: &Checksum) -> Option<u64> {
        self.announced(file).map(|size| size.archived_bytes)
    }

    /// Returns what a commit announced of a file.
    pub(super) fn announced(&self, file: &Checksum) -> Option<ObjectSize> {
        self.sizes.get(file).copied()
    }
}
