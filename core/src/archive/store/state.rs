//! What an archive holds besides objects and refs.

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;

use super::{ArchiveStore, Place, check_config};
use crate::archive::layout::{self, CONFIG_PATH, STATE_PREFIX, fixed_path};
use crate::archive::read;
use crate::archive::remote::CONFIG_BYTES_MAX;
use crate::error::{Error, Result};
use crate::format::Checksum;
use crate::format::delta::DeltaFile;
use crate::store::{ExtraName, ListedDeltaFile, Partial, RepoState, SignedSummary, Swap};
use crate::transport::{FetchedFile, PutAnswer, PutBody, RemotePath, retrying};

impl Place {
    /// Writes, or deletes, a small file.
    pub(super) async fn set(&self, path: &RemotePath, bytes: Option<Bytes>) -> Result<()> {
        match bytes {
            Some(bytes) => self.write(path, bytes).await,
            None => self.delete(std::slice::from_ref(path)).await,
        }
    }

    async fn bytes(&self, path: &RemotePath) -> Result<Option<Bytes>> {
        Ok(self.read_metadata(path).await?.map(|version| version.bytes))
    }

    /// Compares and swaps a small file. Deleting one is looking and then deleting.
    async fn swap(
        &self,
        path: &RemotePath,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        let version = self.read_metadata(path).await?;
        let current = version.as_ref().map(|version| &version.bytes);
        if current != expected {
            let current = current.cloned();
            return Ok(Swap::Conflict { current });
        }
        let new = match new {
            Some(new) => new,
            None if current.is_none() => return Ok(Swap::Done),
            None => {
                self.set(path, None).await?;
                return Ok(Swap::Done);
            }
        };
        let unchanged = self.unchanged(path, version.as_ref())?;
        match self.write_if(path, unchanged, new).await? {
            PutAnswer::Done { .. } => Ok(Swap::Done),
            PutAnswer::Conflict => {
                let current = self.bytes(path).await?;
                Ok(Swap::Conflict { current })
            }
        }
    }
}

fn extra_path(name: &ExtraName) -> RemotePath {
    RemotePath::of_checked_parts(name.file_name())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RepoState for ArchiveStore {
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.place.bytes(&layout::detached_path(commit)).await
    }

    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        let path = layout::detached_path(commit);
        self.place.swap(&path, expected, new).await
    }

    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>> {
        let mark = self.place.bytes(&layout::partial_path(commit)).await?;
        Ok(mark.map(|mark| match &mark[..] {
            b"f" => Partial::Damaged,
            _ => Partial::Fetching,
        }))
    }

    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        let mark = partial.map(|partial| match partial {
            Partial::Fetching => Bytes::new(),
            Partial::Damaged => Bytes::from_static(b"f"),
        });
        self.place.set(&layout::partial_path(commit), mark).await
    }

    async fn list_partial(&self) -> Result<Vec<Checksum>> {
        let once = async || {
            let files = self.place.transport.list(STATE_PREFIX);
            let marked = files
                .try_filter_map(|file| async move { Ok(layout::parse_partial_path(&file.path)) });
            marked.try_collect::<Vec<_>>().await
        };
        let mut marked = retrying(&self.place.options.retry, || Box::pin(once())).await?;
        marked.sort_unstable();
        Ok(marked)
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.place.bytes(&layout::tombstone_path(commit)).await
    }

    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()> {
        let path = layout::tombstone_path(commit);
        self.place.set(&path, tombstone).await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        self.place.read_summary().await
    }

    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        self.place.write_summary(summary).await
    }

    async fn read_config(&self) -> Result<Bytes> {
        let path = fixed_path(CONFIG_PATH);
        let config = self.place.read(&path, CONFIG_BYTES_MAX).await?;
        let gone = || {
            let url = read::url(&*self.place.transport, &path);
            Error::missing("its config is gone").about(url)
        };
        Ok(config.ok_or_else(gone)?.bytes)
    }

    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap> {
        // What could not be opened any more must not be written.
        check_config(&new)?;
        let path = fixed_path(CONFIG_PATH);
        self.place.swap(&path, Some(expected), Some(new)).await
    }

    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>> {
        self.place.bytes(&extra_path(name)).await
    }

    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()> {
        self.place.set(&extra_path(name), bytes).await
    }

    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>> {
        self.list_deltas().await
    }

    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>> {
        self.open_delta(file, offset).await
    }

    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        self.write_delta(file, body).await
    }

    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()> {
        self.delete_deltas(files).await
    }
}
