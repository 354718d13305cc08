//! What to fetch next. Does no I/O: it is told what arrived, and says what that makes wanted.
//!
//! What it has seen may be too much for memory. Then it cannot tell whether a name is new: it hands
//! such names out to be [sifted](Planner::take_unsifted), and takes back what was.

use std::collections::HashMap;

use super::options::{Limits, Scope};
use crate::error::{Error, Result};
use crate::format::{Checksum, Commit, DirMeta, DirTree, ObjectName, ObjectSize, read_sizes};
use crate::repo::{Depth, split_path};
use crate::spill::{Name, NameSet};

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

/// Something that is wanted if it is wanted for the first time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Candidate {
    Metadata(Want),
    Content(Checksum),
}

impl Candidate {
    /// Returns what it is known by among those seen.
    pub(super) fn name(&self) -> Name {
        match self {
            Self::Content(file) => Name::new(0, file),
            Self::Metadata(want) => {
                let role = match want.role {
                    Role::Meta => 1,
                    Role::Commit { .. } => 2,
                    // There are as many filters as there are directories in subpaths.
                    Role::Tree { filter, .. } => u32::try_from(3 + filter.0).unwrap_or(u32::MAX),
                };
                Name::new(role, &want.name.checksum)
            }
        }
    }
}

/// How many announced sizes of files are kept; more than that, and totals are estimated.
const SIZES_MAX: usize = 200_000;

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
    seen: NameSet,
    metadata: Vec<Want>,
    content: Vec<Checksum>,
    /// Of which it is not known whether they were seen.
    unsifted: Vec<Candidate>,
    sizes: HashMap<Checksum, ObjectSize>,
}

impl Planner {
    /// Creates a planner that has seen nothing; `seen` is empty.
    pub(super) fn new(scope: Scope, limits: Limits, seen: NameSet) -> Result<Self> {
        let mut planner = Self {
            limits,
            scope: Scope::Everything,
            // The first two nodes are `ALL`, whose children are not looked up, and the root.
            filters: vec![HashMap::new(), HashMap::new()],
            seen,
            metadata: Vec::new(),
            content: Vec::new(),
            unsifted: Vec::new(),
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
        let role = Role::Commit { depth, asked_for };
        let name = ObjectName::commit(checksum);
        self.offer(Candidate::Metadata(Want { name, role }));
    }

    fn offer(&mut self, candidate: Candidate) {
        match self.seen.insert_now(candidate.name()) {
            Some(true) => self.accept(candidate),
            Some(false) => {}
            None => self.unsifted.push(candidate),
        }
    }

    fn accept(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Metadata(want) => self.metadata.push(want),
            Candidate::Content(file) => self.content.push(file),
        }
    }

    /// Returns what has been seen, which a sieve adds to.
    pub(super) fn seen(&self) -> &NameSet {
        &self.seen
    }

    /// Takes candidates of which it must be found out whether they are new, at most `max`.
    pub(super) fn take_unsifted(&mut self, max: usize) -> Vec<Candidate> {
        self.unsifted
            .split_off(self.unsifted.len().saturating_sub(max))
    }

    /// Tells which candidates are new: they count as seen by now.
    pub(super) fn on_sifted(&mut self, new: Vec<Candidate>) {
        for candidate in new {
            self.accept(candidate);
        }
    }

    /// Puts back what was taken and not looked at.
    pub(super) fn put_back(&mut self, wants: Vec<Want>) {
        self.metadata.extend(wants);
    }

    /// Returns how much is known to be wanted, or may be, of content.
    pub(super) fn content_waiting(&self) -> usize {
        self.content.len() + self.unsifted.len()
    }

    /// Returns whether candidates wait to be sifted.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsifted.is_empty()
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
            if self.sizes.len() < SIZES_MAX {
                self.sizes.insert(size.checksum, size);
            }
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
        self.offer(Candidate::Metadata(Want {
            name: ObjectName::dirmeta(meta),
            role: Role::Meta,
        }));
        let want = |filter| Want {
            name: ObjectName::dirtree(tree),
            role: Role::Tree { level, filter },
        };
        let whole = Candidate::Metadata(want(Filter::ALL));
        if filter == Filter::ALL || !self.seen.is_known(&whole.name()) {
            self.offer(Candidate::Metadata(want(filter)));
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
            if wanted {
                self.offer(Candidate::Content(entry.file));
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
