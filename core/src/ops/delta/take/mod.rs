//! Takes static deltas along when the commits that they make are copied.
//!
//! Each part is verified against the superblock as it goes, the superblock against the name of the
//! commit that it makes, and both keep the bytes that they have, signatures too. The parts of a delta
//! go before its superblock, with which it is there, and the index of its commit is written last. What
//! is at the destination already is not sent again: also not the parts that an interrupted copy left.

mod due;
mod offered;
mod send;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use self::due::Due;
use super::ApplyBudget;
use super::keep::reindex_where;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Checksum;
use crate::format::delta::{DeltaFile, DeltaName};
use crate::ops::pull::PullSource;
use crate::ops::replicate::ReplicateOptions;
use crate::repo::{Depth, Progress, RemoteRepo, Repo};
use crate::sign::VerifyPolicy;
use crate::store::{ObjectSource, SignedSummary};
use crate::transport::Retry;

/// Whether static deltas are taken along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TakeDeltas {
    /// They are not.
    #[default]
    No,
    /// Those are that make a commit which is copied; what they start from need not be.
    Yes,
}

/// Which deltas were taken along, or would be.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeltasTaken {
    /// Deltas of which something was sent.
    pub deltas: u64,
    /// Deltas that were there already.
    pub present: u64,
    /// Files that were sent.
    pub files: u64,
    /// Bytes of these files. Exact.
    pub bytes: u64,
    /// What is wrong at the source.
    pub left_out: Vec<LeftOut>,
}

/// A delta that was not taken along.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Which.
    pub name: DeltaName,
    /// Why: it is damaged, lacks something, or is not signed by who is trusted.
    pub error: Arc<Error>,
}

/// Takes deltas from one place to another.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    remote: &'a dyn RemoteRepo,
    objects: &'a dyn ObjectSource,
    destination: &'a Repo,
    /// The source's summary; `None` where it need not be signed and was not needed yet.
    summary: Option<&'a SignedSummary>,
    policy: &'a VerifyPolicy,
    budget: &'a ApplyBudget,
    retry: Retry,
    progress: Progress,
}

/// A delta of the source, and what its superblock must hash to if that is known.
type Offer = (DeltaName, Option<Checksum>);

impl<'a> Taking<'a> {
    /// Takes from `source`; what is verified, and with which budget, is said beside how objects are moved.
    pub(crate) fn new(
        source: &'a PullSource,
        destination: &'a Repo,
        summary: Option<&'a SignedSummary>,
        policy: &'a VerifyPolicy,
        budget: &'a ApplyBudget,
        moving: &ReplicateOptions,
    ) -> Self {
        Self {
            remote: &*source.repo,
            objects: &*source.objects,
            destination,
            summary,
            policy,
            budget,
            retry: moving.retry,
            progress: moving.progress.clone(),
        }
    }
}

impl Taking<'_> {
    /// Takes the deltas along that make `commits`, or their ancestors to `depth`.
    pub(crate) async fn take(&self, commits: &[Checksum], depth: Depth) -> Result<DeltasTaken> {
        let offered = self.offered(commits, depth).await?;
        let there = self.there(&offered).await?;
        let mut taken = DeltasTaken::default();
        for offer in &offered {
            match self.take_one(offer, &there, &mut taken).await {
                Err(error) if is_its_own_fault(&error) => taken.leave_out(offer, error),
                other => other?,
            }
        }
        if !offered.is_empty() {
            let made: HashSet<_> = offered.iter().map(|(name, _)| name.to).collect();
            reindex_where(self.destination, |to| made.contains(to)).await?;
        }
        Ok(taken)
    }

    /// Finds out what [`take`](Self::take) would do.
    pub(crate) async fn plan(&self, commits: &[Checksum], depth: Depth) -> Result<DeltasTaken> {
        let offered = self.offered(commits, depth).await?;
        let there = self.there(&offered).await?;
        let mut planned = DeltasTaken::default();
        for offer in &offered {
            match self.due(offer, &there).await {
                Err(error) if is_its_own_fault(&error) => planned.leave_out(offer, error),
                Err(error) => return Err(error),
                Ok(None) => {}
                Ok(Some(due)) => planned.count(&due),
            }
        }
        Ok(planned)
    }

    async fn take_one(
        &self,
        offer: &Offer,
        there: &HashMap<DeltaFile, u64>,
        taken: &mut DeltasTaken,
    ) -> Result<()> {
        let Some(due) = self.due(offer, there).await? else {
            return Ok(());
        };
        if !due.is_nothing() {
            self.send(offer, &due, there).await?;
        }
        taken.count(&due);
        Ok(())
    }
}

impl DeltasTaken {
    fn count(&mut self, due: &Due) {
        if due.is_nothing() {
            self.present += 1;
            return;
        }
        self.deltas += 1;
        self.files += due.parts.len() as u64 + u64::from(due.superblock_differs);
        self.bytes = self.bytes.saturating_add(due.bytes());
    }

    fn leave_out(&mut self, offer: &Offer, error: Error) {
        let name = offer.0;
        tracing::warn!(delta = %name, ?error, "is not taken along");
        let error = Arc::new(error);
        self.left_out.push(LeftOut { name, error });
    }
}

/// Returns whether the delta is what is wrong: then all others, and all objects, can be copied still.
fn is_its_own_fault(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Untrusted
    )
}

fn part_file(name: &DeltaName, number: usize) -> DeltaFile {
    DeltaFile::Part(*name, u32::try_from(number).unwrap_or(u32::MAX))
}
