//! Decides a merge. Pure.
//!
//! What the administrator changed is carried over to a copy of what the new system ships, in the
//! order and by the rules of OSTree: first what was removed, then what was changed, then what was
//! added. The copy is played through in memory, so that the plan knows what each step meets.

use std::fmt;
use std::path::{Path, PathBuf};

use super::report::{MergeReport, Resolution, classify};
use super::strategy::{BESIDE_SUFFIX, Strategies, Strategy};
use super::tree::{EtcTree, Kind, Node};

/// A merge, decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergePlan {
    /// What is to be done to a copy of what the new system ships, in order.
    pub actions: Vec<Action>,
    /// What comes out.
    pub result: EtcTree,
    /// What became of each path.
    pub report: MergeReport,
    /// How many paths the administrator changed, removed and added.
    pub counts: (usize, usize, usize),
}

/// A step of a merge. Paths are relative to `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// What is there is removed, with all below it.
    Remove(PathBuf),
    /// A directory is made, if it is not there, and gets the attributes that it has now.
    Dir(PathBuf),
    /// A file or symbolic link is copied from what is there now.
    Copy(PathBuf),
    /// A directory is copied from what is there now, with all in it.
    CopyTree(PathBuf),
    /// What the new system ships is copied beside.
    Beside {
        /// What.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },
}

/// Why a merge is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Where, relative to `/etc`.
    pub path: PathBuf,
    /// By what.
    pub by: BlockedBy,
}

/// What makes a merge impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedBy {
    /// The new system has a directory where the administrator's file is.
    NewDirectory,
    /// The new system has a file where a directory would have to be.
    ParentIsFile,
    /// The new system has a symbolic link where a directory would have to be.
    ParentIsSymlink,
    /// It is neither file, link nor directory, and in a directory that has to be copied.
    Special,
    /// Both sides changed it, and it was asked to stop then.
    Conflict,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.by {
            BlockedBy::NewDirectory => write!(
                f,
                "Modified config file newly defaults to directory '{path}', cannot merge"
            ),
            BlockedBy::ParentIsFile => {
                write!(
                    f,
                    "/etc/{path}: the new system has a file in place of a directory above it"
                )
            }
            BlockedBy::ParentIsSymlink => write!(
                f,
                "/etc/{path}: the new system has a symbolic link in place of a directory above it"
            ),
            BlockedBy::Special => write!(
                f,
                "/etc/{path}: Cannot copy non-regular/non-symlink file; remove it, or choose a strategy that \
                 leaves it behind, such as keep-mine"
            ),
            BlockedBy::Conflict => write!(f, "/etc/{path} was changed here and in the new system"),
        }
    }
}

/// Decides the merge of `mine`, which was made of `old`, onto `new`.
///
/// # Errors
/// Says at which path it is not possible. Nothing was done then.
pub fn plan(
    old: &EtcTree,
    mine: &EtcTree,
    new: &EtcTree,
    strategies: &Strategies,
) -> Result<MergePlan, Blocked> {
    let changes = Changes::find(old, mine);
    let mut merge = Merge {
        old,
        mine,
        new,
        strategies,
        result: new.clone(),
        actions: Vec::new(),
        copied: Vec::new(),
    };
    for path in &changes.removed {
        merge.removed(path)?;
    }
    for path in changes.modified.iter().chain(&changes.added) {
        merge.changed(path)?;
    }
    merge.keep_unchanged()?;
    let resolution = |path: &Path| resolution(strategies.of(path));
    let report = classify(old, mine, new, &merge.result, resolution);
    Ok(MergePlan {
        counts: (
            changes.modified.len(),
            changes.removed.len(),
            changes.added.len(),
        ),
        actions: merge.actions,
        result: merge.result,
        report,
    })
}

/// Returns what differs between two trees: a letter, `M` changed, `D` removed or `A` added, and the
/// path, in OSTree's order.
pub(crate) fn differences(old: &EtcTree, mine: &EtcTree) -> Vec<(char, PathBuf)> {
    let Changes {
        removed,
        modified,
        added,
    } = Changes::find(old, mine);
    let lettered = |letter, paths: Vec<PathBuf>| paths.into_iter().map(move |path| (letter, path));
    let all = lettered('M', modified).chain(lettered('D', removed));
    all.chain(lettered('A', added)).collect()
}

