//! Objects on their way into the file.
//!
//! Verifying and compressing happens on the caller's pool, and only finished chunks go to the
//! connection that writes, in short transactions that wait for no disk. `commit` publishes all names
//! in one transaction, which waits for the disk and with that for all chunks before it.

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join;
use futures::stream;
use rusqlite::Connection;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::ObjectName;
use treeferry_core::store::{
    Batch, BatchOptions, BatchStats, Body, Durability, Encoding, Incoming, Leftovers, LocalObjects,
    LockGuard, ObjectSource, Payload, Put, ResumableSource, Stat, Stored,
};

use crate::arriving::{Arriving, Step};
use crate::body;
use crate::db::Sync;
use crate::error::Outcome;
use crate::lock::Held;
use crate::objects::Entry;
use crate::repo::SqliteRepo;
use crate::staging::{self, Verified};

/// How much of small objects goes in one step.
const GROUP_BYTES: usize = 1024 * 1024;
const GROUP_OBJECTS: usize = 512;
const STAT_STEP: usize = 4096;

/// A batch of objects for a [`SqliteRepo`].
pub(crate) struct SqliteBatch {
    // Jobs hold it too: the locks are released when the last of them has ended.
    staging: Arc<Staging>,
}

struct Staging {
    repo: SqliteRepo,
    id: i64,
    sync: Sync,
    leftovers: Leftovers,
    progress: Mutex<Progress>,
    _held: Held,
    _guard: LockGuard,
}

#[derive(Default)]
struct Progress {
    stats: BatchStats,
    /// Bodies that somebody was told of, and that may have been left over.
    relied: HashSet<i64>,
}

/// An object that fits one step, verified.
type Whole = (Verified, Vec<Bytes>);

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
        let (id, held) = begun.await?;
        Ok(Self {
            staging: Arc::new(Staging {
                repo,
                id,
                sync,
                leftovers,
                progress: Mutex::default(),
                _held: held,
                _guard: guard,
            }),
        })
    }
}

impl Staging {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Counters and numbers: whole whenever the lock is free.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job in a transaction that waits for no disk. It holds the batch.
    async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl Fn(&Self, &Connection) -> Outcome<T> + Send + std::marker::Sync + 'static,
    ) -> Result<T> {
        let staging = Arc::clone(self);
        let job = move |connection: &Connection| job(&staging, connection);
        self.repo.db().write(Sync::Later, job).await
    }

    async fn open(self: &Arc<Self>, incoming: Incoming) -> Result<(Arriving, Step)> {
        let codec = Arc::clone(&self.repo.inner.options.codec);
        let level = self.repo.inner.settings.deflate_level;
        let job = move || {
            let mut arriving = Arriving::open(incoming, &*codec, level)?;
            let step = arriving.step()?;
            Ok((arriving, step))
        };
        self.repo.inner.options.pool.run(job).await
    }

    /// Takes one object in that arrives, or is large.
    async fn put_large(self: &Arc<Self>, incoming: Incoming) -> Result<Put> {
        let name = incoming.name();
        let object_type = incoming.object_type();
        let (mut arriving, step) = self.open(incoming).await?;
        let mut step = Arc::new(step);
        if let Some(verified) = &step.end {
            let whole = (verified.clone(), step.chunks.clone());
            let mut answers = self.write_whole(vec![whole]).await?;
            let unanswered = || Error::corrupt("was not answered for").about(self.repo.path());
            return answers.pop().ok_or_else(unanswered);
        }
        if let Some(put) = self.drain_present(name, &mut arriving).await? {
            return Ok(put);
        }
        let now_ms = self.repo.now_ms();
        let first = Arc::clone(&step);
        let body = self.write(move |staging, connection| {
            let body = staging::stage(connection, staging.id, object_type, now_ms)?;
            staging::append(connection, body, 0, &first.chunks)?;
            Ok(body)
        });
        let body = body.await?;
        let mut position = step.chunks.len();
        loop {
            drop(step);
            let next = self.repo.inner.options.pool.run(move || {
                let step = arriving.step()?;
                Ok((arriving, step))
            });
            let next = match next.await {
                Ok((rest, next)) => {
                    arriving = rest;
                    Arc::new(next)
                }
                Err(error) => {
                    // What cannot be removed now is not whole, and goes with the batch.
                    let _ = self.write(move |_, c| staging::abandon(c, body)).await;
                    return Err(error);
                }
            };
            let (chunks, at) = (Arc::clone(&next), position);
            let written = self.write(move |staging, connection| {
                staging::append(connection, body, at, &chunks.chunks)?;
                let complete = |end| staging::complete(connection, staging.id, body, end);
                chunks.end.as_ref().map(complete).transpose()
            });
            let written = written.await?;
            if let (Some((stored, entry)), Some(end)) = (written, &next.end) {
                return Ok(self.count(end.name, stored, &entry));
            }
            position += next.chunks.len();
            step = next;
        }
    }

    /// Verifies an object without storing it, if it is there already.
    async fn drain_present(
        self: &Arc<Self>,
        name: Option<ObjectName>,
        arriving: &mut Arriving,
    ) -> Result<Option<Put>> {
        let Some(name) = name else {
            return Ok(None);
        };
        let id = self.id;
        let find = move |connection: &Connection| staging::find(connection, id, &name);
        let Some(entry) = self.repo.db().read(find).await? else {
            return Ok(None);
        };
        let mut rest = arriving.take();
        let drain = move || {
            while rest.step()?.end.is_none() {}
            Ok(())
        };
        self.repo.inner.options.pool.run(drain).await?;
        self.progress().relied.insert(entry.body);
        Ok(Some(self.count(name, Stored::Present, &entry)))
    }

    /// Takes small objects in, all in one step.
    async fn put_group(self: &Arc<Self>, group: Vec<Incoming>) -> Vec<Result<Put>> {
        let count = group.len();
        let codec = Arc::clone(&self.repo.inner.options.codec);
        let level = self.repo.inner.settings.deflate_level;
        let verify = move |incoming| Arriving::open(incoming, &*codec, level)?.whole();
        let verified = self.repo.inner.options.pool.run(move || {
            let verified: Vec<Result<Whole>> = group.into_iter().map(verify).collect();
            Ok(verified)
        });
        let verified = match verified.await {
            Ok(verified) => verified,
            Err(error) => return all_failed(&error, count),
        };
        let mut whole = Vec::with_capacity(count);
        let mut answers: Vec<Result<()>> = Vec::with_capacity(count);
        for object in verified {
            answers.push(object.map(|object| whole.push(object)));
        }
        let mut puts = match self.write_whole(whole).await {
            Ok(puts) => puts.into_iter(),
            Err(error) => return all_failed(&error, count),
        };
        let unanswered = || Error::corrupt("was not answered for");
        let answer = |answer: Result<()>| answer.and_then(|()| puts.next().ok_or_else(unanswered));
        answers.into_iter().map(answer).collect()
    }

    async fn write_whole(self: &Arc<Self>, objects: Vec<Whole>) -> Result<Vec<Put>> {
        let now_ms = self.repo.now_ms();
        let names: Vec<_> = objects.iter().map(|(verified, _)| verified.name).collect();
        let written = self.write(move |staging, connection| {
            let put = |(object, chunks): &Whole| {
                staging::put(connection, staging.id, object, chunks, now_ms)
            };
            objects.iter().map(put).collect::<Outcome<Vec<_>>>()
        });
        let written = written.await?.into_iter();
        let count = |(name, (stored, entry))| self.count(name, stored, &entry);
        Ok(names.into_iter().zip(written).map(count).collect())
    }

    fn count(&self, name: ObjectName, stored: Stored, entry: &Entry) -> Put {
        let new = u64::from(stored == Stored::New);
        let stats = &mut self.progress().stats;
        if name.object_type.is_metadata() {
            stats.metadata_total += 1;
            stats.metadata_written += new;
        } else {
            stats.content_total += 1;
            stats.content_written += new;
            stats.content_bytes_written += new * entry.unpacked_bytes;
        }
        Put {
            name,
            stored,
            unpacked_bytes: entry.unpacked_bytes,
            stored_bytes: entry.stored_bytes,
        }
    }

    /// Remembers that a caller was told of a body.
    fn rely(&self, bodies: impl Iterator<Item = i64>) {
        if self.leftovers == Leftovers::Adopt {
            self.progress().relied.extend(bodies);
        }
    }
}

