//! Which objects a set of commits needs: what a prune keeps, and what a check reads.
//!
//! Each commit, dirtree and dirmeta is visited once, level by level and without recursion, so that
//! neither a deep tree nor the many paths through a shared one cost more than their objects do.
//! Whole commits are walked before partial ones: what only the latter miss is no problem.
//!
//! Commits, and the dirtrees of one level, are held in memory; what was seen spills.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::{Depth, Repo, load_many};
use crate::error::{Error, Result};
use crate::format::{
    Checksum, Commit, DirTree, FormatError, ObjectName, ObjectType, TREE_DEPTH_MAX,
};
use crate::spill::{Name, NameSet, SortedNames};

/// Dirtrees whose entries are held in memory at once.
const TREES_A_STEP: usize = 1024;

/// Names that are added to those seen in one step.
const NAMES_A_STEP: usize = 8192;

/// A commit to walk from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReachRoot {
    /// The commit. That it is not there is no problem.
    pub commit: Checksum,
    /// How much of its history comes along.
    pub history: History,
}

/// How much history of a commit is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// So many parents.
    Depth(Depth),
    /// The parents up to the first that is older than this many seconds since 1970. The commit
    /// itself is walked in any case, and nothing but it if it is older itself.
    Since(u64),
}

/// How much of each commit is walked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReachScope {
    /// All of its tree.
    #[default]
    Everything,
    /// The commit object alone.
    CommitsOnly,
}

/// What to walk.
#[derive(Debug, Clone, Default)]
pub struct ReachOptions {
    /// How much of each commit.
    pub scope: ReachScope,
    /// Commits to take for absent: they are about to be deleted.
    pub absent: HashSet<Checksum>,
}

/// The objects that were found to be needed.
///
/// That an object is needed does not mean that it is there: dirmetas and files are not looked up.
#[derive(Debug)]
pub struct Reachable {
    names: SortedNames,
    counts: [u64; ROLES],
    problems: Vec<ReachProblem>,
    absent_roots: Vec<Checksum>,
    too_deep: Option<Checksum>,
}

/// An object of which the walk could not read what it needs.
#[derive(Debug)]
pub struct ReachProblem {
    /// The commit or dirtree.
    pub name: ObjectName,
    /// What is wrong: missing, corrupt, or unreadable.
    pub error: Error,
}

impl Reachable {
    /// Returns of each object whether it is needed. Extended attributes that are kept apart from
    /// files are not tracked: they never are.
    pub async fn contains(&self, names: &[ObjectName]) -> Result<Vec<bool>> {
        let names = names.iter().map(name_of).collect();
        self.names.contains(names).await
    }

    /// Returns the checksums of the needed objects of one kind that come after `after`, in order,
    /// at most `max` of them.
    pub async fn checksums(
        &self,
        object_type: ObjectType,
        after: Option<Checksum>,
        max: usize,
    ) -> Result<Vec<Checksum>> {
        self.names.page(role_of(object_type), after, max).await
    }

    /// Returns how many objects of one kind are needed.
    pub fn count(&self, object_type: ObjectType) -> u64 {
        self.counts[role_of(object_type) as usize]
    }

    /// Returns what could not be read: what these objects need is not known.
    pub fn problems(&self) -> &[ReachProblem] {
        &self.problems
    }

    /// Takes the problems out.
    pub(crate) fn take_problems(&mut self) -> Vec<ReachProblem> {
        std::mem::take(&mut self.problems)
    }

    /// Returns the roots that are not there, except those that were to be taken for absent.
    pub fn absent_roots(&self) -> &[Checksum] {
        &self.absent_roots
    }

    /// Returns a dirtree that is nested deeper than trees may be, if there is one.
    pub fn too_deep(&self) -> Option<Checksum> {
        self.too_deep
    }
}

const ROLES: usize = ObjectType::ALL.len();

fn role_of(object_type: ObjectType) -> u32 {
    object_type as u32
}

fn name_of(name: &ObjectName) -> Name {
    Name::new(role_of(name.object_type), &name.checksum)
}

/// What a walk has found so far.
struct Found {
    names: NameSet,
    counts: [u64; ROLES],
    problems: Vec<ReachProblem>,
    absent_roots: Vec<Checksum>,
    too_deep: Option<Checksum>,
}

