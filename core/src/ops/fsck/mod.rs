//! Checks a repository: refs, commits, and every object that they need.
//!
//! First that each ref leads to a commit, then that each commit can be read, then all objects of
//! the commits that are not marked partial: each is read whole and hashed, metadata while the trees
//! are walked, and content in groups on the pool. Where an object is needed, which commits and which
//! path, is only worked out for those with which something is wrong.

mod bindings;
mod content;
mod locate;
mod refetch;
mod repair;
mod report;

use std::collections::HashSet;

use futures::TryStreamExt;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, Commit, DirMeta, FormatError, ObjectName, ObjectType};
use crate::repo::{
    Depth, History, Phase, Progress, ReachOptions, ReachRoot, Reachable, Repo, load_many,
};
use crate::store::{LockKind, Partial, RefSpace};

pub use bindings::Unbound;
pub use refetch::{RepairReport, repair_from};
pub use report::{Finding, FsckReport, Problem};

/// Dirmetas that are read in one step.
const DIRMETAS_A_STEP: usize = 4096;

/// How to check.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FsckOptions {
    /// When to stop.
    pub extent: FsckExtent,
    /// What is changed about what is found.
    pub repair: FsckRepair,
    /// Whether refs and commits must name each other.
    pub bindings: FsckBindings,
    /// Whether commits that others name as parent, and that are not there, get a tombstone.
    pub tombstones: FsckTombstones,
    /// Who listens.
    pub progress: Progress,
}

/// When a check stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FsckExtent {
    /// After the stage that finds something damaged; what is missing does not stop it.
    #[default]
    FirstDamage,
    /// At the end.
    All,
}

/// What a check changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FsckRepair {
    /// Nothing.
    #[default]
    ReportOnly,
    /// Commits that miss objects are marked partial, so that a pull completes them.
    MarkPartial,
    /// Damaged objects are deleted as well, after the commits that need them were marked partial.
    DeleteDamaged,
}

/// Whether refs and commits must name each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FsckBindings {
    /// Not looked at.
    #[default]
    Ignore,
    /// The commit of each ref must be bound to that ref, where it is bound to any.
    Verify,
    /// And the refs that each commit is bound to must lead to it.
    VerifyBackRefs,
}

/// Whether missing commits get a tombstone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FsckTombstones {
    /// They do not.
    #[default]
    Leave,
    /// They do, and the repository is set to leave tombstones from now on.
    Add,
}

/// Checks a repository and, if asked to, repairs it.
///
/// # Errors
///
/// What is wrong with the repository is in the report; an error says that it could not be checked.
pub async fn fsck(repo: &Repo, options: &FsckOptions) -> Result<FsckReport> {
    let mut options = options.clone();
    let lock = match repo.objects().lock(LockKind::Shared).await {
        Ok(lock) => Some(lock),
        // A repository on read-only media can be checked all the same: nobody prunes it. What is
        // found is reported, and not marked.
        Err(error)
            if options.repair != FsckRepair::DeleteDamaged && error.kind() == ErrorKind::Denied =>
        {
            options.repair = FsckRepair::ReportOnly;
            None
        }
        Err(error) => return Err(error),
    };
    let options = &options;
    let mut check = Check {
        repo,
        options,
        report: FsckReport::default(),
        whole: Vec::new(),
        orphans: Vec::new(),
        known: HashSet::new(),
    };
    check.run().await?;
    let Check {
        mut report,
        whole,
        orphans,
        ..
    } = check;
    locate::locate(repo, &whole, &mut report.findings).await?;
    drop(lock);
    repair::repair(repo, options, &orphans, &mut report).await?;
    options
        .progress
        .update(|snapshot| snapshot.phase = Phase::Done);
    Ok(report)
}

/// A check under way.
struct Check<'a> {
    repo: &'a Repo,
    options: &'a FsckOptions,
    report: FsckReport,
    /// The commits that are not partial and could be read.
    whole: Vec<Checksum>,
    /// The missing parents of commits.
    orphans: Vec<Checksum>,
    /// Commits of which something was found already.
    known: HashSet<Checksum>,
}

