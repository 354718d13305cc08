//! Wrong object stores.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use treeferry_core::Result;
use treeferry_core::format::{FileHeader, ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Incoming, Leftovers, Listed, LocalObjects,
    LockGuard, LockKind, ObjectSource, ObjectStore, Payload, ResumableSource, Scratch, Stat, Trust,
};

use super::batch::FaultyBatch;
use super::scratch::FaultyScratch;
use super::{Fault, Faulty};

/// Bytes that nobody verified.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    Metadata(Bytes),
    File(FileHeader, u64, Bytes),
    Filez(Bytes),
}

impl Raw {
    /// Copies what is at hand.
    pub(super) fn of(incoming: &Incoming) -> Option<Self> {
        match incoming.body() {
            Body::Metadata(Payload::Bytes(bytes)) => Some(Self::Metadata(bytes.clone())),
            Body::File {
                header,
                content_bytes,
                content: Payload::Bytes(content),
            } => Some(Self::File(header.clone(), *content_bytes, content.clone())),
            Body::Filez {
                payload: Payload::Bytes(bytes),
                ..
            } => Some(Self::Filez(bytes.clone())),
            _ => None,
        }
    }

    fn body(self) -> Body {
        match self {
            Self::Metadata(bytes) => Body::Metadata(Payload::Bytes(bytes)),
            Self::File(header, content_bytes, content) => Body::File {
                header,
                content_bytes,
                content: Payload::Bytes(content),
            },
            Self::Filez(bytes) => Body::Filez {
                stored_bytes: None,
                payload: Payload::Bytes(bytes),
            },
        }
    }
}

/// What is said of objects that are not there.
const MADE_UP: Stat = Stat {
    encoding: Encoding::Canonical,
    stored_bytes: 1,
    trust: Trust::Whole,
};

impl Faulty {
    /// Spoils the answers of a store or a batch to a stat.
    pub(super) fn spoil_stats(&self, names: &[ObjectName], stats: &mut [Option<Stat>]) {
        let false_objects = self.shared.false_objects.lock().unwrap();
        let lost = self.shared.lost.lock().unwrap();
        for (name, stat) in names.iter().zip(&mut *stats) {
            if false_objects.contains_key(name) {
                *stat = stat.or(Some(MADE_UP));
            }
            if lost.contains(name) {
                *stat = None;
            }
        }
        match self.fault {
            Fault::SortsStats => stats.sort_by_key(|s| s.map(|s| s.stored_bytes)),
            Fault::FindsAbsentOnesInLargeStats if names.len() > 1 => {
                stats.iter_mut().for_each(|s| *s = s.or(Some(MADE_UP)));
            }
            _ => {}
        }
    }

    /// Returns the body of what is no object.
    pub(super) fn false_body(&self, name: &ObjectName) -> Option<Body> {
        let false_objects = self.shared.false_objects.lock().unwrap();
        Some(false_objects.get(name)?.clone().body())
    }

    fn takes_other_locks(&self) -> bool {
        matches!(self.fault, Fault::LocksPerHandle | Fault::BatchesTakeNoLock)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for Faulty {
    fn encoding(&self) -> Encoding {
        self.inner.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut asked = names.to_vec();
        if self.fault == Fault::ConfusesKindsInStat {
            for name in asked
                .iter_mut()
                .filter(|n| n.object_type == ObjectType::DirTree)
            {
                name.object_type = ObjectType::DirMeta;
            }
        }
        let mut stats = self.inner.stat(&asked).await?;
        if self.fault == Fault::ConfusesKindsInStat {
            let truth = self.inner.stat(names).await?;
            stats.iter_mut().zip(truth).for_each(|(s, t)| *s = s.or(t));
        }
        self.spoil_stats(names, &mut stats);
        let early = self.shared.early.lock().unwrap();
        for (name, stat) in names.iter().zip(&mut stats) {
            if early.contains(name) {
                *stat = stat.or(Some(MADE_UP));
            }
        }
        Ok(stats)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        if self.shared.lost.lock().unwrap().contains(name) {
            return Ok(None);
        }
        let body = self.inner.fetch(name).await?;
        Ok(body.or_else(|| self.false_body(name)))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        self.inner.local()
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.inner.resumable()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Faulty {
    async fn begin(&self, mut options: BatchOptions) -> Result<Box<dyn Batch>> {
        match self.fault {
            Fault::LosesLeftovers => options.leftovers = Leftovers::Ignore,
            Fault::AdoptsLeftoversAlways => options.leftovers = Leftovers::Adopt,
            _ => {}
        }
        // A lock of another place, if that is the fault: this one's would exclude its own deletes.
        let lock = match self.fault {
            Fault::LocksPerHandle => Some(self.locks.lock(LockKind::Shared).await?),
            _ => None,
        };
        let inner = self.inner.begin(options).await?;
        Ok(Box::new(FaultyBatch::new(self.clone(), inner, lock)))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        let list = self.inner.list(object_type);
        match self.fault {
            Fault::ListsNoDirmeta if object_type == ObjectType::DirMeta => stream::empty().boxed(),
            Fault::ListsTwice => list.chain(self.inner.list(object_type)).boxed(),
            _ => list,
        }
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        match self.fault {
            Fault::ForgetsToDelete if lock.kind() == LockKind::Exclusive => {
                let stats = self.inner.stat(names).await?;
                Ok(stats
                    .iter()
                    .map(|s| Some(s.as_ref()?.stored_bytes))
                    .collect())
            }
            Fault::DeletesUnderASharedLock if lock.kind() == LockKind::Shared => {
                Ok(vec![None; names.len()])
            }
            Fault::ExclusiveExcludesNobody if lock.kind() == LockKind::Exclusive => {
                let right = self.inner.lock(LockKind::Exclusive).await?;
                self.inner.delete(&right, names).await
            }
            _ if self.takes_other_locks() && lock.kind() == LockKind::Exclusive => {
                let right = self.inner.lock(LockKind::Exclusive).await?;
                self.inner.delete(&right, names).await
            }
            _ => self.inner.delete(lock, names).await,
        }
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        match self.fault {
            Fault::ExclusiveExcludesNobody if kind == LockKind::Exclusive => {
                Ok(LockGuard::new(kind, ()))
            }
            Fault::NeverReleasesTheLock => {
                let guard = self.inner.lock(kind).await?;
                std::mem::forget(guard.clone());
                Ok(guard)
            }
            _ if self.takes_other_locks() => self.locks.lock(kind).await,
            _ => self.inner.lock(kind).await,
        }
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        match self.fault {
            Fault::HasNoScratch => None,
            fault => Some(Arc::new(FaultyScratch::new(
                fault,
                self.inner.scratch()?,
                Arc::clone(&self.shared.held),
            ))),
        }
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        self.inner.condemned()
    }
}