impl Found {
    /// Notes objects, and returns those that are new, in their order.
    async fn add(&mut self, names: Vec<ObjectName>) -> Result<Vec<ObjectName>> {
        let new = self.names.insert(names.iter().map(name_of).collect());
        let new = names.into_iter().zip(new.await?);
        let new: Vec<_> = new.filter_map(|(name, new)| new.then_some(name)).collect();
        for name in &new {
            self.counts[role_of(name.object_type) as usize] += 1;
        }
        Ok(new)
    }

    async fn done(self) -> Result<Reachable> {
        Ok(Reachable {
            names: self.names.into_sorted().await?,
            counts: self.counts,
            problems: self.problems,
            absent_roots: self.absent_roots,
            too_deep: self.too_deep,
        })
    }
}

impl Repo {
    /// Finds all objects that are reachable from `roots`.
    ///
    /// Missing commits end a history and are no problem. A dirtree that is missing is one, unless
    /// only partial commits need it.
    ///
    /// # Errors
    ///
    /// What is wrong with single objects is told by [`Reachable::problems`] instead: a caller that
    /// deletes what is not reachable must not go on if there are any.
    pub async fn reach(&self, roots: &[ReachRoot], options: &ReachOptions) -> Result<Reachable> {
        let mut found = Found {
            names: NameSet::new(self.spill().clone(), self.pool().clone()),
            counts: [0; ROLES],
            problems: Vec::new(),
            absent_roots: Vec::new(),
            too_deep: None,
        };
        let commits = CommitWalk::new(options)
            .run(self, roots, &mut found)
            .await?;
        if options.scope == ReachScope::CommitsOnly {
            return found.done().await;
        }
        let partial: HashSet<_> = self.state().list_partial().await?.into_iter().collect();
        let (partial, whole): (Vec<_>, Vec<_>) = commits
            .into_iter()
            .partition(|(checksum, _)| partial.contains(checksum));
        walk_trees(self, whole, Completeness::Whole, &mut found).await?;
        walk_trees(self, partial, Completeness::Partial, &mut found).await?;
        found.done().await
    }
}

/// What a walk keeps of a commit.
#[derive(Debug, Clone, Copy)]
struct Node {
    parent: Option<Checksum>,
    timestamp: u64,
    tree: Checksum,
    meta: Checksum,
}

/// One commit wanted with some history; the root of a walk, or the parent of one.
#[derive(Debug, Clone, Copy)]
struct Visit {
    commit: Checksum,
    history: History,
    is_root: bool,
}

struct CommitWalk<'a> {
    options: &'a ReachOptions,
    nodes: HashMap<Checksum, Option<Node>>,
    depths: HashMap<Checksum, Depth>,
    sinces: HashMap<Checksum, u64>,
}

impl<'a> CommitWalk<'a> {
    fn new(options: &'a ReachOptions) -> Self {
        Self {
            options,
            nodes: HashMap::new(),
            depths: HashMap::new(),
            sinces: HashMap::new(),
        }
    }

    /// Walks over history and returns the commits that are reachable and there.
    async fn run(
        mut self,
        repo: &Repo,
        roots: &[ReachRoot],
        found: &mut Found,
    ) -> Result<Vec<(Checksum, Node)>> {
        let root = |root: &ReachRoot| Visit {
            commit: root.commit,
            history: root.history,
            is_root: true,
        };
        let mut frontier: Vec<Visit> = roots.iter().map(root).collect();
        let mut reached = Vec::new();
        let mut seen = HashSet::new();
        while !frontier.is_empty() {
            self.load(repo, &frontier, found).await?;
            for visit in std::mem::take(&mut frontier) {
                let Some(node) = self.nodes.get(&visit.commit).copied().flatten() else {
                    continue;
                };
                let is_old = matches!(visit.history, History::Since(t) if node.timestamp < t);
                if is_old && !visit.is_root {
                    continue;
                }
                if seen.insert(visit.commit) {
                    reached.push((visit.commit, node));
                }
                if self.is_news(&visit)
                    && let Some(parent) = node.parent
                    && let Some(history) = older(visit.history, is_old)
                {
                    frontier.push(Visit {
                        commit: parent,
                        history,
                        is_root: false,
                    });
                }
            }
        }
        let names = reached
            .iter()
            .map(|(commit, _)| ObjectName::commit(*commit));
        found.add(names.collect()).await?;
        Ok(reached)
    }

