//! The objects of an archive that can be written to.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};

use super::batch::ArchiveBatch;
use super::known::{self, Entry, Known};
use super::lease::Lease;
use super::{ArchiveStore, Place};
use crate::archive::layout;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::{ObjectName, ObjectType};
use crate::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    ObjectSource, ObjectStore, Payload, ResumableSource, Scratch, Stat, Trust,
};

/// What is held exclusively through this handle, and what was listed meanwhile: nobody else writes.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Weak<Exclusive>>);

#[derive(Debug)]
pub(super) struct Exclusive {
    pub(super) lease: Lease,
    known: Arc<Known>,
}

impl Held {
    fn get(&self) -> Option<Arc<Exclusive>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.upgrade()
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.get().is_some()
    }

    /// Returns what `lock` is a lock of; an error if it is not exclusive, or another store's.
    pub(super) fn exclusive(&self, lock: &LockGuard) -> Result<Arc<Exclusive>> {
        match (lock.kind(), self.get()) {
            (LockKind::Exclusive, Some(exclusive)) => Ok(exclusive),
            _ => {
                let problem = "objects are deleted only under this store's exclusive lock";
                Err(Error::invalid(problem))
            }
        }
    }

    fn set(&self, exclusive: &Arc<Exclusive>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::downgrade(exclusive);
    }
}

/// Says of an entry of a listing what a store says of an object.
pub(super) fn stat(name: &ObjectName, entry: Entry) -> Option<Stat> {
    // What a cut upload left counts as missing, and is thereby healed.
    entry.is_possible(name).then_some(Stat {
        encoding: match name.object_type {
            ObjectType::File => Encoding::Filez,
            _ => Encoding::Canonical,
        },
        stored_bytes: entry.stored_bytes,
        trust: Trust::Whole,
    })
}

impl Place {
    /// Looks names up without believing what was found before.
    pub(super) async fn look_again(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let entries = Known::nothing().look(self, names).await?;
        let found = names.iter().zip(entries);
        Ok(found.map(|(name, entry)| stat(name, entry?)).collect())
    }

    /// Opens an object. Metadata is read whole, as often as it takes; content once.
    pub(super) async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        if matches!(name.object_type, ObjectType::File | ObjectType::FileXattrs) {
            return self.remote.fetch(name).await;
        }
        let found = self.read_metadata(&layout::object_path(name)).await?;
        Ok(found.map(|found| Body::Metadata(Payload::Bytes(found.bytes))))
    }

    /// Makes sure that nothing which `lease` protects was deleted while its holder was away.
    pub(super) async fn check_relied_on(&self, lease: &Lease) -> Result<()> {
        if lease.is_unbroken().await? {
            return Ok(());
        }
        tracing::warn!("the lease was lost: looking again at what was there");
        let relied = lease.relied_on();
        let found = self.look_again(&relied).await?;
        if let Some((name, _)) = relied.iter().zip(found).find(|(_, stat)| stat.is_none()) {
            let problem = "was deleted by a prune while this was being written; nothing was made \
                           visible: run it again";
            let kind = ErrorKind::Unavailable { retry_after: None };
            return Err(Error::new(kind, problem).about(*name));
        }
        lease.mend();
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for ArchiveStore {
    fn encoding(&self) -> Encoding {
        Encoding::Filez
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.place.look_again(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        self.place.fetch(name).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.place.remote.resumable()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for ArchiveStore {
    async fn begin(&self, _options: BatchOptions) -> Result<Box<dyn Batch>> {
        // What an interrupted batch left is there for all to see: it cannot be left alone. And a
        // write that was acknowledged is durable, or it never is.
        let lease = self.place.leases.shared().await?;
        Ok(Box::new(ArchiveBatch::new(Arc::clone(&self.place), lease)))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        let place = Arc::clone(&self.place);
        let held = self.place.held.get();
        let listed = known::list(held.map(|held| Arc::clone(&held.known)), place);
        let of_type = listed.try_filter_map(move |(name, entry)| async move {
            Ok((name.object_type == object_type).then_some(Listed {
                name,
                stored_bytes: entry.stored_bytes,
                modified: entry.modified,
            }))
        });
        of_type.boxed()
    }

    async fn delete(&self, guard: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        let exclusive = self.place.held.exclusive(guard)?;
        if !exclusive.lease.is_unbroken().await? {
            let problem = "the lease for deleting was lost: others may have written meanwhile, and \
                           what they need cannot be told; run it again";
            let error = Error::new(ErrorKind::Locked, problem);
            return Err(error.about(Subject::Url(self.origin().into())));
        }
        let entries = exclusive.known.look(&self.place, names).await?;
        let there = names.iter().zip(&entries).filter(|(_, e)| e.is_some());
        let paths: Vec<_> = there.map(|(name, _)| layout::object_path(name)).collect();
        self.place.delete(&paths).await?;
        exclusive.known.forget(names);
        let freed = |entry: Option<Entry>| entry.map(|entry| entry.stored_bytes);
        Ok(entries.into_iter().map(freed).collect())
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        match kind {
            LockKind::Shared => {
                let lease = self.place.leases.shared().await?;
                Ok(LockGuard::new(kind, lease))
            }
            LockKind::Exclusive => {
                let exclusive = Arc::new(Exclusive {
                    lease: self.place.leases.exclusive().await?,
                    known: Arc::new(Known::nothing()),
                });
                self.place.held.set(&exclusive);
                Ok(LockGuard::new(kind, exclusive))
            }
        }
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        // What came half way is fetched again: a bucket is no place to append to.
        None
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        Some(Arc::new(self.clone()))
    }
}
