//! Brings refs, and the commits they hold, from a remote.
//!
//! First what is wanted is found out, then each commit is checked before anything it names is
//! fetched, then the objects come, and last the refs move, by compare-and-swap, over durable
//! objects only.

mod delta_parts;
mod deltas;
mod gate;
mod refs;
mod summary;
mod summary_index;

use std::collections::HashMap;
use std::sync::Arc;

pub use self::deltas::DeltaPlan;
pub use self::summary::{Freshness, SummaryCache, fetch_summary};

use self::deltas::DeltaPull;
use crate::archive::ArchiveRemote;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::delta::DeltaName;
use crate::format::keyfile::KeyFile;
use crate::format::{Branch, Checksum, CollectionId, Commit, ObjectType, RemoteName, Tombstone};
use crate::ops::delta::{ApplyBudget, DeltaReport, DeltasTaken, TakeDeltas, Taking};
use crate::ops::replicate::{
    Prefill, RemoteTrust, ReplicateOptions, ReplicatePlan, ReplicateReport, SizeEffort, plan,
    replicate,
};
use crate::repo::{Phase, RemoteRepo, Repo};
use crate::sign::VerifyPolicy;
use crate::store::{LockKind, ObjectSource, RefName, RefValue, SignedSummary};

/// Where to pull from: what it holds, and its objects.
#[derive(Debug, Clone)]
pub struct PullSource {
    /// Refs, detached metadata, summary.
    pub repo: Arc<dyn RemoteRepo>,
    /// Objects.
    pub objects: Arc<dyn ObjectSource>,
}

impl From<ArchiveRemote> for PullSource {
    fn from(remote: ArchiveRemote) -> Self {
        Self {
            repo: Arc::new(remote.clone()),
            objects: Arc::new(remote),
        }
    }
}

impl From<Repo> for PullSource {
    fn from(repo: Repo) -> Self {
        let objects: Arc<dyn ObjectSource> = repo.objects().clone();
        Self {
            repo: Arc::new(repo),
            objects,
        }
    }
}

/// What to pull, and how.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PullOptions {
    /// Which refs; none: all that the remote's summary lists.
    pub refs: Vec<PullRef>,
    /// Where it is looked up what they hold.
    pub refs_from: RefsFrom,
    /// Under which names they are kept here.
    pub naming: Naming,
    /// What must be signed, and by whom. The default believes whoever answers: for remotes that are
    /// oneself.
    pub verify: VerifyPolicy,
    /// Whether a commit must say that it belongs to the ref it is pulled as.
    pub bindings: Bindings,
    /// The collection that the remote's refs belong to, if it is known.
    pub collection_id: Option<CollectionId>,
    /// Whether a ref may move to an older commit.
    pub age: AgeCheck,
    /// Whether the remote's summary is kept as it is; for mirrors of all refs.
    pub summary: KeepSummary,
    /// How old what the remote says may be.
    pub freshness: Freshness,
    /// Where a signed summary is kept, so that it is fetched only when it changes.
    pub summary_cache: Option<Arc<dyn SummaryCache>>,
    /// Places on this machine to look in first.
    pub local_caches: Vec<Arc<dyn ObjectSource>>,
    /// Whether static deltas are used.
    pub deltas: DeltaUse,
    /// What applying them may use.
    pub delta_budget: ApplyBudget,
    /// Whether the deltas that make what is pulled are kept as the remote has them; for mirrors.
    pub keep_deltas: TakeDeltas,
    /// How objects are moved.
    pub replicate: ReplicateOptions,
}

/// Whether static deltas are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeltaUse {
    /// Where they are less to transfer than objects: not from this machine, nor for subpaths.
    #[default]
    WhenSmaller,
    /// They are not.
    Never,
    /// A commit that is not here comes by a delta or not at all.
    Required,
}

/// Where it is looked up what a ref holds. A summary that must be signed comes before either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefsFrom {
    /// In the file of the ref; in the summary where there is none.
    #[default]
    Files,
    /// In the summary, for which one request more is made; in the file of the ref where the summary
    /// does not list it.
    Summary,
}

/// One ref to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRef {
    /// The branch; `None` pulls a bare commit and moves no ref.
    pub branch: Option<Branch>,
    /// Which commit, instead of what the remote's ref holds.
    pub commit: Option<Checksum>,
}

/// Under which names pulled refs are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Naming {
    /// As the repository's own: a mirror, or a pull from another repository of one's own.
    #[default]
    Own,
    /// As what a remote holds.
    Remote(RemoteName),
    /// As what another collection holds.
    Collection(CollectionId),
}

impl Naming {
    fn name(&self, branch: &Branch) -> RefName {
        match self {
            Self::Own => RefName::Local(branch.clone()),
            Self::Remote(remote) => RefName::Remote(remote.clone(), branch.clone()),
            Self::Collection(id) => RefName::Mirror(id.clone(), branch.clone()),
        }
    }
}

