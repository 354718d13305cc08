//! A transport that fails by a seed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use treeferry_core::Result;
use treeferry_core::transport::{
    FetchOptions, Fetched, ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    WritableTransport,
};

use super::{Fault, Faults, can, change, timed_out, unavailable};

/// A transport whose operations go wrong as `Faults` say.
///
/// A put that is made twice is as one that a client sends again because the answer was lost: made
/// on condition, it conflicts with itself.
#[derive(Debug, Clone)]
pub struct FaultyTransport<T> {
    inner: T,
    faults: Arc<Faults>,
    /// Whose bytes can come wrong.
    spoilt: fn(&RemotePath) -> bool,
}

impl<T> FaultyTransport<T> {
    /// Wraps `inner`.
    pub fn new(inner: T, faults: Arc<Faults>) -> Self {
        Self {
            inner,
            faults,
            spoilt: |_| true,
        }
    }

    /// Lets only the bytes of some files come wrong: of a file that is not named by its hash nobody
    /// above a transport can tell.
    #[must_use]
    pub fn spoiling(mut self, which: fn(&RemotePath) -> bool) -> Self {
        self.spoilt = which;
        self
    }

    /// Returns what is wrapped.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Transport> Transport for FaultyTransport<T> {
    fn describe(&self, path: &RemotePath) -> String {
        self.inner.describe(path)
    }

    fn origin(&self) -> &str {
        self.inner.origin()
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let can = if (self.spoilt)(path) {
            can::READ
        } else {
            can::READ_RIGHT
        };
        let fault = self.faults.before(can).await?;
        let fetched = self.inner.fetch(path, options).await?;
        Ok(match fetched {
            // To be timed out is, for who reads, to be broken off: now or in the middle.
            _ if fault == Some(Fault::FalseTimeout) && self.faults.random(2) == 0 => {
                return Err(unavailable());
            }
            Some(Fetched::File(file)) => {
                let file = super::bytes::file(file, fault, &self.faults);
                Some(Fetched::File(file))
            }
            other => other,
        })
    }
}

async fn collect(mut pieces: BoxStream<'static, Result<Bytes>>) -> Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: WritableTransport> WritableTransport for FaultyTransport<T> {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        match self.faults.before(can::CHANGE).await? {
            Some(Fault::Duplicate) => {
                // A stream of the wrong length is not sent again: it never succeeds.
                let bytes = match body {
                    PutBody::Bytes(bytes) => bytes,
                    PutBody::Stream { total_bytes, bytes } => {
                        let bytes = collect(bytes).await?;
                        if bytes.len() as u64 != total_bytes {
                            let wrong = futures::stream::iter([Ok(bytes)]);
                            let bytes = Box::pin(wrong);
                            let body = PutBody::Stream { total_bytes, bytes };
                            return self.inner.put(path, precondition, body).await;
                        }
                        bytes
                    }
                };
                let first = PutBody::Bytes(bytes.clone());
                self.inner.put(path, precondition.clone(), first).await?;
                self.inner
                    .put(path, precondition, PutBody::Bytes(bytes))
                    .await
            }
            Some(Fault::FalseTimeout) => {
                self.inner.put(path, precondition, body).await?;
                Err(timed_out())
            }
            _ => self.inner.put(path, precondition, body).await,
        }
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        change!(self.faults, self.inner.delete(paths))
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        super::bytes::list(self.inner.list(prefix), &self.faults)
    }
}
