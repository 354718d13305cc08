//! Brings commits by static deltas where that is less to transfer.
//!
//! A delta is looked for once its commit has been admitted. What it does not bring, the replication
//! fetches object by object, as if there were no deltas; so whatever is wrong with one costs time
//! and nothing else. Only an interruption is passed on: the next try takes the delta up again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{DeltaUse, PullOptions, PullSource};
use crate::error::{Error, ErrorKind, Result};
use crate::format::delta::{DeltaName, Superblock};
use crate::format::{Checksum, Commit, ObjectName, read_sizes};
use crate::ops::delta::{
    DeltaReport, Demands, Listed, OpenDelta, execute, missing, open_superblock,
};
use crate::ops::replicate::{Prefill, Scope};
use crate::repo::Repo;
use crate::store::{Batch, SignedSummary};

/// What an object costs besides its bytes when it is fetched alone.
const REQUEST_BYTES: u64 = 300;

/// Looks for deltas, and brings what is worth it.
#[derive(Debug)]
pub(super) struct DeltaPull {
    source: PullSource,
    options: PullOptions,
    /// What the refs that are pulled held before, by the commits that they are to hold.
    before: HashMap<Checksum, Option<Checksum>>,
    listed: Listed,
    report: Mutex<DeltaReport>,
}

/// A delta that might be used, and what its superblock must hash to if that is known.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    name: DeltaName,
    checksum: Option<Checksum>,
}

/// What using a delta would move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeltaPlan {
    /// How many parts.
    pub parts: u64,
    /// Bytes of their files, as announced.
    pub part_bytes: u64,
    /// Bytes of the objects that they make, as announced.
    pub unpacked_bytes: u64,
    /// Objects that are fetched one by one.
    pub fallbacks: u64,
    /// Their bytes, as announced.
    pub fallback_bytes: u64,
}

impl DeltaPull {
    /// Returns who brings deltas; `None` where none are to be used.
    pub(super) fn new(
        source: &PullSource,
        options: &PullOptions,
        before: HashMap<Checksum, Option<Checksum>>,
        summary: Option<&SignedSummary>,
    ) -> Result<Option<Arc<Self>>> {
        let wanted = match options.deltas {
            DeltaUse::Never => false,
            DeltaUse::Required => true,
            // A subpath is a part of what a delta brings, and of files at hand links are made.
            DeltaUse::WhenSmaller => {
                options.replicate.scope == Scope::Everything && source.objects.local().is_none()
            }
        };
        if !wanted || options.replicate.scope == Scope::CommitMetadataOnly {
            return Ok(None);
        }
        let listed = match summary {
            Some(summary) => Listed::of(summary)?,
            None => Listed::default(),
        };
        Ok(Some(Arc::new(Self {
            source: source.clone(),
            options: options.clone(),
            before,
            listed,
            report: Mutex::default(),
        })))
    }

    pub(super) fn report(&self) -> DeltaReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what using deltas for the commits that are pulled would move.
    pub(super) async fn plan(&self, repo: &Repo) -> Result<Vec<(DeltaName, DeltaPlan)>> {
        let mut plans = Vec::new();
        for (commit, before) in &self.before {
            let name = ObjectName::commit(*commit);
            let there = repo.objects().stat(&[name]).await?;
            if before == &Some(*commit) || there.first().is_some_and(Option::is_some) {
                continue;
            }
            let Some((delta, _)) = self.find(commit, repo).await? else {
                self.none_found(commit)?;
                continue;
            };
            let superblock = &delta.superblock;
            let parts = superblock.parts.iter();
            let unpacked = parts.map(|part| part.unpacked_bytes);
            let fallbacks = superblock.fallbacks.iter().map(|f| f.stored_bytes);
            plans.push((
                superblock.name,
                DeltaPlan {
                    parts: superblock.parts.len() as u64,
                    part_bytes: superblock.stored_bytes(),
                    unpacked_bytes: unpacked.fold(0, u64::saturating_add),
                    fallbacks: superblock.fallbacks.len() as u64,
                    fallback_bytes: fallbacks.fold(0, u64::saturating_add),
                },
            ));
        }
        Ok(plans)
    }

    fn none_found(&self, commit: &Checksum) -> Result<()> {
        if self.options.deltas != DeltaUse::Required {
            return Ok(());
        }
        let from = self.before.get(commit).copied().flatten();
        let from = from.map_or("empty".to_owned(), |from| from.to_string());
        let problem = format!("Static deltas required, but none found for {from} to {commit}");
        Err(Error::missing(problem))
    }

