//! What a commit reaches.

use std::collections::HashSet;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, Commit, DirTree, ObjectName, ObjectType};
use treeferry_core::store::{Incoming, ObjectSource};

use super::IndexedStore;
use super::table::{self, Standing};
use crate::db::Sync;
use crate::error::Outcome;

/// How many objects are fetched at once to see what they name.
const FETCHES_MAX: usize = 16;

/// What a commit reaches, itself included: its tree, not its parent commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reachable {
    /// How many of the objects the store has.
    pub objects: u64,
    /// How many bytes those take in the store.
    pub stored_bytes: u64,
    /// Those that the store does not have. What they would reach is not known.
    pub absent: Vec<ObjectName>,
}

impl IndexedStore {
    /// Returns what `commit` reaches. Only dirtrees and commits that the index never saw are read
    /// from the store, once.
    pub async fn reachable(&self, commit: &Checksum) -> Result<Reachable> {
        let commit = *commit;
        if self.standing().await? == Standing::Doubted {
            self.rebuild().await?;
        }
        let mut unreadable = HashSet::new();
        loop {
            let mut unparsed = self.db.read(move |c| table::unparsed(c, &commit)).await?;
            unparsed.retain(|name| !unreadable.contains(name));
            if unparsed.is_empty() {
                break;
            }
            let fetched = stream::iter(unparsed)
                .map(|name| async move { Ok::<_, Error>((name, self.look(name).await?)) });
            let mut fetched = fetched.buffer_unordered(FETCHES_MAX).ready_chunks(256);
            while let Some(looked) = fetched.next().await {
                let mut parents = Vec::new();
                for looked in looked {
                    match looked? {
                        (name, Some(children)) => parents.push((name, children)),
                        (name, None) => {
                            unreadable.insert(name);
                        }
                    }
                }
                let add = move |connection: &rusqlite::Connection| {
                    let add = |(parent, children): &(_, Vec<_>)| {
                        table::add_children(connection, parent, children)
                    };
                    parents.iter().try_for_each(add)
                };
                self.db.write(Sync::Later, add).await?;
            }
        }
        let totals = move |c: &rusqlite::Connection| -> Outcome<_> {
            Ok((table::totals(c, &commit)?, table::unknown(c, &commit)?))
        };
        let ((objects, stored_bytes), unknown) = self.db.read(totals).await?;
        let mut reachable = Reachable {
            objects,
            stored_bytes,
            absent: Vec::new(),
        };
        for (name, stat) in unknown.iter().zip(self.stat(&unknown).await?) {
            match stat {
                Some(stat) => {
                    reachable.objects += 1;
                    reachable.stored_bytes += stat.stored_bytes;
                }
                None => reachable.absent.push(*name),
            }
        }
        Ok(reachable)
    }

    /// Reads an object to see what it names; `None` when the store does not have it.
    async fn look(&self, name: ObjectName) -> Result<Option<Vec<ObjectName>>> {
        let Some(body) = self.fetch(&name).await? else {
            return Ok(None);
        };
        let look = move || {
            let (name, bytes) = Incoming::named(name, body).into_metadata()?;
            Ok(Some(children(&name, &bytes)?))
        };
        self.options.pool.run(look).await
    }
}

/// Returns what a dirtree or commit names.
pub(super) fn children(name: &ObjectName, bytes: &Bytes) -> Result<Vec<ObjectName>> {
    let about = |e| Error::from(e).about(*name);
    Ok(match name.object_type {
        ObjectType::DirTree => {
            let tree = DirTree::parse(bytes).map_err(about)?;
            let files = tree
                .files()
                .iter()
                .map(|entry| ObjectName::file(entry.file));
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
