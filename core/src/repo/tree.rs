//! Finds paths in a tree.

use super::Repo;
use super::load::{load_commit, load_dirtree};
use crate::error::{Error, Result};
use crate::format::{Checksum, check_file_name};

/// The root of a tree: what a commit records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeRoot {
    /// Its dirtree.
    pub tree: Checksum,
    /// Its dirmeta.
    pub meta: Checksum,
}

/// What stands at a path in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeEntry {
    /// A regular file or symbolic link.
    File(Checksum),
    /// A directory.
    Dir(TreeRoot),
}

impl Repo {
    /// Returns the root of the tree of `commit`.
    pub async fn tree_of(&self, commit: &Checksum) -> Result<TreeRoot> {
        let commit = load_commit(&**self.objects(), commit).await?;
        Ok(TreeRoot {
            tree: commit.tree,
            meta: commit.meta,
        })
    }

    /// Finds `path` below `root`, `None` when nothing is there.
    ///
    /// `path` is absolute or relative to the root; empty parts and `.` are skipped, `..` is
    /// refused. Symbolic links are not followed.
    pub async fn find_path(&self, root: TreeRoot, path: &str) -> Result<Option<TreeEntry>> {
        let mut here = TreeEntry::Dir(root);
        for part in split_path(path)? {
            let TreeEntry::Dir(dir) = here else {
                return Ok(None);
            };
            let tree = load_dirtree(&**self.objects(), &dir.tree).await?;
            here = match (tree.dir(part), tree.file(part)) {
                (Some(dir), _) => TreeEntry::Dir(TreeRoot {
                    tree: dir.tree,
                    meta: dir.meta,
                }),
                (None, Some(file)) => TreeEntry::File(file.file),
                (None, None) => return Ok(None),
            };
        }
        Ok(Some(here))
    }
}

/// Splits a path inside a tree into its parts.
pub(crate) fn split_path(path: &str) -> Result<Vec<&str>> {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    for part in &parts {
        check_file_name(part).map_err(|e| {
            Error::invalid("is not a path inside a tree")
                .because(e)
                .about(std::path::Path::new(path))
        })?;
    }
    Ok(parts)
}
