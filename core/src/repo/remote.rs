//! What a pull asks of the other side besides objects.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use super::Repo;
use crate::error::{Error, Result};
use crate::format::delta::DeltaFile;
use crate::format::{Branch, Checksum, CollectionId};
use crate::store::{ListedDeltaFile, RefName, SignedSummary};
use crate::transport::{FetchOptions, FetchedFile};

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

    /// Returns what records that a commit was deleted on purpose, the bytes of an `a{sv}`.
    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let _ = commit;
        Ok(None)
    }

    /// Returns the summary with its signature.
    async fn read_summary(&self) -> Result<Option<SignedSummary>>;

    /// Returns the signature of the summary alone, the bytes of an `a{sv}`.
    async fn read_summary_signature(&self) -> Result<Option<Bytes>>;

    /// Returns flatpak's index of summaries with its signature, in the place of the summary.
    async fn read_summary_index(&self) -> Result<Option<SignedSummary>> {
        Ok(None)
    }

    /// Returns the sub-summary that an index names so, packed by gzip. It is not verified.
    async fn read_sub_summary(&self, checksum: &Checksum) -> Result<Option<Bytes>> {
        let _ = checksum;
        Ok(None)
    }

    /// Returns the configuration, the bytes of a key file.
    async fn read_config(&self) -> Result<Option<Bytes>>;

    /// Lists the files of all deltas; `None`: they cannot be listed there.
    async fn list_delta_files(&self) -> Result<Option<Vec<ListedDeltaFile>>> {
        Ok(None)
    }

    /// Opens a file of a delta, or the rest of one. `None` when it is not there.
    ///
    /// What is read is not verified.
    async fn open_delta_file(
        &self,
        file: &DeltaFile,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>>;
}

#[async_trait]
impl RemoteRepo for Repo {
    fn describe(&self) -> String {
        match (&self.address, self.objects().local()) {
            (Some(address), _) => address.to_string(),
            (None, Some(local)) => local.directory().display().to_string(),
            (None, None) => format!("{:?}", self.objects()),
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

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.state().read_tombstone(commit).await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        self.state().read_summary().await
    }

    async fn read_summary_signature(&self) -> Result<Option<Bytes>> {
        let summary = self.state().read_summary().await?;
        Ok(summary.and_then(|signed| signed.signature))
    }

    async fn read_config(&self) -> Result<Option<Bytes>> {
        self.state().read_config().await.map(Some)
    }

    async fn list_delta_files(&self) -> Result<Option<Vec<ListedDeltaFile>>> {
        self.state().list_delta_files().await.map(Some)
    }

    async fn open_delta_file(
        &self,
        file: &DeltaFile,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>> {
        let offset = options.resume.map_or(0, |resume| resume.offset);
        let Some(opened) = self.state().open_delta_file(file, offset).await? else {
            return Ok(None);
        };
        let limit = options.bytes_max.unwrap_or(u64::MAX);
        match opened.total_bytes {
            Some(bytes) if bytes > limit => {
                let problem = format!("is {bytes} bytes long, over the limit of {limit} bytes");
                Err(Error::corrupt(problem).about(std::path::PathBuf::from(file.path())))
            }
            _ => Ok(Some(opened)),
        }
    }
}