/// Returns the same failure for each of a group.
fn all_failed(error: &Error, count: usize) -> Vec<Result<Put>> {
    let fail = |_| Err(Error::new(error.kind(), error.to_string()));
    (0..count).map(fail).collect()
}

/// Returns how long a body is that is at hand, and `None` when it arrives.
fn at_hand_bytes(incoming: &Incoming) -> Option<usize> {
    match incoming.body() {
        Body::Metadata(Payload::Bytes(bytes))
        | Body::File {
            content: Payload::Bytes(bytes),
            ..
        }
        | Body::Filez {
            payload: Payload::Bytes(bytes),
            ..
        } => Some(bytes.len()),
        _ => None,
    }
}

type Numbered = (usize, Incoming);

/// Cuts what is put into groups of small objects, and those that go alone.
fn group(objects: Vec<Incoming>) -> (Vec<Vec<Numbered>>, Vec<Numbered>) {
    let (mut groups, mut alone) = (Vec::new(), Vec::new());
    let (mut current, mut current_bytes) = (Vec::new(), 0);
    for (i, object) in objects.into_iter().enumerate() {
        match at_hand_bytes(&object) {
            Some(bytes) if bytes <= GROUP_BYTES => {
                let full = current_bytes + bytes > GROUP_BYTES || current.len() >= GROUP_OBJECTS;
                if full && !current.is_empty() {
                    groups.push(std::mem::take(&mut current));
                    current_bytes = 0;
                }
                current_bytes += bytes;
                current.push((i, object));
            }
            _ => alone.push((i, object)),
        }
    }
    if !current.is_empty() {
        groups.push(current);
    }
    (groups, alone)
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
        let relied: Vec<i64> = staging.progress().relied.iter().copied().collect();
        let (repo, sync) = (staging.repo.clone(), staging.sync);
        let stats = staging.progress().stats;
        let publish = move |connection: &Connection| {
            staging::publish(connection, staging.id, &relied, now_ms)
        };
        repo.db().write(sync, publish).await?;
        Ok(stats)
    }
}
