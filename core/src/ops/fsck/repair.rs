//! What is changed about what was found.

use std::collections::BTreeSet;

use super::content::check_one;
use super::{FsckOptions, FsckRepair, FsckReport, FsckTombstones, Problem, parse_commit};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, DirMeta, DirTree, ObjectName, ObjectType, Tombstone};
use crate::ops::prune::enable_tombstones;
use crate::repo::{Repo, load_metadata};
use crate::store::{LockKind, Partial};

pub(super) async fn repair(
    repo: &Repo,
    options: &FsckOptions,
    orphans: &[Checksum],
    report: &mut FsckReport,
) -> Result<()> {
    match options.repair {
        FsckRepair::ReportOnly => {}
        FsckRepair::MarkPartial => mark_missing(repo, report).await?,
        FsckRepair::DeleteDamaged => delete(repo, report).await?,
    }
    if options.tombstones == FsckTombstones::Add && !orphans.is_empty() {
        enable_tombstones(repo).await?;
        for commit in orphans {
            let tombstone = Tombstone::new(*commit).to_bytes();
            repo.state()
                .write_tombstone(commit, Some(tombstone.into()))
                .await?;
            report.tombstones.push(*commit);
        }
    }
    Ok(())
}

/// Marks the commits that miss objects.
async fn mark_missing(repo: &Repo, report: &mut FsckReport) -> Result<()> {
    // Nobody is kept waiting, nor waited for, where there is nothing to do.
    if commits_without(report, |_, problem| is_missing(problem)).is_empty() {
        return Ok(());
    }
    let lock = repo.objects().lock(LockKind::Exclusive).await?;
    let missing = still_missing(repo, report).await?;
    let is_lost = |object: ObjectName, _: &Problem| missing.contains(&object);
    mark(repo, &commits_without(report, is_lost), report).await?;
    drop(lock);
    Ok(())
}

/// Returns what is missing even now: a writer may have brought it since the check.
async fn still_missing(repo: &Repo, report: &FsckReport) -> Result<BTreeSet<ObjectName>> {
    let findings = report.findings.iter();
    let missing = findings.filter(|finding| is_missing(&finding.problem));
    let missing: BTreeSet<_> = missing.filter_map(|finding| finding.object).collect();
    let missing: Vec<_> = missing.into_iter().collect();
    let found = repo.objects().stat(&missing).await?;
    let missing = missing.into_iter().zip(found);
    let missing = missing.filter_map(|(name, found)| found.is_none().then_some(name));
    Ok(missing.collect())
}

/// Deletes damaged objects: marks first, and durably, so that no commit looks whole and is not.
async fn delete(repo: &Repo, report: &mut FsckReport) -> Result<()> {
    let lock = repo.objects().lock(LockKind::Exclusive).await?;
    let mut damaged = BTreeSet::new();
    for finding in &report.findings {
        if let (Problem::Damaged(error), Some(object)) = (&finding.problem, finding.object)
            && error.kind() == ErrorKind::Corrupt
            // Since it was read a writer may have put it right, or the memory it was read to erred.
            && is_still_damaged(repo, object).await
        {
            damaged.insert(object);
        }
    }
    let missing = still_missing(repo, report).await?;
    let is_lost =
        |object: ObjectName, _: &Problem| missing.contains(&object) || damaged.contains(&object);
    mark(repo, &commits_without(report, is_lost), report).await?;
    let damaged: Vec<_> = damaged.into_iter().collect();
    let freed = repo.objects().delete(&lock, &damaged).await?;
    let deleted = damaged.into_iter().zip(freed);
    let deleted = deleted.filter_map(|(name, freed)| freed.map(|_| name));
    report.deleted.extend(deleted);
    Ok(())
}

fn is_missing(problem: &Problem) -> bool {
    matches!(problem, Problem::Missing)
}

/// Returns the commits that need an object that is lost.
fn commits_without(
    report: &FsckReport,
    is_lost: impl Fn(ObjectName, &Problem) -> bool,
) -> BTreeSet<Checksum> {
    let lost = report.findings.iter().filter(|finding| {
        let object = finding.object;
        // A commit that is gone itself has nothing to be marked.
        let object = object.filter(|object| object.object_type != ObjectType::Commit);
        object.is_some_and(|object| is_lost(object, &finding.problem))
    });
    lost.flat_map(|finding| finding.commits.iter().copied())
        .collect()
}

async fn mark(repo: &Repo, commits: &BTreeSet<Checksum>, report: &mut FsckReport) -> Result<()> {
    for commit in commits {
        if repo.state().read_partial(commit).await?.is_none() {
            repo.state()
                .write_partial(commit, Some(Partial::Damaged))
                .await?;
            report.marked_partial.push(*commit);
        }
    }
    Ok(())
}

async fn is_still_damaged(repo: &Repo, object: ObjectName) -> bool {
    let checked: Result<()> = match object.object_type {
        ObjectType::File => check_one(repo, object.checksum).await.map(drop),
        _ => check_metadata(repo, object).await,
    };
    checked.is_err_and(|error| error.kind() == ErrorKind::Corrupt)
}

async fn check_metadata(repo: &Repo, object: ObjectName) -> Result<()> {
    let Some(bytes) = load_metadata(&**repo.objects(), &object).await? else {
        return Ok(());
    };
    let parsed = match object.object_type {
        ObjectType::Commit => parse_commit(&bytes).map(drop),
        ObjectType::DirTree => DirTree::parse(&bytes).map(drop),
        ObjectType::DirMeta => DirMeta::parse(&bytes).map(drop),
        ObjectType::File | ObjectType::FileXattrs => Ok(()),
    };
    parsed.map_err(Error::from)
}
