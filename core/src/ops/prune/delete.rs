//! The deleting itself, in an order that may be interrupted anywhere.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{Garbage, OBJECTS_A_STEP, ORDER, PruneOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, ObjectName, Tombstone};
use crate::repo::{ReachScope, Repo};
use crate::store::{LockGuard, Partial, Swap};

/// Marks written at once: each waits for the disk.
const MARKS_AT_ONCE: usize = 16;

/// How often detached metadata is removed against other writers.
const SWAPS_MAX: usize = 16;

pub(super) async fn delete(
    repo: &Repo,
    lock: &LockGuard,
    options: &PruneOptions,
    garbage: &Garbage,
) -> Result<()> {
    let in_prune = garbage.commits.iter().copied();
    let commits: Vec<Checksum> = garbage.asked_for.into_iter().chain(in_prune).collect();
    if garbage.asked_for.is_some() {
        enable_tombstones(repo).await?;
    }
    let marked: HashSet<_> = repo.state().list_partial().await?.into_iter().collect();
    // A prune of commits only leaves their trees whole.
    if options.scope == ReachScope::Everything {
        let mut whole = commits.clone();
        whole.retain(|commit| !marked.contains(commit));
        mark(repo, whole, Some(Partial::Fetching)).await?;
    }
    bury(repo, &commits).await?;
    let names: Vec<_> = commits.iter().copied().map(ObjectName::commit).collect();
    for step in names.chunks(OBJECTS_A_STEP) {
        repo.objects().delete(lock, step).await?;
    }
    for (place, object_type) in (0..).zip(ORDER) {
        let mut after = None;
        loop {
            let page = garbage.objects.page(place, after, OBJECTS_A_STEP).await?;
            after = page.last().copied();
            if page.is_empty() {
                break;
            }
            let name = |checksum| ObjectName::new(object_type, checksum);
            let names: Vec<_> = page.into_iter().map(name).collect();
            repo.objects().delete(lock, &names).await?;
        }
    }
    let mut gone = commits;
    gone.retain(|commit| options.scope == ReachScope::Everything || marked.contains(commit));
    gone.extend(without_commit(repo, marked).await?);
    mark(repo, gone, None).await
}

/// Returns the commits among `marked` that are not there: a prune that was interrupted leaves their
/// marks, and whoever brings such a commit whole would have it called partial. Nobody is about to
/// bring one: that takes the lock which is held here.
async fn without_commit(repo: &Repo, marked: HashSet<Checksum>) -> Result<Vec<Checksum>> {
    let marked: Vec<_> = marked.into_iter().collect();
    let names: Vec<_> = marked.iter().copied().map(ObjectName::commit).collect();
    let found = repo.objects().stat(&names).await?;
    let absent = marked
        .into_iter()
        .zip(found)
        .filter(|(_, stat)| stat.is_none());
    Ok(absent.map(|(commit, _)| commit).collect())
}

async fn mark(repo: &Repo, commits: Vec<Checksum>, partial: Option<Partial>) -> Result<()> {
    let write =
        |commit: Checksum| async move { repo.state().write_partial(&commit, partial).await };
    let writes = stream::iter(commits.into_iter().map(write));
    writes.buffer_unordered(MARKS_AT_ONCE).try_collect().await
}

/// Writes tombstones, where the repository is set to, and removes detached metadata: before the
/// commits themselves, since afterwards nobody would know that these are to go.
async fn bury(repo: &Repo, commits: &[Checksum]) -> Result<()> {
    let config = repo.config().await?;
    let tombstones = config.boolean("core", "tombstone-commits");
    let tombstones = tombstones.map_err(|e| crate::repo::bad("core.tombstone-commits", e))?;
    for commit in commits {
        if tombstones == Some(true) {
            let tombstone = Tombstone::new(*commit).to_bytes();
            repo.state()
                .write_tombstone(commit, Some(tombstone.into()))
                .await?;
        }
        remove_detached(repo, commit).await?;
    }
    Ok(())
}

async fn remove_detached(repo: &Repo, commit: &Checksum) -> Result<()> {
    for _ in 0..SWAPS_MAX {
        let Some(current) = repo.state().read_detached(commit).await? else {
            return Ok(());
        };
        if repo
            .state()
            .swap_detached(commit, Some(&current), None)
            .await?
            == Swap::Done
        {
            return Ok(());
        }
    }
    let problem = "its detached metadata is being changed by others: try again";
    Err(Error::new(ErrorKind::Locked, problem).about(ObjectName::commit(*commit)))
}

/// Sets the repository up to leave tombstones, unless it is already.
pub(in crate::ops) async fn enable_tombstones(repo: &Repo) -> Result<()> {
    let change = |config: &mut crate::format::keyfile::KeyFile| {
        if config.boolean("core", "tombstone-commits").ok().flatten() != Some(true) {
            config.set_boolean("core", "tombstone-commits", true)?;
        }
        Ok(())
    };
    repo.change_config(change).await
}
