//! What else a repository holds, in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;

use super::{MemoryStore, lock};
use crate::error::Result;
use crate::format::Checksum;
use crate::format::delta::DeltaFile;
use crate::store::{ExtraName, ListedDeltaFile, Partial, RepoState, SignedSummary, Swap};
use crate::transport::{FetchedFile, PutBody};

/// Everything behind [`RepoState`].
#[derive(Default)]
pub(super) struct State {
    detached: BTreeMap<Checksum, Bytes>,
    partial: BTreeMap<Checksum, Partial>,
    tombstones: BTreeMap<Checksum, Bytes>,
    summary: Option<SignedSummary>,
    config: Bytes,
    extras: BTreeMap<ExtraName, Bytes>,
    deltas: BTreeMap<DeltaFile, Bytes>,
}

impl State {
    pub(super) fn new(config: Bytes) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    pub(super) fn partial_commits(&self) -> BTreeSet<Checksum> {
        self.partial.keys().copied().collect()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RepoState for MemoryStore {
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        Ok(lock(&self.place.state).detached.get(commit).cloned())
    }

    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        let mut state = lock(&self.place.state);
        let current = state.detached.get(commit);
        if current != expected {
            let current = current.cloned();
            return Ok(Swap::Conflict { current });
        }
        set(&mut state.detached, *commit, new);
        Ok(Swap::Done)
    }

    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>> {
        Ok(lock(&self.place.state).partial.get(commit).copied())
    }

    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        set(&mut lock(&self.place.state).partial, *commit, partial);
        Ok(())
    }

    async fn list_partial(&self) -> Result<Vec<Checksum>> {
        Ok(lock(&self.place.state).partial.keys().copied().collect())
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        Ok(lock(&self.place.state).tombstones.get(commit).cloned())
    }

    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()> {
        set(&mut lock(&self.place.state).tombstones, *commit, tombstone);
        Ok(())
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        Ok(lock(&self.place.state).summary.clone())
    }

    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        lock(&self.place.state).summary = summary;
        Ok(())
    }

    async fn read_config(&self) -> Result<Bytes> {
        Ok(lock(&self.place.state).config.clone())
    }

    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap> {
        let mut state = lock(&self.place.state);
        if state.config != *expected {
            let current = Some(state.config.clone());
            return Ok(Swap::Conflict { current });
        }
        state.config = new;
        Ok(Swap::Done)
    }

    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>> {
        Ok(lock(&self.place.state).extras.get(name).cloned())
    }

    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()> {
        set(&mut lock(&self.place.state).extras, name.clone(), bytes);
        Ok(())
    }

    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>> {
        let listed = |(file, bytes): (&DeltaFile, &Bytes)| ListedDeltaFile {
            file: *file,
            bytes: bytes.len() as u64,
        };
        Ok(lock(&self.place.state).deltas.iter().map(listed).collect())
    }

    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>> {
        let found = lock(&self.place.state).deltas.get(file).cloned();
        found
            .map(|bytes| FetchedFile::of_bytes(bytes, offset))
            .transpose()
    }

    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        let bytes = body.collect().await?;
        lock(&self.place.state).deltas.insert(*file, bytes);
        Ok(())
    }

    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()> {
        let mut state = lock(&self.place.state);
        for file in files {
            state.deltas.remove(file);
        }
        Ok(())
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
