//! What a batch must hold before it may be seen: children before parents.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::object::Object;
use crate::error::{Error, Result};
use crate::format::{Checksum, Commit, DirTree, ObjectName, ObjectType};

type Map = BTreeMap<ObjectName, Object>;

/// Returns an error that names a parent in `staged` and the child that it lacks.
///
/// A commit that is marked partial needs nothing. While any is, dirtrees need nothing either: they
/// may be its. Every other commit needs all of its tree.
pub(super) fn check(
    visible: &Map,
    staged: &Map,
    adopted: &Map,
    partial: &BTreeSet<Checksum>,
) -> Result<()> {
    let view = View(&[staged, adopted, visible]);
    for (name, object) in staged {
        match name.object_type {
            ObjectType::DirTree if partial.is_empty() => view.check_children(name, object)?,
            ObjectType::Commit if !partial.contains(&name.checksum) => view.check_all(name)?,
            _ => {}
        }
    }
    Ok(())
}

/// Returns which of the objects in `adopted` can be seen without a parent that lacks a child.
pub(super) fn closed_leftovers(
    visible: &Map,
    staged: &Map,
    adopted: &Map,
    partial: &BTreeSet<Checksum>,
) -> Vec<ObjectName> {
    let mut closed = adopted.clone();
    loop {
        let view = View(&[staged, &closed, visible]);
        let lacks = |(name, object): &(&ObjectName, &Object)| match name.object_type {
            ObjectType::DirTree if partial.is_empty() => view.check_children(name, object).is_err(),
            ObjectType::Commit if !partial.contains(&name.checksum) => {
                view.check_all(name).is_err()
            }
            _ => false,
        };
        let lacking: Vec<_> = closed.iter().filter(lacks).map(|(name, _)| *name).collect();
        if lacking.is_empty() {
            return closed.into_keys().collect();
        }
        for name in lacking {
            closed.remove(&name);
        }
    }
}

/// Objects of several places, seen as one.
struct View<'a>(&'a [&'a Map]);

impl View<'_> {
    fn get(&self, name: &ObjectName) -> Option<&Object> {
        self.0.iter().find_map(|map| map.get(name))
    }

    fn check_children(&self, parent: &ObjectName, object: &Object) -> Result<()> {
        let lacks = |child: &ObjectName| self.get(child).is_none();
        match children(parent, object)?.into_iter().find(lacks) {
            Some(child) => Err(lacking(parent, &child)),
            None => Ok(()),
        }
    }

    /// Checks all that is reachable from `root`.
    fn check_all(&self, root: &ObjectName) -> Result<()> {
        let mut seen = BTreeSet::from([*root]);
        let mut todo = vec![(*root, *root)];
        while let Some((parent, name)) = todo.pop() {
            let object = self.get(&name).ok_or_else(|| lacking(&parent, &name))?;
            for child in children(&name, object)? {
                if seen.insert(child) {
                    todo.push((name, child));
                }
            }
        }
        Ok(())
    }
}

fn lacking(parent: &ObjectName, child: &ObjectName) -> Error {
    let problem = format!("lacks {child}: put children too, or mark the commit partial first");
    Error::missing(problem).about(*parent)
}

fn children(name: &ObjectName, object: &Object) -> Result<Vec<ObjectName>> {
    let bytes: &Bytes = match object.metadata() {
        Some(bytes) => bytes,
        None => return Ok(Vec::new()),
    };
    let about = |e| Error::from(e).about(*name);
    Ok(match name.object_type {
        ObjectType::DirTree => {
            let tree = DirTree::parse(bytes).map_err(about)?;
            let files = tree.files().iter().map(|e| ObjectName::file(e.file));
            let dirs = tree.dirs().iter();
            let dirs =
                dirs.flat_map(|e| [ObjectName::dirtree(e.tree), ObjectName::dirmeta(e.meta)]);
            files.chain(dirs).collect()
        }
        ObjectType::Commit => {
            let commit = Commit::parse(bytes).map_err(about)?;
            vec![
                ObjectName::dirtree(commit.tree),
                ObjectName::dirmeta(commit.meta),
            ]
        }
        ObjectType::File | ObjectType::DirMeta | ObjectType::FileXattrs => Vec::new(),
    })
}
