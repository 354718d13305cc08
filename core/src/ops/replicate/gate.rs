//! Who decides whether a commit may come in, before anything that it names is fetched.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::format::{Checksum, Commit};
use crate::repo::Repo;
use crate::store::Batch;

/// Admits commits: checks signatures, bindings, age.
#[async_trait]
pub trait CommitGate: Debug + Send + Sync {
    /// Returns an error to refuse `commit`, whose `bytes` hash to `checksum`.
    async fn admit(&self, checksum: &Checksum, commit: &Commit, bytes: &Bytes) -> Result<()>;
}

/// Does what must come before commits become visible.
#[async_trait]
pub trait BeforeCommit: Debug + Send + Sync {
    /// Does it; an error keeps them invisible.
    async fn before_commit(&self) -> Result<()>;
}

/// Brings objects of a commit by another way, such as a delta, before they are looked up.
#[async_trait]
pub trait Prefill: Debug + Send + Sync {
    /// Puts objects of a commit, which was admitted, into `batch`. What is not brought is fetched.
    async fn fill(&self, commit: &Checksum, destination: &Repo, batch: &dyn Batch) -> Result<()>;
}