    /// Finds the best delta to `commit`; also says how many bytes were transferred for that.
    async fn find(&self, commit: &Checksum, repo: &Repo) -> Result<Option<(OpenDelta, u64)>> {
        for candidate in self.candidates(commit, repo).await? {
            if let Some(found) = self.open(&candidate, repo).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn candidates(&self, commit: &Checksum, repo: &Repo) -> Result<Vec<Candidate>> {
        let before = self.before.get(commit).copied().flatten();
        let retry = &self.options.replicate.retry;
        let known = self.listed.making(commit, &*self.source.repo, retry);
        let known = known.await?;
        if known.is_empty() && !self.listed.complete && !self.options.verify.summary.is_required() {
            // Nobody says what there is: ask for what would be of use.
            let name = DeltaName::new(before, *commit);
            let checksum = None;
            return Ok(vec![Candidate { name, checksum }]);
        }
        let mut usable = Vec::new();
        for (name, checksum) in known {
            let checksum = Some(checksum);
            let Some(from) = name.from else {
                usable.push((0, 0, Candidate { name, checksum }));
                continue;
            };
            if is_whole(repo, &from).await? {
                let time = repo.load_commit(&from).await?.timestamp;
                let rank = if Some(from) == before { 2 } else { 1 };
                usable.push((rank, time, Candidate { name, checksum }));
            }
        }
        usable.sort_by_key(|(rank, time, _)| std::cmp::Reverse((*rank, *time)));
        Ok(usable.into_iter().map(|(_, _, c)| c).collect())
    }

    /// Fetches the superblock of a delta, and says how long its file is; `None` when there is none.
    async fn open(&self, candidate: &Candidate, repo: &Repo) -> Result<Option<(OpenDelta, u64)>> {
        let demands = Demands {
            name: candidate.name,
            checksum: candidate.checksum,
            policy: &self.options.verify,
            budget: &self.options.delta_budget,
            retry: &self.options.replicate.retry,
        };
        let opened = open_superblock(&*self.source.repo, demands, repo.pool()).await?;
        Ok(opened.map(|opened| (opened.delta, opened.file.total_bytes())))
    }

    async fn bring(&self, commit: &Checksum, repo: &Repo, batch: &dyn Batch) -> Result<()> {
        let Some((delta, superblock_bytes)) = self.find(commit, repo).await? else {
            return self.none_found(commit);
        };
        if let Some(from) = &delta.superblock.name.from
            && !is_whole(repo, from).await?
        {
            return self.none_found(commit);
        }
        let superblock = Arc::clone(&delta.superblock);
        let chosen = self.choose(&superblock, batch).await?;
        let parts = superblock.parts.iter().enumerate();
        let parts: Vec<_> = parts
            .filter(|(number, _)| chosen.contains(number))
            .collect();
        let source = super::delta_parts::Parts::new(&self.source, &self.options, repo, delta);
        let done = execute(repo, batch, &parts, &source, &self.options.delta_budget).await;
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.part_bytes += superblock_bytes;
        let done = done?;
        report.parts += done.parts;
        report.parts_present += done.parts_present;
        report.part_bytes += done.part_bytes.saturating_sub(source.inline_bytes());
        report.objects += done.objects;
        Ok(())
    }

    /// Returns which parts are less to transfer than those of their objects that are missing.
    async fn choose(&self, superblock: &Superblock, batch: &dyn Batch) -> Result<HashSet<usize>> {
        let commit = Commit::parse(&superblock.commit)?;
        let sizes = read_sizes(&commit.metadata)?.unwrap_or_default();
        let sizes: HashMap<_, _> = sizes
            .iter()
            .map(|s| (s.checksum, s.archived_bytes))
            .collect();
        let mut chosen = HashSet::new();
        for (number, part) in superblock.parts.iter().enumerate() {
            let missing = missing(batch, &part.objects).await?;
            let count = missing.iter().filter(|missing| **missing).count() as u64;
            if count == 0 {
                continue;
            }
            // Where nobody says how long the objects are in an archive: about half of what they are,
            // and no less than here, where they compress together.
            let all = part.stored_bytes.max(part.unpacked_bytes / 2);
            let average = all.div_ceil((part.objects.len() as u64).max(1));
            let wanted = part.objects.iter().zip(&missing);
            let wanted = wanted.filter(|(_, missing)| **missing);
            let sum = wanted.fold(0_u64, |sum, (name, _)| {
                let bytes = sizes.get(&name.checksum).copied().unwrap_or(average);
                sum.saturating_add(bytes).saturating_add(REQUEST_BYTES)
            });
            if self.options.deltas == DeltaUse::Required || part.stored_bytes <= sum {
                chosen.insert(number);
            }
        }
        Ok(chosen)
    }
}

#[async_trait]
impl Prefill for DeltaPull {
    async fn fill(&self, commit: &Checksum, repo: &Repo, batch: &dyn Batch) -> Result<()> {
        if !self.before.contains_key(commit) {
            return Ok(());
        }
        let brought = self.bring(commit, repo, batch).await;
        match brought {
            Err(error) if self.options.deltas == DeltaUse::Required => Err(error),
            // To be taken up again, from the byte where it stopped.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable { .. }) => Err(error),
            Err(error) if matches!(error.kind(), ErrorKind::NoSpace { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%commit, ?error, "no delta was of use: fetching objects");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Returns whether a commit is there with all that it consists of.
async fn is_whole(repo: &Repo, commit: &Checksum) -> Result<bool> {
    let there = repo.objects().stat(&[ObjectName::commit(*commit)]).await?;
    Ok(there.first().is_some_and(Option::is_some)
        && repo.state().read_partial(commit).await?.is_none())
}
