//! Repairs a repository from places that have what it lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{FsckExtent, FsckOptions, FsckRepair, FsckReport, Problem, fsck};
use crate::error::Result;
use crate::format::{Checksum, ObjectType};
use crate::ops::replicate::{ReplicateOptions, ReplicateReport, replicate};
use crate::repo::Repo;
use crate::store::{ObjectSource, Partial};

/// How often damage may come to light below what was damaged.
const ROUNDS_MAX: usize = 32;

/// What a repair did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was wrong.
    pub before: FsckReport,
    /// The commits that were made whole.
    pub repaired: Vec<Checksum>,
    /// What was fetched for that: nothing but what was missing or damaged.
    pub fetched: ReplicateReport,
    /// What is wrong now: a second check, of everything.
    pub after: FsckReport,
}

/// Checks a repository, deletes what is damaged, fetches that and what is missing from `sources`,
/// and checks again.
///
/// Commits that only wait for the rest of a pull are left as they are.
///
/// # Errors
///
/// [`Missing`](crate::ErrorKind::Missing) names an object that no source has; the commits that need it
/// stay marked partial. What was fetched before stays.
pub async fn repair_from(
    repo: &Repo,
    sources: &[Arc<dyn ObjectSource>],
    options: &FsckOptions,
    replicate_options: &ReplicateOptions,
) -> Result<RepairReport> {
    let mut first = options.clone();
    first.extent = FsckExtent::All;
    first.repair = FsckRepair::DeleteDamaged;
    let mut report = RepairReport::default();
    for round in 0..ROUNDS_MAX {
        let checked = fsck(repo, &first).await?;
        let commits = incomplete(repo, &checked).await?;
        if round > 0 && commits.is_empty() {
            report.after = checked;
            return Ok(report);
        }
        match round {
            0 => report.before = checked,
            // What was below a directory that was damaged is seen only now.
            _ => report.before.findings.extend(checked.findings),
        }
        for commit in commits {
            let fetched = replicate(sources, repo, &[commit], replicate_options).await?;
            report.fetched.metadata_fetched += fetched.metadata_fetched;
            report.fetched.content_fetched += fetched.content_fetched;
            report.fetched.transferred_bytes += fetched.transferred_bytes;
            if !report.repaired.contains(&commit) {
                report.repaired.push(commit);
            }
        }
    }
    report.after = fsck(repo, &first).await?;
    Ok(report)
}

/// Returns the commits that lack something because of damage.
async fn incomplete(repo: &Repo, report: &FsckReport) -> Result<BTreeSet<Checksum>> {
    let mut commits: BTreeSet<_> = report.marked_partial.iter().copied().collect();
    for commit in repo.state().list_partial().await? {
        if repo.state().read_partial(&commit).await? == Some(Partial::Damaged) {
            commits.insert(commit);
        }
    }
    for finding in &report.findings {
        match (&finding.problem, finding.object) {
            (Problem::NoCommit, _) => commits.extend(&finding.commits),
            (Problem::Missing | Problem::Damaged(_), Some(object))
                if object.object_type == ObjectType::Commit =>
            {
                commits.insert(object.checksum);
            }
            _ => {}
        }
    }
    Ok(commits)
}
