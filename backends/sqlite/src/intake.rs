//! How objects come into a batch: small ones in groups, the others chunk by chunk.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rusqlite::Connection;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::ObjectName;
use treeferry_core::store::{
    BatchStats, Body, Incoming, Leftovers, LockGuard, Payload, Put, Stored,
};

use crate::arriving::{Arriving, Step};
use crate::db::Sync;
use crate::error::Outcome;
use crate::lock::Held;
use crate::objects::Entry;
use crate::repo::SqliteRepo;
use crate::staging::{self, Verified};

/// How much of small objects goes in one step.
const GROUP_BYTES: usize = 1024 * 1024;
const GROUP_OBJECTS: usize = 512;

/// A batch, as jobs hold it.
pub(crate) struct Staging {
    pub(crate) repo: SqliteRepo,
    pub(crate) id: i64,
    pub(crate) sync: Sync,
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

impl Staging {
    /// Stages into the batch `id`, whose locks are held.
    pub(crate) fn new(
        repo: SqliteRepo,
        (id, held): (i64, Held),
        guard: LockGuard,
        sync: Sync,
        leftovers: Leftovers,
    ) -> Arc<Self> {
        Arc::new(Self {
            repo,
            id,
            sync,
            leftovers,
            progress: Mutex::default(),
            _held: held,
            _guard: guard,
        })
    }

    /// Returns what was put so far, and the bodies that callers were told of.
    pub(crate) fn tally(&self) -> (BatchStats, Vec<i64>) {
        let progress = self.progress();
        (progress.stats, progress.relied.iter().copied().collect())
    }

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
    pub(crate) async fn put_large(self: &Arc<Self>, incoming: Incoming) -> Result<Put> {
        let name = incoming.name();
        let object_type = incoming.object_type();
        let (mut arriving, step) = self.open(incoming).await?;
        let step = Arc::new(step);
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
        let position = step.chunks.len();
        drop(step);
        let put = self.append_rest(body, position, arriving).await;
        if put.is_err() {
            // What cannot be removed now is not whole, and goes with the batch.
            let _ = self.write(move |_, c| staging::abandon(c, body)).await;
        }
        put
    }

    /// Adds the rest of an object to its body, from chunk `position` on.
    async fn append_rest(
        self: &Arc<Self>,
        body: i64,
        mut position: usize,
        mut arriving: Arriving,
    ) -> Result<Put> {
        loop {
            let next = self.repo.inner.options.pool.run(move || {
                let step = arriving.step()?;
                Ok((arriving, step))
            });
            let (rest, step) = next.await?;
            arriving = rest;
            let step = Arc::new(step);
            let (chunks, at) = (Arc::clone(&step), position);
            let written = self.write(move |staging, connection| {
                staging::append(connection, body, at, &chunks.chunks)?;
                let complete = |end| staging::complete(connection, staging.id, body, end);
                chunks.end.as_ref().map(complete).transpose()
            });
            let written = written.await?;
            if let (Some((stored, entry)), Some(end)) = (written, &step.end) {
                return Ok(self.count(end.name, stored, &entry));
            }
            position += step.chunks.len();
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
    pub(crate) async fn put_group(self: &Arc<Self>, group: Vec<Incoming>) -> Vec<Result<Put>> {
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
    pub(crate) fn rely(&self, bodies: impl Iterator<Item = i64>) {
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

/// An object, and its place among those put with it.
pub(crate) type Numbered = (usize, Incoming);

/// Cuts what is put into groups of small objects, and those that go alone.
pub(crate) fn group(objects: Vec<Incoming>) -> (Vec<Vec<Numbered>>, Vec<Numbered>) {
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
