//! Deletes what no ref, or no commit, needs any more.
//!
//! All of it happens under the exclusive lock. What is kept is found first; if anything needed to
//! find it is missing or damaged, nothing is deleted. Then commits go before their dirtrees, and
//! those before dirmetas and files, and at the end deltas to commits that are gone. Commits that are
//! about to go are marked partial before, and durably: whenever this is interrupted, no commit is
//! left that looks whole and is not.

mod delete;
mod deltas;
mod roots;
mod waiting;

use std::collections::HashSet;
use std::time::Duration;

use futures::TryStreamExt;

use crate::error::{Error, Result};
use crate::format::delta::DeltaFile;
use crate::format::{Checksum, ObjectType};
use crate::repo::{Depth, Phase, Progress, ReachOptions, ReachScope, Reachable, Repo};
use crate::spill::{Name, NameSet, SortedNames};
use crate::store::{Listed, LockKind, RefName};

use self::waiting::Waiting;

pub(in crate::ops) use delete::enable_tombstones;

/// What to keep, and whether the rest is deleted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PruneOptions {
    /// From where objects are reachable.
    pub roots: PruneRoots,
    /// How many parents of each root are kept; all if `None`.
    pub depth: Option<Depth>,
    /// Whether trees are looked at too.
    pub scope: ReachScope,
    /// Whether anything is deleted.
    pub action: PruneAction,
    /// A commit to delete, which no ref may hold; it leaves a tombstone.
    pub delete_commit: Option<Checksum>,
    /// A commit to which all deltas are deleted, whether or not it stays itself.
    pub deltas_to: Option<Checksum>,
    /// Keeps of each ref its commit and the ones before it that are not older than this, seconds
    /// since 1970, instead of a depth. Implies [`PruneRoots::Refs`].
    pub keep_younger_than_secs: Option<u64>,
    /// Keeps so many parents of these refs, whatever else is said. Implies [`PruneRoots::Refs`].
    pub retain: Vec<(RefName, Depth)>,
    /// If any: keeps the whole history of all other refs. Implies [`PruneRoots::Refs`].
    pub only: Vec<RefName>,
    /// How long what is not needed any more is kept for those who read it now, where readers hold no
    /// lock; `None`: as long as the place is set to. Such objects go in the first prune that comes
    /// after. A commit that is to be deleted goes at once.
    pub grace: Option<Duration>,
    /// Who listens.
    pub progress: Progress,
}

/// From where objects are reachable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PruneRoots {
    /// From every commit that is there.
    #[default]
    AllCommits,
    /// From refs: the repository's own, those of remotes, and those of mirrored collections.
    Refs,
}

/// Whether anything is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PruneAction {
    /// What is not reachable is deleted.
    #[default]
    Delete,
    /// It is only counted.
    Count,
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneReport {
    /// Objects that were looked at.
    pub objects_total: u64,
    /// Objects among them that are not reachable, and were deleted unless only counted.
    pub objects_pruned: u64,
    /// How many bytes these took.
    pub freed_bytes: u64,
    /// Objects that are not reachable, and were left for those who read them now.
    pub objects_waiting: u64,
    /// How many bytes these take.
    pub waiting_bytes: u64,
    /// The commits among them.
    pub commits_pruned: Vec<Checksum>,
    /// Deltas to commits that are not there any more, or to the one that was named.
    pub deltas_pruned: u64,
}

/// The kinds of object in the order in which they are deleted: parents first.
const ORDER: [ObjectType; 4] = [
    ObjectType::Commit,
    ObjectType::DirTree,
    ObjectType::DirMeta,
    ObjectType::File,
];

/// Objects looked at, or deleted, in one step.
const OBJECTS_A_STEP: usize = 2048;

