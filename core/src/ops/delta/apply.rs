//! Applies a delta that is at hand.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::execute::{DeltaReport, execute, missing};
use super::{ApplyBudget, OpenDelta};
use crate::error::{Error, Result};
use crate::format::{Checksum, ObjectName};
use crate::ops::replicate::{Prefill, ReplicateOptions, ReplicateReport, replicate};
use crate::repo::Repo;
use crate::store::{
    Batch, Body, Encoding, LocalObjects, ObjectSource, Payload, ResumableSource, Stat, Swap,
};

/// How to apply a delta.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// What it may use.
    pub budget: ApplyBudget,
    /// The gate that its commit must pass, limits on objects, and who listens.
    pub replicate: ReplicateOptions,
}

/// What applying a delta did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ApplyReport {
    /// The commit that is there now, whole.
    pub commit: Option<Checksum>,
    /// What was done with parts.
    pub delta: DeltaReport,
    /// What was written.
    pub replicated: ReplicateReport,
}

/// Applies `delta` to `repo`. Moves no ref.
///
/// # Errors
///
/// [`Missing`](crate::ErrorKind::Missing) when the commit that it starts from is not there, or an
/// object that is neither in the delta nor in the repository; [`Corrupt`](crate::ErrorKind::Corrupt)
/// when it is not what it says. Nothing becomes visible then.
pub async fn apply(repo: &Repo, delta: &OpenDelta, options: &ApplyOptions) -> Result<ApplyReport> {
    let superblock = &delta.superblock;
    let name = superblock.name;
    if Checksum::of(&superblock.commit) != name.to {
        let found = Checksum::of(&superblock.commit);
        return Err(Error::wrong_checksum(ObjectName::commit(name.to), found));
    }
    check_source(repo, name.from.as_ref()).await?;
    let whole = Whole {
        delta: delta.clone(),
        budget: options.budget.clone(),
        report: Mutex::default(),
    };
    let whole = Arc::new(whole);
    let mut moving = options.replicate.clone();
    moving.prefill = Some(whole.clone());
    let source: Arc<dyn ObjectSource> = Arc::new(CommitOnly {
        name: ObjectName::commit(name.to),
        bytes: Bytes::copy_from_slice(&superblock.commit),
    });
    let replicated = replicate(&[source], repo, &[name.to], &moving).await?;
    keep_detached(repo, delta).await?;
    let delta = *whole.report.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(ApplyReport {
        commit: Some(name.to),
        delta,
        replicated,
    })
}

/// Checks that the commit which a delta starts from is there, and whole.
pub(super) async fn check_source(repo: &Repo, from: Option<&Checksum>) -> Result<()> {
    let Some(from) = from else { return Ok(()) };
    let name = ObjectName::commit(*from);
    let found = repo.objects().stat(&[name]).await?;
    if found.first().is_none_or(Option::is_none) {
        let problem = format!("Commit {from}, which is the delta source, is not in repository");
        return Err(Error::missing(problem));
    }
    if repo.state().read_partial(from).await?.is_some() {
        let problem = format!("Commit {from}, which is the delta source, is there in part only");
        return Err(Error::missing(problem));
    }
    Ok(())
}

async fn keep_detached(repo: &Repo, delta: &OpenDelta) -> Result<()> {
    let Some(detached) = delta.superblock.detached() else {
        return Ok(());
    };
    let (commit, new) = (delta.superblock.name.to, Bytes::from(detached.encode()));
    let mut held = repo.state().read_detached(&commit).await?;
    while held.as_ref() != Some(&new) {
        let swap = repo
            .state()
            .swap_detached(&commit, held.as_ref(), Some(new.clone()));
        match swap.await? {
            Swap::Done => break,
            Swap::Conflict { current } => held = current,
        }
    }
    Ok(())
}

/// Fills a batch with all that a delta makes.
#[derive(Debug)]
struct Whole {
    delta: OpenDelta,
    budget: ApplyBudget,
    report: Mutex<DeltaReport>,
}

#[async_trait]
impl Prefill for Whole {
    async fn fill(&self, commit: &Checksum, repo: &Repo, batch: &dyn Batch) -> Result<()> {
        let superblock = &self.delta.superblock;
        if *commit != superblock.name.to {
            return Ok(());
        }
        let fallbacks: Vec<_> = superblock.fallbacks.iter().map(|f| f.name).collect();
        if missing(batch, &fallbacks).await?.contains(&true) {
            let problem = "Cannot execute delta offline: contains nonempty http fallback entries";
            return Err(Error::missing(problem));
        }
        let parts: Vec<_> = superblock.parts.iter().enumerate().collect();
        let report = execute(repo, batch, &parts, &self.delta, &self.budget).await?;
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
        Ok(())
    }
}

/// A source that has one commit object and nothing else: a superblock.
#[derive(Debug)]
struct CommitOnly {
    name: ObjectName,
    bytes: Bytes,
}

#[async_trait]
impl ObjectSource for CommitOnly {
    fn encoding(&self) -> Encoding {
        Encoding::Canonical
    }

    async fn stat(&self, _: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        Err(Error::unsupported("a delta is not asked what it has"))
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let body = || Body::Metadata(Payload::Bytes(self.bytes.clone()));
        Ok((*name == self.name).then(body))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}
