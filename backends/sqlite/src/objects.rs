//! Objects that are published: looked up, read, listed, deleted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rusqlite::{Connection, OptionalExtension, Row, params};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    ObjectSource, ObjectStore, ResumableSource, Scratch, Stat, Trust,
};

use crate::batch::SqliteBatch;
use crate::body;
use crate::error::Outcome;
use crate::repo::{LockWait, SqliteRepo};
use crate::scratch::Downloads;

const FIND: &str = "SELECT body, encoding, stored_bytes, unpacked_bytes FROM object
    WHERE kind = ?1 AND checksum = ?2";
const LIST: &str = "SELECT checksum, stored_bytes, modified_ms FROM object
    WHERE kind = ?1 AND checksum > ?2 ORDER BY checksum LIMIT ?3";
const DELETE: &str = "DELETE FROM object WHERE kind = ?1 AND checksum = ?2";
const DELETE_CHUNKS: &str = "DELETE FROM chunk WHERE body = ?1";

/// How many names are answered in one step.
const STAT_STEP: usize = 4096;
const LIST_STEP: usize = 1024;
const DELETE_STEP: usize = 256;

/// What the tables say of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) body: i64,
    pub(crate) encoding: Encoding,
    pub(crate) stored_bytes: u64,
    pub(crate) unpacked_bytes: u64,
}

impl Entry {
    /// Reads the columns body, encoding, stored_bytes, unpacked_bytes.
    pub(crate) fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            body: row.get(0)?,
            encoding: encoding_of_number(row.get(1)?)?,
            stored_bytes: row.get(2)?,
            unpacked_bytes: row.get(3)?,
        })
    }

    pub(crate) fn stat(&self) -> Stat {
        Stat {
            encoding: self.encoding,
            stored_bytes: self.stored_bytes,
            // Names and bytes become visible in one transaction, after they were verified.
            trust: Trust::Whole,
        }
    }
}

/// Returns the number under which an encoding is kept.
pub(crate) fn encoding_number(encoding: Encoding) -> i64 {
    match encoding {
        Encoding::Canonical => 0,
        Encoding::Filez => 1,
    }
}

/// Returns the encoding that is kept under a number.
pub(crate) fn encoding_of_number(number: i64) -> rusqlite::Result<Encoding> {
    match number {
        0 => Ok(Encoding::Canonical),
        1 => Ok(Encoding::Filez),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
    }
}

/// Looks a published object up.
pub(crate) fn find(connection: &Connection, name: &ObjectName) -> Outcome<Option<Entry>> {
    let mut statement = connection.prepare_cached(FIND)?;
    let key = params![name.object_type.number(), name.checksum.as_bytes()];
    Ok(statement.query_row(key, Entry::of_row).optional()?)
}

/// Deletes the bytes of an object.
pub(crate) fn delete_chunks(connection: &Connection, body: i64) -> Outcome<()> {
    connection.prepare_cached(DELETE_CHUNKS)?.execute([body])?;
    Ok(())
}

/// Reads a checksum out of a column.
pub(crate) fn checksum_of(row: &Row<'_>, column: usize) -> Outcome<Checksum> {
    let bytes = row.get_ref(column)?.as_blob().map_err(|e| {
        let kind = rusqlite::types::Type::Blob;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(e))
    })?;
    let wrong = |e| Error::corrupt("the database holds a checksum that is none").because(e);
    Ok(Checksum::from_slice(bytes).map_err(wrong)?)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for SqliteRepo {
    fn encoding(&self) -> Encoding {
        Encoding::Filez
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut stats = Vec::with_capacity(names.len());
        for step in names.chunks(STAT_STEP) {
            let step = step.to_vec();
            let answers = self.db().read(move |connection| {
                let stat = |name| Ok(find(connection, name)?.map(|e| e.stat()));
                step.iter().map(stat).collect::<Outcome<Vec<_>>>()
            });
            stats.extend(answers.await?);
        }
        Ok(stats)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        body::fetch(self.db(), *name, find).await
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
impl ObjectStore for SqliteRepo {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        let guard = self.lock(LockKind::Shared).await?;
        Ok(Box::new(
            SqliteBatch::begin(self.clone(), guard, options).await?,
        ))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        let repo = self.clone();
        // Page by page, each a short transaction: who listens slowly holds up nobody.
        let pages = stream::try_unfold(Some(Vec::new()), move |after| {
            let repo = repo.clone();
            async move {
                let Some(after) = after else {
                    return Ok::<_, Error>(None);
                };
                let list = move |c: &Connection| list_page(c, object_type, &after);
                let page = repo.db().read(list).await?;
                let last = page.last().map(|l| l.name.checksum.as_bytes().to_vec());
                let more = last.filter(|_| page.len() == LIST_STEP);
                Ok(Some((page, more)))
            }
        });
        let entries = pages.map(|page| match page {
            Ok(page) => stream::iter(page.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        entries.flatten().boxed()
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        if lock.kind() != LockKind::Exclusive {
            let problem = "objects are deleted under the exclusive lock alone";
            return Err(Error::invalid(problem).about(self.path()));
        }
        let mut freed = Vec::with_capacity(names.len());
        for step in names.chunks(DELETE_STEP) {
            let step = step.to_vec();
            // The job holds the lock: it may run on when this future is dropped.
            let lock = lock.clone();
            let deleted = self
                .db()
                .write(self.inner.settings.sync, move |connection| {
                    let _held = &lock;
                    let delete = |name| delete(connection, name);
                    step.iter().map(delete).collect::<Outcome<Vec<_>>>()
                });
            freed.extend(deleted.await?);
        }
        Ok(freed)
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        let limit = match self.inner.options.lock_wait {
            LockWait::Configured => self.inner.settings.lock_wait,
            LockWait::AtMost(limit) => Some(limit),
        };
        self.inner.locks.wait(self.db().pool(), kind, limit).await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        Some(Arc::new(Downloads::new(self.clone())))
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        None
    }
}

fn list_page(connection: &Connection, kind: ObjectType, after: &[u8]) -> Outcome<Vec<Listed>> {
    let mut statement = connection.prepare_cached(LIST)?;
    let mut rows = statement.query(params![kind.number(), after, LIST_STEP as i64])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let modified_ms: u64 = row.get(2)?;
        let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(modified_ms));
        page.push(Listed {
            name: ObjectName::new(kind, checksum_of(row, 0)?),
            stored_bytes: row.get(1)?,
            modified,
        });
    }
    Ok(page)
}

fn delete(connection: &Connection, name: &ObjectName) -> Outcome<Option<u64>> {
    let Some(entry) = find(connection, name)? else {
        return Ok(None);
    };
    let key = params![name.object_type.number(), name.checksum.as_bytes()];
    connection.prepare_cached(DELETE)?.execute(key)?;
    delete_chunks(connection, entry.body)?;
    Ok(Some(entry.stored_bytes))
}
