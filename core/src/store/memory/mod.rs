//! A store in memory: the reference for all others, and stricter than they have to be.
//!
//! It refuses what works by luck elsewhere: a batch whose dirtrees lack children, a batch that
//! names one ref twice, deleting under a lock of another place.

mod batch;
mod closure;
mod lock;
mod object;
mod refs;
mod scratch;
mod state;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use self::batch::MemoryBatch;
use self::lock::Lock;
use self::object::Object;
use self::scratch::ScratchEntries;
use self::state::State;
use super::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    ObjectSource, ObjectStore, RefName, RefValue, ResumableSource, Scratch, Stat,
};
use crate::error::{Error, Result};
use crate::format::{ObjectName, ObjectType};
use crate::pool::Pool;

/// How a [`MemoryStore`] behaves.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// How content is kept.
    pub encoding: Encoding,
    /// How hard content is deflated, 1 to 9, where it is kept as [`Encoding::Filez`].
    pub deflate_level: u8,
    /// How long to wait for a lock before giving up.
    pub lock_wait: Duration,
    /// Tells when objects were put; without it [`Listed::modified`] is not known.
    pub clock: Option<fn() -> SystemTime>,
    /// The configuration to begin with, the bytes of a key file.
    pub config: Bytes,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            encoding: Encoding::Canonical,
            deflate_level: 6,
            lock_wait: Duration::from_secs(30),
            clock: None,
            config: Bytes::from_static(b"[core]\nrepo_version=1\nmode=bare\n"),
        }
    }
}

impl MemoryOptions {
    /// Returns options for a store that keeps content as archives do.
    pub fn archive() -> Self {
        Self {
            encoding: Encoding::Filez,
            config: Bytes::from_static(b"[core]\nrepo_version=1\nmode=archive-z2\n"),
            ..Self::default()
        }
    }
}

/// A whole repository in memory: objects, refs and state. A clone is another handle on it.
#[derive(Clone)]
pub struct MemoryStore {
    place: Arc<Place>,
}

/// What all handles share.
struct Place {
    options: MemoryOptions,
    pool: Pool,
    lock: Arc<Lock>,
    objects: Mutex<Objects>,
    refs: Mutex<BTreeMap<RefName, RefValue>>,
    state: Mutex<State>,
    scratch: ScratchEntries,
}

#[derive(Default)]
struct Objects {
    visible: BTreeMap<ObjectName, Object>,
    /// Verified, and left by batches that were dropped.
    leftovers: BTreeMap<ObjectName, Object>,
}

impl MemoryStore {
    /// Creates an empty repository.
    pub fn new(options: MemoryOptions) -> Self {
        let state = State::new(options.config.clone());
        Self {
            place: Arc::new(Place {
                options,
                pool: Pool::default(),
                lock: Arc::default(),
                objects: Mutex::default(),
                refs: Mutex::default(),
                state: Mutex::new(state),
                scratch: ScratchEntries::default(),
            }),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("encoding", &self.place.options.encoding)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for MemoryStore {
    fn encoding(&self) -> Encoding {
        self.place.options.encoding
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let objects = lock(&self.place.objects);
        let stat = |name| objects.visible.get(name).map(Object::stat);
        Ok(names.iter().map(stat).collect())
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let objects = lock(&self.place.objects);
        Ok(objects.visible.get(name).map(Object::body))
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
impl ObjectStore for MemoryStore {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        let guard = self.lock(LockKind::Shared).await?;
        let place = Arc::clone(&self.place);
        Ok(Box::new(MemoryBatch::new(place, guard, options)))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        let objects = lock(&self.place.objects);
        let of_type = objects.visible.iter();
        let of_type = of_type.filter(|(name, _)| name.object_type == object_type);
        let listed: Vec<_> = of_type.map(|(name, object)| object.listed(*name)).collect();
        stream::iter(listed.into_iter().map(Ok)).boxed()
    }

    async fn delete(&self, guard: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        if guard.kind() != LockKind::Exclusive || !self.place.lock.is_exclusive() {
            let problem = "objects are deleted only under this store's exclusive lock";
            return Err(Error::invalid(problem));
        }
        let mut objects = lock(&self.place.objects);
        let mut freed = |name| Some(objects.visible.remove(name)?.stored_bytes());
        Ok(names.iter().map(&mut freed).collect())
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        self.place
            .lock
            .acquire(kind, self.place.options.lock_wait)
            .await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        Some(Arc::new(self.place.scratch.clone()))
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        None
    }
}

/// Locks `mutex`. No holder leaves a value half changed, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