impl Check<'_> {
    async fn run(&mut self) -> Result<()> {
        self.phase(Phase::Resolving);
        self.check_refs().await?;
        if self.is_over() {
            return Ok(());
        }
        self.phase(Phase::Scanning);
        self.check_commits().await?;
        if self.is_over() {
            return Ok(());
        }
        let roots: Vec<_> = self
            .whole
            .iter()
            .map(|commit| commit_alone(*commit))
            .collect();
        let mut reachable = self.repo.reach(&roots, &ReachOptions::default()).await?;
        for problem in reachable.take_problems() {
            self.found(problem.name, problem.error);
        }
        if let Some(tree) = reachable.too_deep() {
            let error = Error::corrupt("directories are nested too deep");
            self.found(ObjectName::dirtree(tree), error);
        }
        self.check_dirmetas(&reachable).await?;
        self.report.metadata_objects += reachable.count(ObjectType::DirTree);
        if self.is_over() {
            return Ok(());
        }
        self.phase(Phase::Verifying);
        content::check(self, &reachable).await
    }

    fn phase(&self, phase: Phase) {
        self.options
            .progress
            .update(|snapshot| snapshot.phase = phase);
    }

    /// Returns whether enough has been found.
    fn is_over(&self) -> bool {
        let is_damage = |finding: &Finding| !matches!(finding.problem, Problem::Missing);
        self.options.extent == FsckExtent::FirstDamage && self.report.findings.iter().any(is_damage)
    }

    /// Records that something is wrong with an object.
    fn found(&mut self, name: ObjectName, error: Error) {
        let problem = match error.kind() {
            ErrorKind::Missing => Problem::Missing,
            _ => Problem::Damaged(error),
        };
        self.report.findings.push(Finding::of_object(name, problem));
    }

    async fn check_refs(&mut self) -> Result<()> {
        let own = self.repo.collection_id().await?;
        for (name, _) in self.repo.refs().list_refs(&RefSpace::All).await? {
            self.report.refs += 1;
            let commit = match self.repo.follow_ref(&name).await {
                Ok(Some(commit)) => commit,
                Ok(None) => {
                    let error = Error::missing("is an alias of a ref that does not exist");
                    self.report
                        .findings
                        .push(Finding::of_ref(name, Problem::Damaged(error)));
                    continue;
                }
                Err(error) => {
                    self.report
                        .findings
                        .push(Finding::of_ref(name, Problem::Damaged(error)));
                    continue;
                }
            };
            match self.repo.load_commit(&commit).await {
                Ok(loaded) if self.options.bindings >= FsckBindings::Verify => {
                    if let Err(unbound) = bindings::check_ref(own.as_ref(), &name, &loaded) {
                        let mut finding = Finding::of_ref(name, Problem::Unbound(unbound));
                        finding.commits.push(commit);
                        self.report.findings.push(finding);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    if self.known.insert(commit) {
                        self.found(ObjectName::commit(commit), error);
                    }
                    let mut finding = Finding::of_ref(name, Problem::NoCommit);
                    finding.commits.push(commit);
                    self.report.findings.push(finding);
                }
            }
        }
        Ok(())
    }

    async fn check_commits(&mut self) -> Result<()> {
        let listed = self.repo.objects().list(ObjectType::Commit);
        let names: Vec<_> = listed.map_ok(|listed| listed.name).try_collect().await?;
        let present: HashSet<_> = names.iter().map(|name| name.checksum).collect();
        let wants_bindings = self.options.bindings == FsckBindings::VerifyBackRefs;
        for (name, loaded) in load_many(self.repo, names, parse_commit).await? {
            let commit = match loaded {
                Ok(Some(commit)) => commit,
                // Gone since it was listed.
                Ok(None) => continue,
                Err(error) => {
                    if self.known.insert(name.checksum) {
                        self.found(name, error);
                    }
                    continue;
                }
            };
            self.report.commits += 1;
            if let Some(parent) = commit.parent.filter(|parent| !present.contains(parent)) {
                self.orphans.push(parent);
            }
            if wants_bindings
                && let Some(unbound) =
                    bindings::check_back_refs(self.repo, &name.checksum, &commit).await?
            {
                self.report
                    .findings
                    .push(Finding::of_object(name, Problem::Unbound(unbound)));
            }
            match self.repo.state().read_partial(&name.checksum).await? {
                None => self.whole.push(name.checksum),
                Some(partial) => {
                    self.report.commits_partial += 1;
                    if partial == Partial::Damaged {
                        self.report.commits_damaged_before += 1;
                    }
                }
            }
        }
        self.orphans.sort_unstable();
        self.orphans.dedup();
        Ok(())
    }

    async fn check_dirmetas(&mut self, reachable: &Reachable) -> Result<()> {
        self.report.metadata_objects += reachable.count(ObjectType::DirMeta);
        let parse = |bytes: &[u8]| DirMeta::parse(bytes).map(drop);
        let (kind, mut after) = (ObjectType::DirMeta, None);
        loop {
            let page = reachable.checksums(kind, after, DIRMETAS_A_STEP).await?;
            after = page.last().copied();
            if page.is_empty() {
                return Ok(());
            }
            let names = page.into_iter().map(ObjectName::dirmeta).collect();
            for (name, loaded) in load_many(self.repo, names, parse).await? {
                match loaded {
                    Ok(Some(())) => {}
                    Ok(None) => self.found(name, Error::missing("is not in the repository")),
                    Err(error) => self.found(name, error),
                }
            }
        }
    }
}

fn commit_alone(commit: Checksum) -> ReachRoot {
    ReachRoot {
        commit,
        history: History::Depth(Depth::Parents(0)),
    }
}

fn parse_commit(bytes: &[u8]) -> std::result::Result<Commit, FormatError> {
    let commit = Commit::parse(bytes)?;
    if commit.metadata.contains("") {
        return Err(FormatError::new(
            "commit",
            "has a metadata key without a name",
        ));
    }
    Ok(commit)
}