fn resolution(strategy: Strategy) -> Resolution {
    match strategy {
        Strategy::TakeNew => Resolution::TookNew,
        Strategy::Beside => Resolution::KeptBoth,
        Strategy::Ostree | Strategy::KeepMine | Strategy::Fail => Resolution::KeptMine,
    }
}

/// What the administrator changed. Parents come before what is in them.
#[derive(Debug, Default)]
struct Changes {
    removed: Vec<PathBuf>,
    modified: Vec<PathBuf>,
    added: Vec<PathBuf>,
}

impl Changes {
    fn find(old: &EtcTree, mine: &EtcTree) -> Self {
        let mut changes = Self::default();
        let mut todo = vec![PathBuf::new()];
        while let Some(dir) = todo.pop() {
            for path in old.children(&dir) {
                let (Some(before), now) = (old.get(path), mine.get(path)) else {
                    continue;
                };
                match now {
                    // What was in a directory that is gone is gone with it.
                    None => changes.removed.push(path.clone()),
                    Some(now) => {
                        if before != now {
                            changes.modified.push(path.clone());
                        }
                        // Of what took the place of another kind, what is in it is not looked at.
                        if before.is_dir() && now.is_dir() {
                            todo.push(path.clone());
                        }
                    }
                }
            }
            let added = mine.children(&dir).filter(|path| old.get(path).is_none());
            for path in added {
                changes
                    .added
                    .extend(mine.below(path).map(|(path, _)| path.clone()));
            }
        }
        changes
    }
}

struct Merge<'a> {
    old: &'a EtcTree,
    mine: &'a EtcTree,
    new: &'a EtcTree,
    strategies: &'a Strategies,
    /// What the copy is so far.
    result: EtcTree,
    actions: Vec<Action>,
    /// Directories that were copied with all in them.
    copied: Vec<PathBuf>,
}

