//! Moves commits, and all that they consist of, from one place to another.
//!
//! One loop around a planner that does no I/O. What is wanted is looked up in the destination in
//! batches; what is missing is fetched, metadata first, many requests at once; what arrives is
//! verified by being stored, in groups; and what the metadata says becomes wanted in turn. When
//! nothing is wanted any more the batch is committed: durable, and visible children first. Refs are
//! the caller's, and come after.

mod budget;
mod ceiling;
mod engine;
mod fetch;
mod gate;
mod lookup;
mod options;
mod pace;
mod plan;
mod planner;
mod sources;

pub use crate::repo::Depth;
pub use crate::transport::Retry;
pub use gate::{BeforeCommit, CommitGate, Prefill};
pub use options::{FilePolicy, Limits, LocalTrust, RemoteTrust, ReplicateOptions, Scope};
pub use plan::{EstimatedFrom, ExactFrom, PlannedBytes, ReplicatePlan, SizeEffort, plan};

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::format::{Checksum, ObjectName};
use crate::repo::{Phase, Repo};
use crate::spill::NameSet;
use crate::store::{BatchOptions, BatchStats, Leftovers, ObjectSource, Partial};

/// What a replication moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicateReport {
    /// Metadata objects that were fetched.
    pub metadata_fetched: u64,
    /// Those of them that came from sources on this machine.
    pub metadata_local: u64,
    /// Files that were fetched.
    pub content_fetched: u64,
    /// Those of them that came from sources on this machine.
    pub content_local: u64,
    /// Commits that came over a transport.
    pub commits_transferred: u64,
    /// Bytes that came over the transport.
    pub transferred_bytes: u64,
    /// How long the objects are that were new: files as they lie in an archive, or by their content
    /// where the destination keeps that as it is.
    pub written_bytes: u64,
    /// What was written.
    pub written: BatchStats,
    /// The commits that were walked, the ones asked for and their history.
    pub commits: Vec<Checksum>,
}

/// Brings `commits` from `sources` into `destination`, durable when it returns.
///
/// The first source that has an object gives it; local caches come before the remote. What the
/// destination has is never read from a source.
///
/// # Errors
///
/// Fails without making anything visible; what was transferred is taken up by the next try.
pub async fn replicate(
    sources: &[Arc<dyn ObjectSource>],
    destination: &Repo,
    commits: &[Checksum],
    options: &ReplicateOptions,
) -> Result<ReplicateReport> {
    let batch_options = BatchOptions {
        durability: options.durability,
        leftovers: Leftovers::Adopt,
    };
    let batch = destination.objects().begin(batch_options).await?;
    let seen = NameSet::new(destination.spill().clone(), destination.pool().clone());
    let mut planner = planner::Planner::new(options.scope.clone(), options.limits, seen)?;
    for commit in commits {
        planner.want_commit(*commit, options.depth);
    }
    let fetchers = fetchers(sources, destination, options).await?;
    let engine = engine::Engine::new(&fetchers, destination, &*batch, options);
    let mut report = engine.run(planner).await?;

    options
        .progress
        .update(|snapshot| snapshot.phase = Phase::Committing);
    let partial = options.scope != Scope::Everything;
    if partial {
        mark_partial(destination, &report.commits).await?;
    }
    if let Some(last) = &options.before_commit {
        last.before_commit().await?;
    }
    report.written = batch.commit().await?;
    for commit in &report.commits {
        let state = destination.state();
        if !partial && state.read_partial(commit).await?.is_some() {
            state.write_partial(commit, None).await?;
        }
        // What was deleted on purpose is here again.
        if state.read_tombstone(commit).await?.is_some() {
            state.write_tombstone(commit, None).await?;
        }
    }
    options
        .progress
        .update(|snapshot| snapshot.phase = Phase::Done);
    Ok(report)
}

/// Marks commits before they become visible, so that no reader takes them for whole. One that is
/// there and whole stays so.
async fn mark_partial(destination: &Repo, commits: &[Checksum]) -> Result<()> {
    let names: Vec<_> = commits
        .iter()
        .map(|commit| ObjectName::commit(*commit))
        .collect();
    let present = destination.objects().stat(&names).await?;
    for (commit, present) in commits.iter().zip(present) {
        if present.is_none() {
            destination
                .state()
                .write_partial(commit, Some(Partial::Fetching))
                .await?;
        }
    }
    Ok(())
}

async fn fetchers(
    sources: &[Arc<dyn ObjectSource>],
    destination: &Repo,
    options: &ReplicateOptions,
) -> Result<Vec<fetch::Fetcher>> {
    let mut fetchers = Vec::with_capacity(sources.len());
    let budget = budget::Budget::default();
    for source in sources {
        let resumable = source.resumable();
        let scratch = destination.objects().scratch();
        let kept = match (&resumable, &scratch) {
            (Some(source), Some(scratch)) => scratch.kept(source.origin()).await?,
            _ => Vec::new(),
        };
        fetchers.push(fetch::Fetcher {
            source: Arc::clone(source),
            resumable,
            scratch,
            kept: Mutex::new(kept.into_iter().collect::<HashSet<_>>()),
            retry: options.retry,
            limits: options.limits,
            pace: pace::Pace::new(options.requests_max),
            progress: options.progress.clone(),
            pool: destination.pool().clone(),
            budget: budget.clone(),
        });
    }
    Ok(fetchers)
}
