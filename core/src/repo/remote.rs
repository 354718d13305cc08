//! What a pull asks of the other side besides objects.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use super::Repo;
use crate::error::Result;
use crate::format::{Branch, Checksum, CollectionId};
use crate::store::{RefName, SignedSummary};

/// A repository that is read from: another place, or another machine.
#[async_trait]
pub trait RemoteRepo: Debug + Send + Sync + 'static {
    /// Returns the address, without secrets, for messages.
    fn describe(&self) -> String;

    /// Returns the commit of a branch; of a mirrored collection's when one is named.
    async fn read_branch(
        &self,
        collection: Option<&CollectionId>,
        branch: &Branch,
    ) -> Result<Option<Checksum>>;

    /// Returns the detached metadata of a commit, the bytes of an `a{sv}`.
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>>;

    /// Returns the summary with its signature.
    async fn read_summary(&self) -> Result<Option<SignedSummary>>;

    /// Returns the configuration, the bytes of a key file.
    async fn read_config(&self) -> Result<Option<Bytes>>;
}

#[async_trait]
impl RemoteRepo for Repo {
    fn describe(&self) -> String {
        match self.objects().local() {
            Some(local) => local.directory().display().to_string(),
            None => format!("{:?}", self.objects()),
        }
    }

    async fn read_branch(
        &self,
        collection: Option<&CollectionId>,
        branch: &Branch,
    ) -> Result<Option<Checksum>> {
        let name = RefName::served(collection, branch);
        self.follow_ref(&name).await
    }

    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.state().read_detached(commit).await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        self.state().read_summary().await
    }

    async fn read_config(&self) -> Result<Option<Bytes>> {
        self.state().read_config().await.map(Some)
    }
}