/// Deletes what is not reachable.
///
/// # Errors
///
/// Fails without deleting anything when an object of a commit that is kept cannot be read, when a ref
/// names a commit that is not there and is not marked partial, when
/// `delete_commit` is held by a ref or missing, or when a ref of `retain` or `only` does not exist.
pub async fn prune(repo: &Repo, options: &PruneOptions) -> Result<PruneReport> {
    let lock = match options.action {
        PruneAction::Delete => Some(repo.objects().lock(LockKind::Exclusive).await?),
        PruneAction::Count if options.delete_commit.is_some() => {
            return Err(Error::invalid(
                "a commit cannot be deleted by a prune that only counts",
            ));
        }
        PruneAction::Count => None,
    };
    let report_phase = |phase| options.progress.update(|snapshot| snapshot.phase = phase);
    report_phase(Phase::Scanning);
    if let Some(commit) = &options.delete_commit {
        roots::check_unreferenced(repo, commit).await?;
    }
    let absent: HashSet<_> = options.delete_commit.into_iter().collect();
    let reach_options = ReachOptions {
        scope: options.scope,
        absent,
    };
    let found = roots::find(repo, options).await?;
    let roots: Vec<_> = found.iter().map(|root| root.reach).collect();
    let mut reachable = repo.reach(&roots, &reach_options).await?;
    if let Some(problem) = reachable.take_problems().into_iter().next() {
        let context = "nothing was pruned: what is still needed cannot be told";
        return Err(problem.error.context(context).about(problem.name));
    }
    roots::check_present(repo, &found, reachable.absent_roots()).await?;
    let mut waiting = match &lock {
        Some(lock) => Waiting::open(repo, lock, options.grace).await?,
        None => None,
    };
    let found = find_garbage(repo, options, &reachable, waiting.as_mut());
    let (garbage, mut report) = found.await?;
    let deltas = deltas::find(repo, options, &garbage).await?;
    let superblocks = deltas
        .iter()
        .filter(|file| matches!(file, DeltaFile::Superblock(_)));
    report.deltas_pruned = superblocks.count() as u64;
    if let Some(lock) = &lock {
        report_phase(Phase::Committing);
        delete::delete(repo, lock, options, &garbage).await?;
        // Last: were this interrupted, the next prune would find them.
        repo.state().delete_delta_files(&deltas).await?;
    }
    if let Some(waiting) = waiting {
        waiting.forget().await?;
    }
    report_phase(Phase::Done);
    Ok(report)
}

/// What is to be deleted.
#[derive(Debug)]
struct Garbage {
    /// The commit that was asked for, which counts apart.
    asked_for: Option<Checksum>,
    /// The other commits.
    commits: Vec<Checksum>,
    /// All the rest, in the order in which it is deleted: the role of a name is its place in
    /// [`ORDER`].
    objects: SortedNames,
}

async fn find_garbage(
    repo: &Repo,
    options: &PruneOptions,
    reachable: &Reachable,
    mut waiting: Option<&mut Waiting<'_>>,
) -> Result<(Garbage, PruneReport)> {
    let (mut report, asked_for) = (PruneReport::default(), options.delete_commit);
    let objects = NameSet::new(repo.spill().clone(), repo.pool().clone());
    for (place, object_type) in (0..).zip(ORDER) {
        if options.scope == ReachScope::CommitsOnly && object_type != ObjectType::Commit {
            continue;
        }
        let mut listed = repo.objects().list(object_type).try_chunks(OBJECTS_A_STEP);
        while let Some(listed) = listed.try_next().await.map_err(|e| e.1)? {
            let is_asked_for = |listed: &Listed| {
                object_type == ObjectType::Commit && asked_for == Some(listed.name.checksum)
            };
            let mut listed = listed;
            listed.retain(|listed| !is_asked_for(listed));
            report.objects_total += listed.len() as u64;
            let names: Vec<_> = listed.iter().map(|listed| listed.name).collect();
            let mut needed = reachable.contains(&names).await?.into_iter();
            listed.retain(|_| !needed.next().unwrap_or(true));
            if let Some(waiting) = &mut waiting {
                let names: Vec<_> = listed.iter().map(|listed| listed.name).collect();
                let mut may_go = waiting.may_go(&names).await?.into_iter();
                listed.retain(|listed| {
                    let goes = may_go.next().unwrap_or(false);
                    if !goes {
                        report.objects_waiting += 1;
                        report.waiting_bytes += listed.stored_bytes;
                    }
                    goes
                });
            }
            report.objects_pruned += listed.len() as u64;
            report.freed_bytes += listed.iter().map(|l| l.stored_bytes).sum::<u64>();
            let unneeded = listed.iter().map(|listed| listed.name.checksum);
            if object_type == ObjectType::Commit {
                report.commits_pruned.extend(unneeded);
            } else {
                let unneeded = unneeded.map(|checksum| Name::new(place, &checksum));
                objects.insert(unneeded.collect()).await?;
            }
        }
    }
    if let Some(waiting) = waiting {
        waiting.note().await?;
    }
    let garbage = Garbage {
        asked_for,
        commits: report.commits_pruned.clone(),
        objects: objects.into_sorted().await?,
    };
    Ok((garbage, report))
}
