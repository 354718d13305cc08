//! In which order metadata is shown: children before parents.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::{Commit, DirTree, ObjectName, ObjectType};

/// Sorts objects into ranks: whatever an object names is in an earlier rank, or not among them.
pub(super) fn ranks(objects: &HashMap<ObjectName, Bytes>) -> Result<Vec<Vec<ObjectName>>> {
    let mut rank_of: HashMap<ObjectName, usize> = HashMap::with_capacity(objects.len());
    for start in objects.keys() {
        // Each object is met twice: first to rank what it names, then itself. What is named by its
        // hash cannot name itself, so this ends.
        let mut todo = vec![(*start, Visit::Enter)];
        while let Some((name, visit)) = todo.pop() {
            if rank_of.contains_key(&name) {
                continue;
            }
            let Some(bytes) = objects.get(&name) else {
                continue;
            };
            let children = children(&name, bytes)?;
            match visit {
                Visit::Enter => {
                    todo.push((name, Visit::Leave));
                    todo.extend(children.into_iter().map(|child| (child, Visit::Enter)));
                }
                Visit::Leave => {
                    let below = children.iter().filter_map(|child| rank_of.get(child));
                    let rank = below.max().map_or(0, |rank| rank + 1);
                    rank_of.insert(name, rank);
                }
            }
        }
    }
    let mut ranks: BTreeMap<usize, Vec<ObjectName>> = BTreeMap::new();
    for (name, rank) in rank_of {
        ranks.entry(rank).or_default().push(name);
    }
    Ok(ranks.into_values().collect())
}

#[derive(Clone, Copy)]
enum Visit {
    Enter,
    Leave,
}

/// Returns the dirtrees and commits that an object names.
fn children(name: &ObjectName, bytes: &[u8]) -> Result<Vec<ObjectName>> {
    let about = |e| Error::from(e).about(*name);
    Ok(match name.object_type {
        ObjectType::DirTree => {
            let tree = DirTree::parse(bytes).map_err(about)?;
            let dirs = tree.dirs().iter();
            dirs.map(|entry| ObjectName::dirtree(entry.tree)).collect()
        }
        ObjectType::Commit => {
            let commit = Commit::parse(bytes).map_err(about)?;
            let parent = commit.parent.map(ObjectName::commit);
            let tree = ObjectName::dirtree(commit.tree);
            parent.into_iter().chain([tree]).collect()
        }
        ObjectType::File | ObjectType::DirMeta | ObjectType::FileXattrs => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Checksum, DirEntry};

    #[test]
    fn children_come_before_parents_however_deep() {
        let meta = Checksum::of(b"meta");
        let mut objects = HashMap::new();
        let mut below: Option<Checksum> = None;
        for _ in 0..2000 {
            let entry = |tree| DirEntry {
                name: "d".into(),
                tree,
                meta,
            };
            let dirs = below.into_iter().map(entry).collect();
            let bytes = Bytes::from(DirTree::new(Vec::new(), dirs).unwrap().to_bytes());
            let checksum = Checksum::of(&bytes);
            objects.insert(ObjectName::dirtree(checksum), bytes);
            below = Some(checksum);
        }
        let ranks = ranks(&objects).unwrap();
        assert_eq!(ranks.len(), 2000);
        assert_eq!(ranks[1999], [ObjectName::dirtree(below.unwrap())]);
    }
}
