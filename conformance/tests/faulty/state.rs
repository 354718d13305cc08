//! Wrong state.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use treeferry_core::Result;
use treeferry_core::format::Checksum;
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::store::{
    ExtraName, ListedDeltaFile, MemoryStore, Partial, RepoState, SignedSummary, Swap,
};
use treeferry_core::transport::{FetchedFile, PutBody};

use super::{Fault, Faulty};

impl Faulty {
    fn marks(&self) -> &MemoryStore {
        match self.fault {
            Fault::PartialMarksPerHandle => &self.own,
            _ => &self.inner,
        }
    }

    fn extra(&self, name: &ExtraName) -> ExtraName {
        match (self.fault, name) {
            (Fault::ConfusesExtras, ExtraName::Cookies(remote)) => {
                ExtraName::Keyring(remote.clone())
            }
            _ => name.clone(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RepoState for Faulty {
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let found = self.inner.read_detached(commit).await?;
        Ok(match self.fault {
            Fault::EmptyMetadataIsAbsent => found.filter(|bytes| !bytes.is_empty()),
            _ => found,
        })
    }

    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        let current = self.inner.read_detached(commit).await?;
        let expected = match self.fault {
            Fault::IgnoresTheExpectedMetadata => current.as_ref(),
            _ => expected,
        };
        self.inner.swap_detached(commit, expected, new).await
    }

    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>> {
        self.marks().read_partial(commit).await
    }

    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        let partial = match self.fault {
            Fault::ForgetsWhyPartial => partial.map(|_| Partial::Fetching),
            _ => partial,
        };
        self.marks().write_partial(commit, partial).await
    }

    async fn list_partial(&self) -> Result<Vec<Checksum>> {
        self.marks().list_partial().await
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.inner.read_tombstone(commit).await
    }

    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()> {
        if self.fault == Fault::KeepsTombstones && tombstone.is_none() {
            return Ok(());
        }
        self.inner.write_tombstone(commit, tombstone).await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        self.inner.read_summary().await
    }

    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        let before = self.inner.read_summary().await?;
        let before = before.and_then(|s| s.signature);
        let mut summary = summary;
        match (self.fault, &mut summary) {
            (Fault::KeepsTheOldSignature, Some(new)) => {
                new.signature = new.signature.take().or(before);
            }
            (Fault::TearsTheSummary, Some(new)) => {
                let summary = new.summary.clone();
                let signature = before;
                let torn = SignedSummary { summary, signature };
                self.inner.write_summary(Some(torn)).await?;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            _ => {}
        }
        self.inner.write_summary(summary).await
    }

    async fn read_config(&self) -> Result<Bytes> {
        self.inner.read_config().await
    }

    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap> {
        let current = self.inner.read_config().await?;
        let expected = match self.fault {
            Fault::IgnoresTheExpectedConfig => &current,
            _ => expected,
        };
        self.inner.swap_config(expected, new).await
    }

    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>> {
        self.inner.read_extra(&self.extra(name)).await
    }

    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()> {
        self.inner.write_extra(&self.extra(name), bytes).await
    }

    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>> {
        let mut listed = self.inner.list_delta_files().await?;
        if self.fault == Fault::ListsNoIndexes {
            listed.retain(|listed| listed.file.delta().is_some());
        }
        Ok(listed)
    }

    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>> {
        let offset = match self.fault {
            Fault::IgnoresTheOffset => 0,
            _ => offset,
        };
        self.inner.open_delta_file(file, offset).await
    }

    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        if self.fault == Fault::KeepsHalfADeltaFile {
            let mut kept = Vec::new();
            let mut stream = body.into_stream();
            while let Some(Ok(chunk)) = stream.next().await {
                kept.extend_from_slice(&chunk);
            }
            let body = PutBody::Bytes(kept.into());
            return self.inner.write_delta_file(file, body).await;
        }
        self.inner.write_delta_file(file, body).await
    }

    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()> {
        let files = match self.fault {
            Fault::DeletesOneDeltaFile => &files[..files.len().min(1)],
            _ => files,
        };
        self.inner.delete_delta_files(files).await
    }
}
