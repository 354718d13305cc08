//! A store that fails by a seed.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use treeferry_core::Result;
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchOptions, BatchStats, Body, Condemned, Encoding, ExtraName, Incoming, Listed,
    ListedDeltaFile, LocalObjects, LockGuard, LockKind, ObjectSource, ObjectStore, Partial, Put,
    RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue, RepoState,
    ResumableSource, Scratch, SignedSummary, Stat, Swap,
};
use treeferry_core::transport::{FetchOptions, FetchedFile, PutBody, RemotePath};

use super::{Fault, Faults, can, change, timed_out};

/// A store whose operations go wrong as `Faults` say; it is what its inner store is.
///
/// It has no view as plain files: all that is read goes through [`ObjectSource::fetch`], where it
/// can go wrong.
#[derive(Debug, Clone)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Arc<Faults>,
}

impl<S> FaultyStore<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    /// Returns what is wrapped.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

/// Reads an object, wrongly if it is to be.
async fn fetch(
    source: &dyn ObjectSource,
    name: &ObjectName,
    faults: &Arc<Faults>,
) -> Result<Option<Body>> {
    let fault = faults.before(can::READ).await?;
    let body = source.fetch(name).await?;
    Ok(match (body, fault) {
        (Some(body), Some(fault)) => Some(super::bytes::body(body, fault, faults)),
        (body, _) => body,
    })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectSource> ObjectSource for FaultyStore<S> {
    fn encoding(&self) -> Encoding {
        self.inner.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.faults.before(can::ASK).await?;
        self.inner.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        fetch(&self.inner, name, &self.faults).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        let inner = self.inner.resumable()?;
        let faults = Arc::clone(&self.faults);
        Some(Arc::new(FaultyResumable { inner, faults }))
    }
}

#[derive(Debug)]
struct FaultyResumable {
    inner: Arc<dyn ResumableSource>,
    faults: Arc<Faults>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ResumableSource for FaultyResumable {
    fn object_path(&self, name: &ObjectName) -> RemotePath {
        self.inner.object_path(name)
    }

    fn origin(&self) -> &str {
        self.inner.origin()
    }

    fn describe(&self, path: &RemotePath) -> String {
        self.inner.describe(path)
    }

    async fn fetch_file(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>> {
        let fault = self.faults.before(can::READ).await?;
        let file = self.inner.fetch_file(path, options).await?;
        Ok(file.map(|file| super::bytes::file(file, fault, &self.faults)))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for FaultyStore<S> {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        self.faults.before(can::ASK).await?;
        let inner = self.inner.begin(options).await?;
        let faults = Arc::clone(&self.faults);
        Ok(Box::new(FaultyBatch { inner, faults }))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        super::bytes::list(self.inner.list(object_type), &self.faults)
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        change!(self.faults, self.inner.delete(lock, names))
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        self.faults.before(can::ASK).await?;
        self.inner.lock(kind).await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        self.inner.scratch()
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        self.inner.condemned()
    }
}

#[derive(Debug)]
struct FaultyBatch {
    inner: Box<dyn Batch>,
    faults: Arc<Faults>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for FaultyBatch {
    fn encoding(&self) -> Encoding {
        self.inner.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.faults.before(can::ASK).await?;
        self.inner.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let fault = self.faults.before(can::READ).await?;
        let body = self.inner.fetch(name).await?;
        Ok(match (body, fault) {
            (Some(body), Some(fault)) => Some(super::bytes::body(body, fault, &self.faults)),
            (body, _) => body,
        })
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

impl FaultyBatch {
    /// Puts objects in the opposite order, and answers in theirs.
    async fn put_backwards(&self, mut objects: Vec<Incoming>) -> Vec<Result<Put>> {
        objects.reverse();
        let mut answers = self.inner.put(objects).await;
        answers.reverse();
        answers
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Batch for FaultyBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let fault = self.faults.before(can::PUT).await;
        let one = self.faults.random(objects.len().max(1) as u64) as usize;
        match fault {
            // One of them does not get through, the others do.
            Err(error) => {
                let mut objects = objects;
                let rest = objects.split_off((one + 1).min(objects.len()));
                objects.pop();
                let mut answers = self.inner.put(objects).await;
                answers.push(Err(error));
                answers.extend(self.inner.put(rest).await);
                answers
            }
            Ok(Some(Fault::Reorder)) => self.put_backwards(objects).await,
            Ok(Some(_)) => {
                let mut answers = self.inner.put(objects).await;
                if let Some(answer) = answers.get_mut(one) {
                    *answer = Err(timed_out());
                }
                answers
            }
            Ok(None) => self.inner.put(objects).await,
        }
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        match self.faults.before(can::CHANGE_ONCE).await? {
            Some(_) => {
                self.inner.commit().await?;
                Err(timed_out())
            }
            None => self.inner.commit().await,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: RefStore> RefStore for FaultyStore<S> {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        self.faults.before(can::ASK).await?;
        self.inner.read_ref(name).await
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        self.faults.before(can::ASK).await?;
        self.inner.list_refs(space).await
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        change!(self.faults, self.inner.update_refs(updates))
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        self.inner.ref_atomicity()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: RepoState> RepoState for FaultyStore<S> {
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.faults.before(can::ASK).await?;
        self.inner.read_detached(commit).await
    }

    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        change!(
            self.faults,
            self.inner.swap_detached(commit, expected, new.clone())
        )
    }

    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>> {
        self.faults.before(can::ASK).await?;
        self.inner.read_partial(commit).await
    }

    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        change!(self.faults, self.inner.write_partial(commit, partial))
    }

    async fn list_partial(&self) -> Result<Vec<Checksum>> {
        self.faults.before(can::ASK).await?;
        self.inner.list_partial().await
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.faults.before(can::ASK).await?;
        self.inner.read_tombstone(commit).await
    }

    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()> {
        change!(
            self.faults,
            self.inner.write_tombstone(commit, tombstone.clone())
        )
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        self.faults.before(can::ASK).await?;
        self.inner.read_summary().await
    }

    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        change!(self.faults, self.inner.write_summary(summary.clone()))
    }

    async fn read_config(&self) -> Result<Bytes> {
        self.faults.before(can::ASK).await?;
        self.inner.read_config().await
    }

    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap> {
        change!(self.faults, self.inner.swap_config(expected, new.clone()))
    }

    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>> {
        self.faults.before(can::ASK).await?;
        self.inner.read_extra(name).await
    }

    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()> {
        change!(self.faults, self.inner.write_extra(name, bytes.clone()))
    }

    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>> {
        self.faults.before(can::ASK).await?;
        self.inner.list_delta_files().await
    }

    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>> {
        let fault = self.faults.before(can::READ).await?;
        let file = self.inner.open_delta_file(file, offset).await?;
        Ok(file.map(|file| super::bytes::file(file, fault, &self.faults)))
    }

    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        let fault = self.faults.before(can::CHANGE_ONCE).await?;
        self.inner.write_delta_file(file, body).await?;
        match fault {
            Some(_) => Err(timed_out()),
            None => Ok(()),
        }
    }

    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()> {
        change!(self.faults, self.inner.delete_delta_files(files))
    }
}
