//! Asks the sources: which there are, in which order, and what they have.

use std::sync::Arc;

use bytes::Bytes;

use super::engine::{Engine, Step};
use super::fetch::{ArrivedMetadata, Fetcher};
use super::lookup;
use super::planner::{Candidate, Planner, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, Commit, ObjectName};
use crate::spill::NameSet;
use crate::store::LocalObjects;

/// Whether a file is fetched for the first time, or came damaged before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

impl Engine<'_> {
    pub(super) fn is_local(&self) -> bool {
        self.fetchers
            .iter()
            .any(|fetcher| fetcher.source.local().is_some())
    }

    pub(super) fn remotes(&self) -> impl Iterator<Item = &Fetcher> {
        self.fetchers
            .iter()
            .filter(|fetcher| fetcher.source.local().is_none())
    }

    /// Returns how many requests may be under way.
    pub(super) fn width(&self) -> usize {
        self.remotes()
            .map(|fetcher| fetcher.pace.width())
            .max()
            .unwrap_or(1)
    }

    /// Finds out which candidates are new.
    pub(super) async fn sift(
        &self,
        seen: NameSet,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Candidate>> {
        let names = candidates.iter().map(Candidate::name).collect();
        let candidates = candidates.into_iter().zip(seen.insert(names).await?);
        let new = candidates.filter_map(|(candidate, new)| new.then_some(candidate));
        Ok(new.collect())
    }

    pub(super) async fn fetch_metadata(&self, want: Want) -> Result<Step> {
        let mut damaged = None;
        for fetcher in self.remotes() {
            let Some(ArrivedMetadata { bytes, share }) = fetcher.metadata(&want.name).await? else {
                continue;
            };
            match lookup::verify(self.destination.pool(), want.name, bytes).await {
                Ok(bytes) => {
                    self.admit(&want, &bytes).await?;
                    self.prefill(&want).await?;
                    let arrived = ArrivedMetadata { bytes, share };
                    return Ok(Step::FetchedMetadata(want, Some(arrived)));
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => damaged = Some(error),
                Err(error) => return Err(error),
            }
        }
        match damaged {
            // No other source had it whole.
            Some(error) => Err(error),
            None => Ok(Step::FetchedMetadata(want, None)),
        }
    }

    /// Asks the gate about a commit, before anything that it names is looked at.
    pub(super) async fn admit(&self, want: &Want, bytes: &Bytes) -> Result<()> {
        let (Some(gate), true) = (&self.options.gate, Planner::is_commit(want)) else {
            return Ok(());
        };
        let commit = Commit::parse(bytes).map_err(|e| Error::from(e).about(want.name))?;
        gate.admit(&want.name.checksum, &commit, bytes)
            .await
            .map_err(|e| e.about(want.name))
    }

    /// Lets objects of a commit that was admitted come by another way.
    pub(super) async fn prefill(&self, want: &Want) -> Result<()> {
        let (Some(prefill), true) = (&self.options.prefill, Planner::is_commit(want)) else {
            return Ok(());
        };
        let commit = &want.name.checksum;
        prefill.fill(commit, self.destination, self.batch).await
    }

    /// Fetches a file, whose content is `announced_bytes` long if its commit says so; one that came
    /// damaged is asked of the next source that has it.
    pub(super) async fn fetch_content(
        &self,
        checksum: Checksum,
        attempt: Attempt,
        announced_bytes: Option<u64>,
    ) -> Result<Step> {
        let sources: Vec<_> = self.remotes().collect();
        let skipped = match attempt {
            Attempt::First => 0,
            Attempt::Again => 1.min(sources.len().saturating_sub(1)),
        };
        let name = ObjectName::file(checksum);
        for fetcher in &sources[skipped..] {
            if let Some(arrival) = fetcher.content(&name, announced_bytes).await? {
                return Ok(Step::FetchedContent(checksum, Some(arrival)));
            }
        }
        Ok(Step::FetchedContent(checksum, None))
    }

    pub(super) async fn open_local(&self, mut rest: Vec<Checksum>) -> Result<Step> {
        let mut arrived = Vec::with_capacity(rest.len());
        for local in self
            .fetchers
            .iter()
            .filter_map(|fetcher| fetcher.source.local())
        {
            let wanted = std::mem::take(&mut rest);
            let opened = self
                .destination
                .pool()
                .run(move || lookup::open_files(&*local, wanted));
            let (found, absent) = opened.await?;
            arrived.extend(found);
            rest = absent;
        }
        Ok(Step::LocalContent { arrived, rest })
    }

    pub(super) fn missing(&self, name: ObjectName) -> Error {
        Error::missing(format!("is not at {}", self.describe())).about(name)
    }

    pub(super) fn describe(&self) -> String {
        let names = self
            .fetchers
            .iter()
            .map(|fetcher| match &fetcher.resumable {
                Some(resumable) => resumable.origin().to_owned(),
                None => match fetcher.source.local() {
                    Some(local) => local.directory().display().to_string(),
                    None => "the source".to_owned(),
                },
            });
        names.collect::<Vec<_>>().join(" or ")
    }

    /// Returns the views of the sources that are plain files on this machine.
    pub(super) fn locals(&self) -> Vec<Arc<dyn LocalObjects>> {
        self.fetchers
            .iter()
            .filter_map(|fetcher| fetcher.source.local())
            .collect()
    }
}