/// Whether bindings are verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bindings {
    /// A commit with bindings must be bound to the ref, and to the remote's collection.
    #[default]
    Verify,
    /// They are ignored.
    Ignore,
}

/// Whether an older commit is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AgeCheck {
    /// It is not.
    #[default]
    Any,
    /// A commit older than what the ref holds here is.
    NotOlderThanRef,
    /// A commit older than this one is.
    NotOlderThan(Checksum),
}

/// Whether the remote's summary is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepSummary {
    /// It is not.
    #[default]
    No,
    /// It is, bytes as they are, with its signature.
    Yes,
}

/// What a pull did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PullReport {
    /// Refs and what they hold now, and held before.
    pub refs: Vec<PulledRef>,
    /// What was moved.
    pub replicated: ReplicateReport,
    /// What deltas brought of it. Their bytes are in [`ReplicateReport::transferred_bytes`] as well.
    pub deltas: DeltaReport,
    /// Which deltas are kept. Their bytes are not in [`ReplicateReport::transferred_bytes`].
    pub kept_deltas: DeltasTaken,
}

/// A ref that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledRef {
    /// The ref here; `None` for a bare commit.
    pub name: Option<RefName>,
    /// What it held.
    pub before: Option<Checksum>,
    /// What it holds.
    pub now: Checksum,
    /// What the commit says about the end of the branch's life; `None`: it goes on.
    pub end_of_life: Option<EndOfLife>,
}

/// That nothing more will come of a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndOfLife {
    /// Why, for people.
    pub reason: Option<String>,
    /// The branch that takes its place.
    pub rebase: Option<String>,
}

impl EndOfLife {
    /// Reads what a commit says; `None`: nothing.
    pub fn of(commit: &Commit) -> Option<Self> {
        let text = |key: &str| commit.metadata.get(key)?.as_str().map(str::to_owned);
        let (reason, rebase) = (text("ostree.endoflife"), text("ostree.endoflife-rebase"));
        (reason.is_some() || rebase.is_some()).then_some(Self { reason, rebase })
    }
}

/// Pulls from `source` into `repo`.
///
/// # Errors
///
/// [`Untrusted`](crate::ErrorKind::Untrusted) says whose signature is missing or why it does not count.
/// [`Corrupt`](crate::ErrorKind::Corrupt) and [`Invalid`](crate::ErrorKind::Invalid) name the object
/// or ref that the remote got wrong; nothing of that pull becomes visible, and no ref moves.
/// [`Unavailable`](crate::ErrorKind::Unavailable) can be tried again: what came is kept.
pub async fn pull(repo: &Repo, source: &PullSource, options: &PullOptions) -> Result<PullReport> {
    options
        .replicate
        .progress
        .update(|snapshot| snapshot.phase = Phase::Resolving);
    // Held until the refs have moved: a prune in between would take what they are about to name.
    let _lock = repo.objects().lock(LockKind::Shared).await?;
    let summary = summary::needed(repo, source, options).await?;
    let planned = refs::planned(repo, source, options, summary.as_ref()).await?;
    let gate = Arc::new(gate::PullGate::new(repo, source, options, &planned).await?);
    let mut moving = options.replicate.clone();
    moving.gate = Some(gate.clone());
    if matches!(options.naming, Naming::Remote(_)) {
        // No mirror: OSTree, too, verifies all of it.
        moving.remote_trust = RemoteTrust::Verify;
    }
    let mut sources = options.local_caches.clone();
    sources.push(source.objects.clone());
    let commits: Vec<_> = planned.iter().map(|planned| planned.commit).collect();
    let deltas = DeltaPull::new(source, options, before_of(&planned), summary.as_ref())?;
    moving.prefill = deltas.clone().map(|deltas| deltas as Arc<dyn Prefill>);
    let mut replicated = match replicate(&sources, repo, &commits, &moving).await {
        Err(error) => {
            let error = explain_missing_commit(source, error).await;
            return Err(explain_missing_file(source, error).await);
        }
        Ok(replicated) => replicated,
    };
    let deltas = deltas.map(|deltas| deltas.report()).unwrap_or_default();
    replicated.transferred_bytes += deltas.part_bytes;
    gate.keep_detached().await?;
    let kept_deltas = match options.keep_deltas {
        TakeDeltas::No => DeltasTaken::default(),
        TakeDeltas::Yes => {
            let taking = taking(source, repo, summary.as_ref(), options);
            taking.take(&commits, options.replicate.depth).await?
        }
    };
    let refs = refs::move_refs(repo, planned, &gate.take_ends().await).await?;
    if let (KeepSummary::Yes, Some(summary)) = (options.summary, summary) {
        keep_summary(repo, summary).await?;
    }
    Ok(PullReport {
        refs,
        replicated,
        deltas,
        kept_deltas,
    })
}

