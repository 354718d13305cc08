//! Finds out which commits need the objects with which something is wrong, and at which path.

use std::collections::{BTreeMap, HashMap};

use super::Finding;
use crate::error::Result;
use crate::format::{Checksum, DirTree, ObjectName};
use crate::repo::Repo;

/// The objects of interest below one dirtree, as indexes, and a path to each.
type Below = BTreeMap<usize, String>;

/// Adds commits and paths to the findings about objects of trees.
///
/// Walks the trees once more, each dirtree once and without recursion; only done when there is
/// something to find.
pub(super) async fn locate(
    repo: &Repo,
    commits: &[Checksum],
    findings: &mut [Finding],
) -> Result<()> {
    let mut wanted = HashMap::new();
    for (index, finding) in findings.iter().enumerate() {
        if let Some(object) = finding.object {
            wanted.entry(object).or_insert(index);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut walk = Walk {
        repo,
        wanted,
        below: HashMap::new(),
    };
    for commit in commits {
        let Ok(loaded) = repo.load_commit(commit).await else {
            continue;
        };
        let mut found = walk.below(loaded.tree).await;
        walk.add(&mut found, ObjectName::dirtree(loaded.tree), "");
        walk.add(&mut found, ObjectName::dirmeta(loaded.meta), "");
        walk.add(&mut found, ObjectName::commit(*commit), "");
        for (index, path) in found {
            let finding = &mut findings[index];
            finding.commits.push(*commit);
            if finding.path.is_none() && !path.is_empty() {
                finding.path = Some(path);
            }
        }
    }
    Ok(())
}

struct Walk<'a> {
    repo: &'a Repo,
    wanted: HashMap<ObjectName, usize>,
    below: HashMap<Checksum, Below>,
}

impl Walk<'_> {
    fn add(&self, below: &mut Below, object: ObjectName, path: &str) {
        if let Some(index) = self.wanted.get(&object) {
            below.entry(*index).or_insert_with(|| path.to_owned());
        }
    }

    /// Returns what is below a dirtree: children are worked out before their parents.
    async fn below(&mut self, root: Checksum) -> Below {
        let mut stack = vec![root];
        while let Some(tree) = stack.last().copied() {
            if self.below.contains_key(&tree) {
                stack.pop();
                continue;
            }
            // One that cannot be read is a finding itself.
            let loaded = self.repo.load_dirtree(&tree).await.unwrap_or_default();
            let before = stack.len();
            let pending = loaded.dirs().iter().map(|dir| dir.tree);
            stack.extend(pending.filter(|tree| !self.below.contains_key(tree)));
            if stack.len() == before {
                let below = self.combine(&loaded);
                self.below.insert(tree, below);
                stack.pop();
            }
        }
        self.below.get(&root).cloned().unwrap_or_default()
    }

    fn combine(&self, tree: &DirTree) -> Below {
        let mut below = Below::new();
        for entry in tree.files() {
            self.add(
                &mut below,
                ObjectName::file(entry.file),
                &format!("/{}", entry.name),
            );
        }
        for entry in tree.dirs() {
            let path = format!("/{}", entry.name);
            self.add(&mut below, ObjectName::dirtree(entry.tree), &path);
            self.add(&mut below, ObjectName::dirmeta(entry.meta), &path);
            for (index, rest) in self.below.get(&entry.tree).into_iter().flatten() {
                below
                    .entry(*index)
                    .or_insert_with(|| format!("{path}{rest}"));
            }
        }
        below
    }
}