    async fn load(&mut self, repo: &Repo, visits: &[Visit], found: &mut Found) -> Result<()> {
        let mut names = Vec::new();
        for visit in visits {
            if let Entry::Vacant(entry) = self.nodes.entry(visit.commit) {
                entry.insert(None);
                if !self.options.absent.contains(&visit.commit) {
                    names.push(ObjectName::commit(visit.commit));
                }
            }
        }
        let parse = |bytes: &[u8]| {
            Commit::parse(bytes).map(|commit| Node {
                parent: commit.parent,
                timestamp: commit.timestamp,
                tree: commit.tree,
                meta: commit.meta,
            })
        };
        let roots = visits.iter().filter(|visit| visit.is_root);
        let roots: HashSet<_> = roots.map(|visit| visit.commit).collect();
        for (name, loaded) in load_many(repo, names, parse).await? {
            match loaded {
                Ok(None) if roots.contains(&name.checksum) => {
                    found.absent_roots.push(name.checksum)
                }
                Ok(node) => _ = self.nodes.insert(name.checksum, node),
                Err(error) => found.problems.push(ReachProblem { name, error }),
            }
        }
        Ok(())
    }

    /// Returns whether a visit leads further back than those before it.
    fn is_news(&mut self, visit: &Visit) -> bool {
        match visit.history {
            History::Depth(depth) => match self.depths.entry(visit.commit) {
                Entry::Occupied(known) if known.get().covers(depth) => false,
                entry => {
                    entry.insert_entry(depth);
                    true
                }
            },
            History::Since(since) => match self.sinces.entry(visit.commit) {
                Entry::Occupied(known) if *known.get() <= since => false,
                entry => {
                    entry.insert_entry(since);
                    true
                }
            },
        }
    }
}

fn older(history: History, is_old: bool) -> Option<History> {
    match history {
        History::Depth(depth) => depth.step().map(History::Depth),
        History::Since(_) if is_old => None,
        History::Since(since) => Some(History::Since(since)),
    }
}

/// Whether all dirtrees have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completeness {
    Whole,
    Partial,
}

async fn walk_trees(
    repo: &Repo,
    commits: Vec<(Checksum, Node)>,
    completeness: Completeness,
    found: &mut Found,
) -> Result<()> {
    let roots = commits.iter().flat_map(|(_, node)| {
        let tree = ObjectName::dirtree(node.tree);
        [ObjectName::dirmeta(node.meta), tree]
    });
    let mut level = Vec::new();
    enter(roots.collect(), found, &mut level).await?;
    let mut depth = 0;
    while !level.is_empty() {
        if depth >= TREE_DEPTH_MAX {
            found.too_deep = found.too_deep.or(level.first().copied());
        }
        let mut next = Vec::new();
        for step in level.chunks(TREES_A_STEP) {
            let names = step.iter().copied().map(ObjectName::dirtree).collect();
            let mut entries = Vec::new();
            for (name, loaded) in load_many(repo, names, children).await? {
                match loaded {
                    Ok(Some(children)) => entries.extend(children),
                    Ok(None) if completeness == Completeness::Partial => {}
                    Ok(None) => {
                        let error = Error::missing("is not in the repository").about(name);
                        found.problems.push(ReachProblem { name, error });
                    }
                    Err(error) => found.problems.push(ReachProblem { name, error }),
                }
                if entries.len() >= NAMES_A_STEP {
                    enter(std::mem::take(&mut entries), found, &mut next).await?;
                }
            }
            enter(entries, found, &mut next).await?;
        }
        level = next;
        depth += 1;
    }
    Ok(())
}

/// Returns what a dirtree names.
fn children(bytes: &[u8]) -> std::result::Result<Vec<ObjectName>, FormatError> {
    let tree = DirTree::parse(bytes)?;
    let files = tree.files().iter();
    let files = files.map(|entry| ObjectName::file(entry.file));
    let dirs = tree.dirs().iter();
    let dirs = dirs.flat_map(|e| [ObjectName::dirmeta(e.meta), ObjectName::dirtree(e.tree)]);
    Ok(files.chain(dirs).collect())
}

/// Notes objects; the dirtrees among them that are new are for the next level.
async fn enter(names: Vec<ObjectName>, found: &mut Found, next: &mut Vec<Checksum>) -> Result<()> {
    let new = found.add(names).await?.into_iter();
    let trees = new.filter(|name| name.object_type == ObjectType::DirTree);
    next.extend(trees.map(|name| name.checksum));
    Ok(())
}
