//! Wrong scratches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use treeferry_core::Result;
use treeferry_core::store::{Scratch, ScratchContent, ScratchFile};
use treeferry_core::transport::{RemotePath, Validator};

use super::Fault;

/// An origin and a path.
pub(super) type Key = (String, RemotePath);

type Held = Arc<Mutex<BTreeSet<Key>>>;

#[derive(Debug)]
pub(super) struct FaultyScratch {
    fault: Fault,
    inner: Arc<dyn Scratch>,
    held: Held,
}

impl FaultyScratch {
    pub(super) fn new(fault: Fault, inner: Arc<dyn Scratch>, held: Held) -> Self {
        Self { fault, inner, held }
    }

    fn origin<'a>(&self, origin: &'a str) -> &'a str {
        match self.fault {
            Fault::ConfusesOrigins => "anywhere",
            _ => origin,
        }
    }

    fn wrap(&self, key: Key, inner: Box<dyn ScratchFile>) -> Box<dyn ScratchFile> {
        self.held.lock().unwrap().insert(key.clone());
        Box::new(FaultyFile {
            fault: self.fault,
            inner: Some(inner),
            key,
            held: Arc::clone(&self.held),
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scratch for FaultyScratch {
    async fn kept(&self, origin: &str) -> Result<Vec<RemotePath>> {
        self.inner.kept(self.origin(origin)).await
    }

    async fn take(&self, origin: &str, path: &RemotePath) -> Result<Option<Box<dyn ScratchFile>>> {
        let origin = self.origin(origin);
        let key = (origin.to_owned(), path.clone());
        let held = self.held.lock().unwrap().contains(&key);
        let mut taken = self.inner.take(origin, path).await?;
        if self.fault == Fault::SharesDownloads && taken.is_none() && held {
            taken = Some(self.inner.create(origin, path, None, None).await?);
        }
        Ok(taken.map(|file| self.wrap(key, file)))
    }

    async fn create(
        &self,
        origin: &str,
        path: &RemotePath,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<Box<dyn ScratchFile>> {
        let origin = self.origin(origin);
        let validator = match self.fault {
            Fault::ForgetsTheValidator => None,
            _ => validator,
        };
        let made = self.inner.create(origin, path, validator, total_bytes);
        Ok(self.wrap((origin.to_owned(), path.clone()), made.await?))
    }
}

#[derive(Debug)]
struct FaultyFile {
    fault: Fault,
    /// Gone once it is discarded.
    inner: Option<Box<dyn ScratchFile>>,
    key: Key,
    held: Held,
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.held.lock().unwrap().remove(&self.key);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ScratchFile for FaultyFile {
    fn received_bytes(&self) -> u64 {
        self.inner.as_ref().unwrap().received_bytes()
    }

    fn total_bytes(&self) -> Option<u64> {
        self.inner.as_ref().unwrap().total_bytes()
    }

    fn validator(&self) -> Option<&Validator> {
        self.inner.as_ref().unwrap().validator()
    }

    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.as_mut().unwrap().append(bytes).await
    }

    fn open(&self) -> Result<ScratchContent> {
        self.inner.as_ref().unwrap().open()
    }

    async fn discard(mut self: Box<Self>) -> Result<()> {
        let inner = self.inner.take().unwrap();
        match self.fault {
            Fault::KeepsDiscarded => Ok(()),
            _ => inner.discard().await,
        }
    }
}