/// Takes deltas along as the options say.
fn taking<'a>(
    source: &'a PullSource,
    repo: &'a Repo,
    summary: Option<&'a SignedSummary>,
    options: &'a PullOptions,
) -> Taking<'a> {
    let (verify, budget) = (&options.verify, &options.delta_budget);
    Taking::new(source, repo, summary, verify, budget, &options.replicate)
}

/// Finds out which deltas [`pull`] would keep, and keeps none.
pub async fn plan_kept_deltas(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
) -> Result<DeltasTaken> {
    if options.keep_deltas == TakeDeltas::No {
        return Ok(DeltasTaken::default());
    }
    let summary = summary::needed(repo, source, options).await?;
    let planned = refs::planned(repo, source, options, summary.as_ref()).await?;
    let commits: Vec<_> = planned.iter().map(|planned| planned.commit).collect();
    let taking = taking(source, repo, summary.as_ref(), options);
    taking.plan(&commits, options.replicate.depth).await
}

/// Finds out which deltas [`pull`] would use, and what they would move.
///
/// # Errors
///
/// [`Missing`](crate::ErrorKind::Missing) when there is none where one is required.
pub async fn plan_deltas(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
) -> Result<Vec<(DeltaName, DeltaPlan)>> {
    let summary = summary::needed(repo, source, options).await?;
    let planned = refs::planned(repo, source, options, summary.as_ref()).await?;
    match DeltaPull::new(source, options, before_of(&planned), summary.as_ref())? {
        Some(deltas) => deltas.plan(repo).await,
        None => Ok(Vec::new()),
    }
}

/// Returns what each commit is to take the place of.
fn before_of(planned: &[refs::Planned]) -> HashMap<Checksum, Option<Checksum>> {
    let before = planned.iter().map(|planned| {
        let before = match &planned.before {
            Some(RefValue::Commit(commit)) => Some(*commit),
            _ => None,
        };
        (planned.commit, before)
    });
    before.collect()
}

/// Says that a commit which is not there was deleted on purpose, if the remote says so.
async fn explain_missing_commit(source: &PullSource, error: Error) -> Error {
    let commit = match error.subject() {
        Some(Subject::Object(name)) if name.object_type == ObjectType::Commit => name.checksum,
        _ => return error,
    };
    if error.kind() != ErrorKind::Missing {
        return error;
    }
    let tombstone = source.repo.read_tombstone(&commit).await.ok().flatten();
    let tombstone = tombstone.and_then(|bytes| Tombstone::parse(&bytes).ok());
    match tombstone.filter(|tombstone| tombstone.commit() == commit) {
        Some(_) => error.context("the remote's owner deleted that commit on purpose"),
        None => error,
    }
}

/// Says why a remote has none of the files of a commit, where its mode is the reason: over a transport
/// only archives can be read, and others look like one as far as their metadata goes.
async fn explain_missing_file(source: &PullSource, error: Error) -> Error {
    let is_file = |subject: &Subject| match subject {
        Subject::Object(name) => name.object_type == ObjectType::File,
        _ => false,
    };
    let no_file = error.kind() == ErrorKind::Missing && error.subject().is_some_and(is_file);
    if !no_file || source.objects.local().is_some() {
        return error;
    }
    // What else may be wrong with the remote is not what this is about.
    let config = source.repo.read_config().await.ok().flatten();
    let config = config.and_then(|bytes| KeyFile::parse(&bytes).ok());
    let mode = config.and_then(|config| config.string("core", "mode").ok().flatten());
    match mode.as_deref() {
        None | Some("archive" | "archive-z2") => error,
        Some(mode) => error.context(format!(
            "the remote is a repository of mode {mode}: only one of mode archive can be pulled \
             from over the network; pull-local reads the others"
        )),
    }
}

/// Finds out what [`pull`] would move, and moves nothing.
///
/// # Errors
///
/// As the pull itself would fail, but for what is only seen of files when they come.
pub async fn plan_pull(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
    effort: SizeEffort,
) -> Result<ReplicatePlan> {
    let summary = summary::needed(repo, source, options).await?;
    let planned = refs::planned(repo, source, options, summary.as_ref()).await?;
    let gate = gate::PullGate::new(repo, source, options, &planned).await?;
    let mut looking = options.replicate.clone();
    looking.gate = Some(Arc::new(gate));
    let mut sources = options.local_caches.clone();
    sources.push(source.objects.clone());
    let commits: Vec<_> = planned.iter().map(|planned| planned.commit).collect();
    plan(&sources, repo, &commits, &looking, effort).await
}

async fn keep_summary(repo: &Repo, summary: SignedSummary) -> Result<()> {
    if repo.state().read_summary().await?.as_ref() == Some(&summary) {
        return Ok(());
    }
    repo.state().write_summary(Some(summary)).await
}

fn nothing_there(source: &PullSource) -> Error {
    Error::missing("no repository was found there: there is neither a summary nor a config file")
        .about(Subject::Url(source.repo.describe()))
}
