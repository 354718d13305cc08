//! Objects on their way into an indexed store.

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchStats, Body, Encoding, Incoming, LocalObjects, ObjectSource, Payload, Put,
    ResumableSource, Stat, Trust,
};

use super::reach::children;
use super::table::{self, kept_as};
use super::{IndexedStore, fill_in, unknown};
use crate::db::Sync;

/// A batch of the store, and what the index was relied on for.
pub(super) struct IndexedBatch {
    index: IndexedStore,
    batch: Box<dyn Batch>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    put: Vec<(ObjectName, Stat)>,
    /// What callers were told is there, by the index alone.
    relied: HashSet<ObjectName>,
}

type Parent = (ObjectName, Vec<ObjectName>);

impl IndexedBatch {
    pub(super) fn new(index: IndexedStore, batch: Box<dyn Batch>) -> Self {
        Self {
            index,
            batch,
            progress: Mutex::default(),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Lists of names: whole whenever the lock is free.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads dirtrees and commits to see what they name, and hands all objects back.
    async fn look_into(
        &self,
        objects: Vec<Incoming>,
    ) -> Result<(Vec<Result<Incoming>>, Vec<Parent>)> {
        let look = move || {
            let mut parents = Vec::new();
            let mut look = |incoming: Incoming| {
                if !matches!(
                    incoming.object_type(),
                    ObjectType::DirTree | ObjectType::Commit
                ) {
                    return Ok(incoming);
                }
                let (name, bytes) = incoming.into_metadata()?;
                // What hashes to its name and is no dirtree is the caller's business, not ours.
                if let Ok(children) = children(&name, &bytes) {
                    parents.push((name, children));
                }
                Ok(Incoming::named(name, Body::Metadata(Payload::Bytes(bytes))))
            };
            let objects = objects.into_iter().map(&mut look).collect();
            Ok((objects, parents))
        };
        self.index.options.pool.run(look).await
    }

    /// Checks that the store has what was skipped because the index has it.
    async fn confirm(&self) -> Result<()> {
        let relied: Vec<_> = self.progress().relied.drain().collect();
        if relied.is_empty() {
            return Ok(());
        }
        let found = self.batch.stat(&relied).await?;
        let absent = relied
            .iter()
            .zip(found)
            .filter(|(_, found)| found.is_none());
        let absent: Vec<_> = absent.map(|(name, _)| *name).collect();
        let Some(first) = absent.first().copied() else {
            return Ok(());
        };
        let count = absent.len();
        self.index.disagree(absent).await?;
        let problem = format!(
            "the index has it and the store does not, as {count} objects in all: somebody deleted \
             from the store without the index, which is corrected; try again"
        );
        let kind = ErrorKind::Unavailable { retry_after: None };
        Err(Error::new(kind, problem).about(first))
    }
}

impl Debug for IndexedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexedBatch")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for IndexedBatch {
    fn encoding(&self) -> Encoding {
        self.batch.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut stats = self.index.known(names).await?;
        let known = names.iter().zip(&stats).filter(|(_, stat)| stat.is_some());
        self.progress().relied.extend(known.map(|(name, _)| *name));
        let (places, absent) = unknown(names, &stats);
        if absent.is_empty() {
            return Ok(stats);
        }
        if self.index.asks().await? {
            fill_in(&mut stats, &places, self.batch.stat(&absent).await?);
            return Ok(stats);
        }
        // Nothing is asked: what is there beside the index is what was put here.
        let wanted: HashSet<_> = absent.into_iter().collect();
        let progress = self.progress();
        let put = progress
            .put
            .iter()
            .filter(|(name, _)| wanted.contains(name));
        let put: std::collections::HashMap<_, _> = put.copied().collect();
        for i in places {
            stats[i] = put.get(&names[i]).copied();
        }
        Ok(stats)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        self.batch.fetch(name).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        self.batch.local()
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.batch.resumable()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Batch for IndexedBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let count = objects.len();
        let (looked, parents) = match self.look_into(objects).await {
            Ok(looked) => looked,
            Err(error) => {
                let fail = |_| Err(Error::new(error.kind(), error.to_string()));
                return (0..count).map(fail).collect();
            }
        };
        let mut sound = Vec::with_capacity(count);
        let looked: Vec<Result<()>> = looked
            .into_iter()
            .map(|object| object.map(|object| sound.push(object)))
            .collect();
        let mut puts = self.batch.put(sound).await.into_iter();
        let unanswered = || Error::corrupt("the store did not answer for an object");
        let answer =
            |looked: Result<()>| looked.and_then(|()| puts.next().ok_or_else(unanswered)?);
        let answers: Vec<_> = looked.into_iter().map(answer).collect();
        let encoding = self.batch.encoding();
        let recorded = answers.iter().flatten().map(|put| {
            let encoding = kept_as(put.name.object_type, encoding);
            let stat = Stat {
                encoding,
                stored_bytes: put.stored_bytes,
                trust: Trust::Whole,
            };
            (put.name, stat)
        });
        self.progress().put.extend(recorded);
        let add = move |connection: &rusqlite::Connection| {
            for (parent, children) in &parents {
                table::add_children(connection, parent, children)?;
            }
            Ok(())
        };
        // The objects are put. What is not recorded here is read from the store when it is needed.
        let _ = self.index.db.write(Sync::Later, add).await;
        answers
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        self.confirm().await?;
        let put = std::mem::take(&mut self.progress().put);
        let Self { index, batch, .. } = *self;
        let stats = batch.commit().await?;
        // The objects are there and durable, whatever becomes of the index: it would know less.
        let _ = index.record(put).await;
        Ok(stats)
    }
}
