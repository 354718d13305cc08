//! Objects on their way into the file.
//!
//! Verifying and compressing happens on the caller's pool, and only finished chunks go to the
//! connection that writes, in short transactions that wait for no disk. `commit` publishes all names
//! in one transaction, which waits for the disk and with that for all chunks before it.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join;
use futures::stream;
use rusqlite::Connection;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::ObjectName;
use treeferry_core::store::{
    Batch, BatchOptions, BatchStats, Body, Durability, Encoding, Incoming, Leftovers, LocalObjects,
    LockGuard, ObjectSource, Put, ResumableSource, Stat,
};

use crate::body;
use crate::db::Sync;
use crate::error::Outcome;
use crate::intake::{Staging, group};
use crate::objects::Entry;
use crate::repo::SqliteRepo;
use crate::staging;

/// How many names are answered in one step.
const STAT_STEP: usize = 4096;

/// A batch of objects for a [`SqliteRepo`].
pub(crate) struct SqliteBatch {
    // Jobs hold it too: the locks are released when the last of them has ended.
    staging: Arc<Staging>,
}

impl SqliteBatch {
    pub(crate) async fn begin(
        repo: SqliteRepo,
        guard: LockGuard,
        options: BatchOptions,
    ) -> Result<Self> {
        let sync = match options.durability {
            Durability::Configured => repo.inner.settings.sync,
            Durability::PerObject => Sync::Now,
            Durability::None => Sync::Later,
        };
        let (locks, expired_ms) = (repo.inner.locks.clone(), repo.expired_ms());
        let leftovers = options.leftovers;
        let begun = repo.db().write(Sync::Later, move |connection| {
            let (id, held) = staging::begin(connection, &locks)?;
            if leftovers == Leftovers::Adopt {
                staging::adopt(connection, &locks, id, expired_ms)?;
            }
            Ok((id, held))
        });
        let begun = begun.await?;
        Ok(Self {
            staging: Staging::new(repo, begun, guard, sync, leftovers),
        })
    }
}

impl Debug for SqliteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBatch")
            .field("path", &self.staging.repo.path())
            .field("id", &self.staging.id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for SqliteBatch {
    fn encoding(&self) -> Encoding {
        self.staging.repo.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut stats = Vec::with_capacity(names.len());
        let id = self.staging.id;
        for step in names.chunks(STAT_STEP) {
            let step = step.to_vec();
            let entries = self.staging.repo.db().read(move |connection| {
                let find = |name| staging::find(connection, id, name);
                step.iter().map(find).collect::<Outcome<Vec<_>>>()
            });
            let entries = entries.await?;
            self.staging.rely(entries.iter().flatten().map(|e| e.body));
            stats.extend(entries.iter().map(|e| e.as_ref().map(Entry::stat)));
        }
        Ok(stats)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let staging = Arc::clone(&self.staging);
        let find = move |connection: &Connection, name: &ObjectName| {
            let found = staging::find(connection, staging.id, name)?;
            staging.rely(found.iter().map(|e| e.body));
            Ok(found)
        };
        body::fetch(self.staging.repo.db(), *name, find).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Batch for SqliteBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let mut answers: Vec<Option<Result<Put>>> = Vec::new();
        answers.resize_with(objects.len(), || None);
        let (groups, alone) = group(objects);
        // Each that is under way holds some chunks in memory: their number is bounded.
        let width = self.staging.repo.inner.options.pool.width() * 2;
        let small = stream::iter(groups).map(|group| {
            let (numbers, group): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            async move { numbers.into_iter().zip(self.staging.put_group(group).await) }
        });
        let alone = stream::iter(alone)
            .map(|(i, object)| async move { (i, self.staging.put_large(object).await) });
        let small = small
            .buffer_unordered(width)
            .flat_map(stream::iter)
            .collect::<Vec<_>>();
        let alone = alone.buffer_unordered(width).collect::<Vec<_>>();
        let (small, alone) = join(small, alone).await;
        for (i, answer) in small.into_iter().chain(alone) {
            answers[i] = Some(answer);
        }
        let cancelled = || Error::new(ErrorKind::Cancelled, "the runtime is shutting down");
        let answer = |a: Option<_>| a.unwrap_or_else(|| Err(cancelled()));
        answers.into_iter().map(answer).collect()
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        let staging = Arc::clone(&self.staging);
        let now_ms = staging.repo.now_ms();
        let (stats, relied) = staging.tally();
        let (repo, sync) = (staging.repo.clone(), staging.sync);
        let publish = move |connection: &Connection| {
            staging::publish(connection, staging.id, &relied, now_ms)
        };
        repo.db().write(sync, publish).await?;
        Ok(stats)
    }
}
