//! Tells how two trees differ: two commits, two directories of this machine, or one and the other.

mod side;
mod stats;
mod walk;

use std::ffi::OsString;
use std::path::PathBuf;

pub use stats::{DiffStats, diff_stats};

use crate::error::Result;
use crate::repo::{Repo, TreeLimits, TreeRoot};

/// One of the two that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiffSide {
    /// The tree of a commit, or a part of it.
    Tree(TreeRoot),
    /// A directory of this machine.
    Dir(PathBuf),
}

/// How to compare.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Whether directories of this machine have extended attributes.
    pub xattrs: LocalXattrs,
    /// Who owns all that is in the second side, instead of who does, if that is a directory of this
    /// machine. The first stays as it is: this is for what a commit of the second would change.
    pub owner_uid: Option<u32>,
    /// Which group that belongs to, instead of the one it does.
    pub owner_gid: Option<u32>,
    /// What trees may be at most.
    pub limits: TreeLimits,
}

/// Whether extended attributes of this machine's files count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalXattrs {
    /// They do.
    #[default]
    Read,
    /// They do not: there are none.
    Ignore,
}

/// How two trees differ.
///
/// The roots themselves are not compared, only what is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// What is in both but not the same: another kind, content, owner, mode or extended attribute.
    /// Of a directory that became something else, or was that before, only itself.
    pub modified: Vec<DiffPath>,
    /// What is only in the first; of a directory only itself.
    pub removed: Vec<DiffPath>,
    /// What is only in the second; of a directory all that is in it.
    pub added: Vec<DiffPath>,
}

/// The path of something that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffPath {
    /// The names on the way from the root.
    pub path: OsString,
    /// What it is: for something modified, in the first of the two.
    pub kind: DiffKind,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffKind {
    /// A directory.
    Dir,
    /// Anything else.
    File,
}

/// Compares `from` with `to`.
///
/// The order is that in which the sides tell their entries: trees files before directories and each
/// by name, directories of this machine as they come.
///
/// # Errors
///
/// Fails if a tree exceeds the limits, or a directory of this machine cannot be read.
pub async fn diff(
    repo: &Repo,
    from: &DiffSide,
    to: &DiffSide,
    options: DiffOptions,
) -> Result<Diff> {
    walk::run(repo, from, to, options).await
}
