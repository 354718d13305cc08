//! Objects on their way into memory.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::{join, join_all};

use super::object::Object;
use super::{Objects, Place, closure, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ObjectName;
use crate::store::{
    Batch, BatchOptions, BatchStats, Body, Encoding, Incoming, Leftovers, LocalObjects, LockGuard,
    ObjectSource, Put, ResumableSource, Stat, Stored,
};

/// A batch: what it holds is seen through it alone until it is committed.
pub(super) struct MemoryBatch {
    // Jobs on the blocking pool hold it too: what they stage outlives a dropped future.
    staging: Arc<Staging>,
}

struct Staging {
    place: Arc<Place>,
    held: Mutex<Held>,
    _guard: LockGuard,
}

#[derive(Default)]
struct Held {
    staged: BTreeMap<ObjectName, Object>,
    adopted: BTreeMap<ObjectName, Object>,
    stats: BatchStats,
}

impl MemoryBatch {
    pub(super) fn new(place: Arc<Place>, guard: LockGuard, options: BatchOptions) -> Self {
        let adopted = match options.leftovers {
            Leftovers::Adopt => std::mem::take(&mut lock(&place.objects).leftovers),
            Leftovers::Ignore => BTreeMap::new(),
        };
        let held = Mutex::new(Held {
            adopted,
            ..Held::default()
        });
        Self {
            staging: Arc::new(Staging {
                place,
                held,
                _guard: guard,
            }),
        }
    }

    fn find<T>(&self, name: &ObjectName, show: impl Fn(&Object) -> T) -> Option<T> {
        let held = lock(&self.staging.held);
        let objects = lock(&self.staging.place.objects);
        held.get(&objects, name).map(show)
    }
}

impl Held {
    fn get<'a>(&'a self, objects: &'a Objects, name: &ObjectName) -> Option<&'a Object> {
        let staged = self.staged.get(name);
        let staged = staged.or_else(|| self.adopted.get(name));
        staged.or_else(|| objects.visible.get(name))
    }

    fn count(&mut self, name: ObjectName, object: &Object, stored: Stored) {
        let new = u64::from(stored == Stored::New);
        let stats = &mut self.stats;
        if name.object_type.is_metadata() {
            stats.metadata_total += 1;
            stats.metadata_written += new;
        } else {
            stats.content_total += 1;
            stats.content_written += new;
            stats.content_bytes_written += new * object.unpacked_bytes();
        }
    }
}

impl Staging {
    /// Verifies and keeps one object. **Blocking.**
    fn stage(&self, incoming: Incoming) -> Result<Put> {
        let (name, object) = Object::read(incoming, &self.place.options)?;
        let mut held = lock(&self.held);
        let objects = lock(&self.place.objects);
        let (stored, object) = match held.get(&objects, &name) {
            Some(present) => (Stored::Present, present.clone()),
            None => (Stored::New, object),
        };
        held.count(name, &object, stored);
        let put = Put {
            name,
            stored,
            unpacked_bytes: object.unpacked_bytes(),
            stored_bytes: object.stored_bytes(),
        };
        // What was asked for is the caller's from now on, and no longer a mere leftover.
        if stored == Stored::New || held.adopted.remove(&name).is_some() {
            held.staged.insert(name, object);
        }
        Ok(put)
    }

    fn publish(&self) -> Result<BatchStats> {
        let partial = lock(&self.place.state).partial_commits();
        let mut held = lock(&self.held);
        let mut objects = lock(&self.place.objects);
        let Held {
            staged, adopted, ..
        } = &mut *held;
        closure::check(&objects.visible, staged, adopted, &partial)?;
        let closed = closure::closed_leftovers(&objects.visible, staged, adopted, &partial);
        for name in closed {
            if let Some(object) = adopted.remove(&name) {
                objects.visible.entry(name).or_insert(object);
            }
        }
        for (name, object) in std::mem::take(staged) {
            objects.visible.entry(name).or_insert(object);
        }
        Ok(held.stats)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let held = std::mem::take(&mut *lock(&self.held));
        let mut objects = lock(&self.place.objects);
        objects.leftovers.extend(held.adopted);
        objects.leftovers.extend(held.staged);
    }
}

impl Debug for MemoryBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBatch")
            .field("staged", &lock(&self.staging.held).staged.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for MemoryBatch {
    fn encoding(&self) -> Encoding {
        self.staging.place.options.encoding
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let stat = |name| self.find(name, Object::stat);
        Ok(names.iter().map(stat).collect())
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        Ok(self.find(name, Object::body))
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
impl Batch for MemoryBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let mut answers: Vec<Option<Result<Put>>> = Vec::new();
        answers.resize_with(objects.len(), || None);
        let numbered = objects.into_iter().enumerate();
        let (small, arriving): (Vec<_>, Vec<_>) = numbered.partition(|(_, o)| o.is_at_hand());
        let pool = &self.staging.place.pool;
        // What is at hand takes one hop together; what arrives must not hold up the rest.
        let staging = Arc::clone(&self.staging);
        let small = pool.run(move || {
            let stage = |(i, object)| (i, staging.stage(object));
            Ok(small.into_iter().map(stage).collect::<Vec<_>>())
        });
        let arriving = arriving.into_iter().map(|(i, object)| {
            let staging = Arc::clone(&self.staging);
            async move { (i, pool.run(move || staging.stage(object)).await) }
        });
        let (small, arriving) = join(small, join_all(arriving)).await;
        for (i, answer) in small.unwrap_or_default().into_iter().chain(arriving) {
            answers[i] = Some(answer);
        }
        let cancelled = || Error::new(ErrorKind::Cancelled, "the runtime is shutting down");
        let answer = |a: Option<_>| a.unwrap_or_else(|| Err(cancelled()));
        answers.into_iter().map(answer).collect()
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        self.staging.publish()
    }
}