impl Merge<'_> {
    /// Returns whether the new system changed a path too, and differently.
    fn is_conflict(&self, path: &Path) -> bool {
        let (old, mine, new) = (self.old.get(path), self.mine.get(path), self.new.get(path));
        new != old && new != mine
    }

    /// Returns the strategy for a path if it is one to decide on, after those that end here.
    fn decide(&self, path: &Path) -> Result<Option<Strategy>, Blocked> {
        let strategy = self.strategies.of(path);
        if !self.is_conflict(path) {
            return Ok(Some(strategy));
        }
        match strategy {
            Strategy::TakeNew => Ok(None),
            Strategy::Fail => Err(blocked(path, BlockedBy::Conflict)),
            strategy => Ok(Some(strategy)),
        }
    }

    fn removed(&mut self, path: &Path) -> Result<(), Blocked> {
        let Some(strategy) = self.decide(path)? else {
            return Ok(());
        };
        match self.obstacle_above(path) {
            Some(BlockedBy::ParentIsFile) if strategy == Strategy::Ostree => {
                return Err(blocked(path, BlockedBy::ParentIsFile));
            }
            // Behind a link, or in a file, there is nothing to remove.
            Some(_) => return Ok(()),
            None => {}
        }
        if self.result.get(path).is_some() {
            self.set_beside(path, strategy);
            self.remove(path);
        }
        Ok(())
    }

    fn changed(&mut self, path: &Path) -> Result<(), Blocked> {
        let (Some(strategy), Some(mine)) = (self.decide(path)?, self.mine.get(path)) else {
            return Ok(());
        };
        if self.copied.iter().any(|dir| path.starts_with(dir)) {
            return Ok(());
        }
        self.make_parents(path, strategy)?;
        match self.result.get(path).map(Node::is_dir) {
            // Its attributes come when something in it does.
            Some(true) if mine.is_dir() && strategy != Strategy::KeepMine => return Ok(()),
            Some(true) if mine.is_dir() => {
                self.dir(path);
                let inside: Vec<_> = self.mine.children(path).cloned().collect();
                let was_dir = self.old.get(path).is_some_and(Node::is_dir);
                for path in inside.into_iter().filter(|_| !was_dir) {
                    self.changed(&path)?;
                }
                return Ok(());
            }
            Some(true) if strategy == Strategy::Ostree || strategy == Strategy::Fail => {
                return Err(blocked(path, BlockedBy::NewDirectory));
            }
            Some(_) => {
                self.set_beside(path, strategy);
                self.remove(path);
            }
            None => {}
        }
        match &mine.kind {
            Kind::Dir => self.copy_tree(path, strategy)?,
            Kind::File(_) | Kind::Symlink(_) => {
                self.result.0.insert(path.to_owned(), mine.clone());
                self.actions.push(Action::Copy(path.to_owned()));
            }
            Kind::Special => {}
        }
        Ok(())
    }

    /// Keeps what is as the old system shipped it, where that is wanted.
    fn keep_unchanged(&mut self) -> Result<(), Blocked> {
        let same = |path: &&PathBuf| {
            self.strategies.of(path) == Strategy::KeepMine
                && self.mine.get(path) == self.old.get(path)
                && self.new.get(path) != self.old.get(path)
        };
        let kept: Vec<_> = self.mine.0.keys().filter(same).cloned().collect();
        kept.iter().try_for_each(|path| self.changed(path))
    }

    /// Makes the directories above a path that are missing, with the attributes that they have now;
    /// the innermost gets these in any case.
    fn make_parents(&mut self, path: &Path, strategy: Strategy) -> Result<(), Blocked> {
        if let Some(by) = self.obstacle_above(path) {
            if strategy != Strategy::KeepMine {
                return Err(blocked(path, by));
            }
            let above: Vec<_> = parents(path).map(Path::to_owned).collect();
            for dir in above {
                if self.result.get(&dir).is_some_and(|node| !node.is_dir()) {
                    self.remove(&dir);
                }
            }
        }
        let above: Vec<_> = parents(path).map(Path::to_owned).collect();
        for (index, dir) in above.iter().enumerate() {
            if index + 1 == above.len() || self.result.get(dir).is_none() {
                self.dir(dir);
            }
        }
        Ok(())
    }

    /// Returns what is in the way of anything being at `path`.
    fn obstacle_above(&self, path: &Path) -> Option<BlockedBy> {
        parents(path).find_map(|dir| match self.result.get(dir)?.kind {
            Kind::Dir => None,
            Kind::Symlink(_) => Some(BlockedBy::ParentIsSymlink),
            Kind::File(_) | Kind::Special => Some(BlockedBy::ParentIsFile),
        })
    }

    fn dir(&mut self, path: &Path) {
        if let Some(mine) = self.mine.get(path) {
            self.result.0.insert(path.to_owned(), mine.clone());
            self.actions.push(Action::Dir(path.to_owned()));
        }
    }

    fn remove(&mut self, path: &Path) {
        self.result.remove(path);
        self.actions.push(Action::Remove(path.to_owned()));
    }

    fn copy_tree(&mut self, path: &Path, strategy: Strategy) -> Result<(), Blocked> {
        // Where it stands by itself it is left behind; in the middle of a copy OSTree stops at it.
        if strategy == Strategy::Ostree
            && let Some((special, _)) = self
                .mine
                .below(path)
                .find(|(_, node)| node.kind == Kind::Special)
        {
            return Err(blocked(special, BlockedBy::Special));
        }
        let copied = self
            .mine
            .below(path)
            .filter(|(_, node)| node.kind != Kind::Special);
        let copied: Vec<_> = copied
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect();
        self.result.0.extend(copied);
        self.actions.push(Action::CopyTree(path.to_owned()));
        self.copied.push(path.to_owned());
        Ok(())
    }

    fn set_beside(&mut self, path: &Path, strategy: Strategy) {
        let new = self
            .new
            .get(path)
            .filter(|node| matches!(node.kind, Kind::File(_) | Kind::Symlink(_)));
        let Some(new) = new.filter(|_| strategy == Strategy::Beside && self.is_conflict(path))
        else {
            return;
        };
        let mut name = path.as_os_str().to_owned();
        name.push(BESIDE_SUFFIX);
        let to = PathBuf::from(name);
        self.result.0.insert(to.clone(), new.clone());
        let from = path.to_owned();
        self.actions.push(Action::Beside { from, to });
    }
}

fn blocked(path: &Path, by: BlockedBy) -> Blocked {
    Blocked {
        path: path.to_owned(),
        by,
    }
}

/// Returns the directories above a path, the outermost first.
fn parents(path: &Path) -> impl Iterator<Item = &Path> {
    let mut all: Vec<_> = path.ancestors().skip(1).collect();
    all.retain(|dir| !dir.as_os_str().is_empty());
    all.into_iter().rev()
}

#[cfg(test)]
mod tests;
