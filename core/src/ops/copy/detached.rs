//! Detached metadata of the commits that are copied.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::CopyOptions;
use crate::error::{Error, Result};
use crate::format::gvariant::Dict;
use crate::format::{Checksum, Commit, ObjectName};
use crate::ops::pull::PullSource;
use crate::ops::replicate::{BeforeCommit, CommitGate, Retry};
use crate::repo::Repo;
use crate::sign::{Trust, VerifyPolicy, require};
use crate::store::Swap;
use crate::transport::retrying;

/// Fetches what belongs to each commit as it is met, and keeps it before the commits can be seen.
#[derive(Debug)]
pub(super) struct Detached {
    source: PullSource,
    destination: Repo,
    retry: Retry,
    verify: VerifyPolicy,
    fetched: Mutex<Vec<(Checksum, Bytes)>>,
}

impl Detached {
    pub(super) fn new(source: &PullSource, destination: &Repo, options: &CopyOptions) -> Self {
        Self {
            source: source.clone(),
            destination: destination.clone(),
            retry: options.replicate.retry,
            verify: options.verify.clone(),
            fetched: Mutex::default(),
        }
    }

    /// Verifies the signatures of a commit, where they are required.
    async fn verify(
        &self,
        checksum: &Checksum,
        bytes: &Bytes,
        detached: Option<Bytes>,
    ) -> Result<()> {
        let Trust::Signed(verifier) = &self.verify.commits else {
            return Ok(());
        };
        let (verifier, bytes, now) = (verifier.clone(), bytes.clone(), self.verify.now_secs);
        let pool = self.destination.pool();
        let verified =
            pool.run(move || require(&*verifier, &bytes, detached.as_deref(), now).map(drop));
        verified
            .await
            .map_err(|e| e.about(ObjectName::commit(*checksum)))
    }

    async fn keep(&self, commit: &Checksum, detached: Bytes) -> Result<()> {
        let state = self.destination.state();
        let mut held = state.read_detached(commit).await?;
        while held.as_ref() != Some(&detached) {
            let new = Some(detached.clone());
            match state.swap_detached(commit, held.as_ref(), new).await? {
                Swap::Done => break,
                Swap::Conflict { current } => held = current,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl CommitGate for Detached {
    async fn admit(&self, checksum: &Checksum, _: &Commit, bytes: &Bytes) -> Result<()> {
        let read = || -> BoxFuture<'_, _> { self.source.repo.read_detached(checksum) };
        let detached = retrying(&self.retry, read).await?;
        self.verify(checksum, bytes, detached.clone()).await?;
        let Some(detached) = detached else {
            return Ok(());
        };
        Dict::decode(&detached).map_err(|e| {
            Error::corrupt("its detached metadata is not well formed")
                .because(e)
                .about(ObjectName::commit(*checksum))
        })?;
        if let Ok(mut fetched) = self.fetched.lock() {
            fetched.push((*checksum, detached));
        }
        Ok(())
    }
}

#[async_trait]
impl BeforeCommit for Detached {
    async fn before_commit(&self) -> Result<()> {
        let fetched = self.fetched.lock().map(|mut all| std::mem::take(&mut *all));
        for (commit, detached) in fetched.unwrap_or_default() {
            self.keep(&commit, detached).await?;
        }
        Ok(())
    }
}
