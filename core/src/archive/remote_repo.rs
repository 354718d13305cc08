//! An archive seen as a repository that is pulled from.

use async_trait::async_trait;
use bytes::Bytes;

use super::ArchiveRemote;
use crate::error::Result;
use crate::format::delta::DeltaFile;
use crate::format::{Branch, Checksum, CollectionId};
use crate::repo::RemoteRepo;
use crate::store::{RefName, SignedSummary};
use crate::transport::{FetchOptions, FetchedFile};

#[async_trait]
impl RemoteRepo for ArchiveRemote {
    fn describe(&self) -> String {
        self.origin().to_owned()
    }

    async fn read_branch(
        &self,
        collection: Option<&CollectionId>,
        branch: &Branch,
    ) -> Result<Option<Checksum>> {
        let name = RefName::served(collection, branch);
        self.read_ref(&name).await
    }

    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        Self::read_detached(self, commit).await
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        Self::read_tombstone(self, commit).await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        // The signature first: a publisher has it cover the old and the new one for a while before
        // the new one comes, so that what is read after it fits.
        let signature = Self::read_summary_signature(self, None).await?.into_bytes();
        let summary = Self::read_summary(self, None).await?.into_bytes();
        Ok(summary.map(|summary| SignedSummary { summary, signature }))
    }

    async fn read_summary_signature(&self) -> Result<Option<Bytes>> {
        let signature = Self::read_summary_signature(self, None).await?;
        Ok(signature.into_bytes())
    }

    async fn read_summary_index(&self) -> Result<Option<SignedSummary>> {
        let read = Self::read_summary_index(self).await?;
        Ok(read.map(|(summary, signature)| SignedSummary { summary, signature }))
    }

    async fn read_sub_summary(&self, checksum: &Checksum) -> Result<Option<Bytes>> {
        Self::read_sub_summary(self, checksum).await
    }

    async fn read_config(&self) -> Result<Option<Bytes>> {
        Self::read_config(self).await
    }

    async fn open_delta_file(
        &self,
        file: &DeltaFile,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>> {
        Self::open_delta_file(self, file, options).await
    }
}
