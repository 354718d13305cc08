//! Reading a repository, and the locks and deletions around it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, METADATA_BYTES_MAX, ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    ObjectSource, ObjectStore, Payload, ResumableSource, Scratch, Stat,
};

use crate::batch::FsBatch;
use crate::layout::{object_path, xattrs_link_path};
use crate::local::LocalView;
use crate::mode::FsMode;
use crate::repo::FsRepo;
use crate::scratch::FsScratch;
use crate::shelf::Shelf;
use crate::sys;

/// Names looked up in one job of the pool.
const STATS_A_JOB: usize = 4096;

impl FsRepo {
    /// Looks an object up here, and then in the parents. Blocking.
    pub(crate) fn stat_blocking(&self, name: &ObjectName) -> Result<Option<Stat>> {
        let found = self.inner.shelf.stat(name)?;
        match (found, self.parent()) {
            (None, Some(parent)) => parent.stat_blocking(name),
            (found, _) => Ok(found),
        }
    }

    /// Opens an object here, or in the parents. Blocking.
    pub(crate) fn fetch_blocking(&self, name: &ObjectName) -> Result<Option<Body>> {
        let found = fetch_from(&self.inner.shelf, name)?;
        match (found, self.parent()) {
            (None, Some(parent)) => parent.fetch_blocking(name),
            (found, _) => Ok(found),
        }
    }

    pub(crate) fn encoding_here(&self) -> Encoding {
        match self.mode() {
            FsMode::Archive => Encoding::Filez,
            _ => Encoding::Canonical,
        }
    }

    fn delete_blocking(&self, name: &ObjectName) -> Result<Option<u64>> {
        let shelf = &self.inner.shelf;
        let path = object_path(name, shelf.mode);
        let Some(stat) = sys::stat(shelf.fd(), &path)? else {
            return Ok(None);
        };
        let removed = sys::remove_file(shelf.fd(), &path)?;
        if shelf.mode == FsMode::BareSplitXattrs && name.object_type == ObjectType::File {
            self.delete_xattrs_of(&name.checksum)?;
        }
        Ok(removed.then(|| sys::length(&stat)))
    }

    /// Deletes what names a file's extended attributes, and them too if nothing else holds them.
    fn delete_xattrs_of(&self, file: &Checksum) -> Result<()> {
        let shelf = &self.inner.shelf;
        let link = xattrs_link_path(file);
        let Some(bytes) = sys::read_file(shelf.fd(), &link, METADATA_BYTES_MAX)? else {
            return Ok(());
        };
        sys::remove_file(shelf.fd(), &link)?;
        let xattrs = ObjectName::new(ObjectType::FileXattrs, Checksum::of(&bytes));
        let path = object_path(&xattrs, shelf.mode);
        if sys::stat(shelf.fd(), &path)?.is_some_and(|stat| stat.st_nlink == 1) {
            sys::remove_file(shelf.fd(), &path)?;
        }
        Ok(())
    }
}

/// Opens an object of one shelf. Blocking; the content of a file is opened when it is read.
pub(crate) fn fetch_from(shelf: &Shelf, name: &ObjectName) -> Result<Option<Body>> {
    if name.object_type == ObjectType::File {
        return Ok(shelf.open(&name.checksum)?.map(Body::from));
    }
    let bytes = shelf.read_metadata(name).map_err(|e| e.about(*name))?;
    Ok(bytes.map(|bytes| Body::Metadata(Payload::Bytes(bytes))))
}

/// Runs `look_up` for all names, in few large jobs, keeping their order.
pub(crate) async fn stat_many<F>(
    repo: &FsRepo,
    names: &[ObjectName],
    look_up: F,
) -> Result<Vec<Option<Stat>>>
where
    F: Fn(&ObjectName) -> Result<Option<Stat>> + Clone + Send + 'static,
{
    let jobs = names.chunks(STATS_A_JOB).map(|chunk| {
        let (chunk, look_up) = (chunk.to_vec(), look_up.clone());
        repo.pool()
            .run(move || chunk.iter().map(look_up).collect::<Result<Vec<_>>>())
    });
    let found = futures::future::try_join_all(jobs).await?;
    Ok(found.into_iter().flatten().collect())
}

#[async_trait]
impl ObjectSource for FsRepo {
    fn encoding(&self) -> Encoding {
        self.encoding_here()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let repo = self.clone();
        stat_many(self, names, move |name| repo.stat_blocking(name)).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let name = *name;
        self.run(move |repo| repo.fetch_blocking(&name)).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        Some(Arc::new(LocalView::new(self.clone())))
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

#[async_trait]
impl ObjectStore for FsRepo {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        Ok(Box::new(self.begin_batch(options).await?))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        crate::list::list(self.clone(), object_type)
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        if lock.kind() != LockKind::Exclusive {
            return Err(Error::invalid("deleting objects takes the exclusive lock"));
        }
        self.check_writable()?;
        // The job holds the lock: dropping this future does not end the deleting.
        let (names, lock) = (names.to_vec(), lock.clone());
        self.run(move |repo| {
            let _held = lock;
            names
                .iter()
                .map(|name| repo.delete_blocking(name))
                .collect()
        })
        .await
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        self.lock_repo(kind).await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        Some(Arc::new(FsScratch::new(self.clone())))
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        None
    }
}

impl FsRepo {
    /// Begins to add objects: as [`ObjectStore::begin`], with what only a directory can do.
    async fn begin_batch(&self, options: BatchOptions) -> Result<FsBatch> {
        FsBatch::begin(self.clone(), options).await
    }
}
