//! Brings refs, and the commits they hold, from one place to another: push and copy.
//!
//! The same engine as a pull, and the same order: objects first, then detached metadata, then the
//! commits, then static deltas, and last the refs, by compare-and-swap from what they held when the copy began. Whoever
//! comes second is told what the ref holds now, and nothing of theirs is overwritten.

mod detached;
mod refs;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::keyfile::KeyFile;
use crate::format::{Checksum, CollectionId};
use crate::ops::delta::{ApplyBudget, DeltasTaken, TakeDeltas, Taking};
use crate::ops::pull::{PullSource, fetch_summary};
use crate::ops::replicate::{
    ReplicateOptions, ReplicatePlan, ReplicateReport, SizeEffort, plan, replicate,
};
use crate::repo::{Phase, Repo, bad};
use crate::sign::VerifyPolicy;
use crate::store::{
    ExpectedRef, LockKind, RefAnswer, RefName, RefSpace, RefUpdate, RefValue, SignedSummary,
};

pub use refs::{CopyRef, all_refs, named_ref, summary_refs};

/// How to copy.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// What each ref must hold at the destination.
    pub expected: ExpectedBefore,
    /// What must be signed, and by whom.
    pub verify: VerifyPolicy,
    /// Whether the static deltas that make the commits come along.
    pub deltas: TakeDeltas,
    /// What reading their superblocks may use.
    pub delta_budget: ApplyBudget,
    /// How objects are moved. Its `gate` and `before_commit` are the copy's own.
    pub replicate: ReplicateOptions,
}

/// What a ref must hold at the destination for the copy to move it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExpectedBefore {
    /// What it held when the copy began, whatever that was.
    #[default]
    AsFound,
    /// This, from the beginning.
    Exactly(ExpectedRef),
}

/// What a copy did, or would do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// What became of each ref.
    pub refs: Vec<CopiedRef>,
    /// What was moved.
    pub replicated: ReplicateReport,
    /// Which deltas came along. Their bytes are not in [`ReplicateReport::transferred_bytes`].
    pub deltas: DeltasTaken,
}

/// What became of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedRef {
    /// The ref at the destination.
    pub name: RefName,
    /// What it held there.
    pub before: Option<RefValue>,
    /// What it was to hold.
    pub new: RefValue,
    /// Whether it does.
    pub outcome: RefOutcome,
}

/// Whether a ref moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefOutcome {
    /// It holds the new value.
    Moved,
    /// It held that already.
    Unchanged,
    /// It did not hold what was expected, and was left alone.
    Conflict {
        /// What it holds.
        current: Option<RefValue>,
    },
}

/// What a copy would do.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyPlan {
    /// What would become of each ref, if nobody else moves it.
    pub refs: Vec<CopiedRef>,
    /// What would be moved.
    pub objects: ReplicatePlan,
    /// Which deltas would come along.
    pub deltas: DeltasTaken,
}

/// Copies `refs` of `source` to `destination`, durable when it returns.
///
/// Where a ref is not what was expected, nothing is moved for it. A lost race is no error: see
/// [`CopyReport::refs`].
///
/// # Errors
///
/// Fails without moving any ref, and without making any commit visible; what was transferred is
/// taken up by the next try.
pub async fn copy(
    source: &PullSource,
    destination: &Repo,
    refs: &[CopyRef],
    options: &CopyOptions,
) -> Result<CopyReport> {
    let progress = options.replicate.progress.clone();
    progress.update(|snapshot| snapshot.phase = Phase::Resolving);
    // Held until the refs have moved: a prune in between would take what they are about to name.
    let _lock = destination.objects().lock(LockKind::Shared).await?;
    let collection = collection_to_take(source, destination, refs).await?;
    let mut copied = expectations(destination, refs, options).await?;
    let commits = wanted(refs, &copied);
    let detached = detached::Detached::new(source, destination, options);
    let detached = Arc::new(detached);
    let mut moving = options.replicate.clone();
    moving.gate = Some(detached.clone());
    moving.before_commit = Some(detached.clone());
    let sources = [source.objects.clone()];
    let replicated = replicate(&sources, destination, &commits, &moving).await?;
    // Before the refs, so that whoever sees what they hold finds the deltas to it.
    let deltas = match options.deltas {
        TakeDeltas::No => DeltasTaken::default(),
        TakeDeltas::Yes => {
            let summary = signed_summary(source, destination, options).await?;
            let taking = taking(source, destination, summary.as_ref(), options);
            taking.take(&commits, options.replicate.depth).await?
        }
    };
    if let Some(collection) = collection {
        take_collection(destination, &collection).await?;
    }
    move_refs(destination, &mut copied).await?;
    Ok(CopyReport {
        refs: copied,
        replicated,
        deltas,
    })
}

/// Finds out what [`copy`] would do, and does nothing.
pub async fn plan_copy(
    source: &PullSource,
    destination: &Repo,
    refs: &[CopyRef],
    options: &CopyOptions,
    effort: SizeEffort,
) -> Result<CopyPlan> {
    collection_to_take(source, destination, refs).await?;
    let copied = expectations(destination, refs, options).await?;
    let commits = wanted(refs, &copied);
    let mut moving = options.replicate.clone();
    // What would be refused then is refused now.
    moving.gate = Some(Arc::new(detached::Detached::new(
        source,
        destination,
        options,
    )));
    let sources = [source.objects.clone()];
    let objects = plan(&sources, destination, &commits, &moving, effort).await?;
    let deltas = match options.deltas {
        TakeDeltas::No => DeltasTaken::default(),
        TakeDeltas::Yes => {
            let summary = signed_summary(source, destination, options).await?;
            let taking = taking(source, destination, summary.as_ref(), options);
            taking.plan(&commits, options.replicate.depth).await?
        }
    };
    Ok(CopyPlan {
        refs: copied,
        objects,
        deltas,
    })
}

/// Takes deltas as the options say.
fn taking<'a>(
    source: &'a PullSource,
    destination: &'a Repo,
    summary: Option<&'a SignedSummary>,
    options: &'a CopyOptions,
) -> Taking<'a> {
    let (verify, budget) = (&options.verify, &options.delta_budget);
    Taking::new(
        source,
        destination,
        summary,
        verify,
        budget,
        &options.replicate,
    )
}

/// Reads the summary of the source if it must be signed.
async fn signed_summary(
    source: &PullSource,
    destination: &Repo,
    options: &CopyOptions,
) -> Result<Option<SignedSummary>> {
    if !options.verify.summary.is_required() {
        return Ok(None);
    }
    let retry = &options.replicate.retry;
    fetch_summary(destination.pool(), source, &options.verify, retry).await
}

/// Returns what each ref holds, and whether that is what was expected.
async fn expectations(
    destination: &Repo,
    refs: &[CopyRef],
    options: &CopyOptions,
) -> Result<Vec<CopiedRef>> {
    let mut copied: Vec<CopiedRef> = Vec::with_capacity(refs.len());
    for wanted in refs {
        if copied.iter().any(|other| other.name == wanted.name) {
            let problem = "two of the refs would get this name at the destination";
            let name = crate::Subject::Ref(wanted.name.to_string());
            return Err(Error::invalid(problem).about(name));
        }
        let before = destination.refs().read_ref(&wanted.name).await?;
        let matches = match &options.expected {
            ExpectedBefore::AsFound => true,
            ExpectedBefore::Exactly(expected) => expected.matches(before.as_ref()),
        };
        let outcome = match matches {
            _ if before.as_ref() == Some(&wanted.value) => RefOutcome::Unchanged,
            true => RefOutcome::Moved,
            false => RefOutcome::Conflict {
                current: before.clone(),
            },
        };
        copied.push(CopiedRef {
            name: wanted.name.clone(),
            before,
            new: wanted.value.clone(),
            outcome,
        });
    }
    Ok(copied)
}

/// Returns the commits of those refs that are to move, or that stay: they may lack something.
fn wanted(refs: &[CopyRef], copied: &[CopiedRef]) -> Vec<Checksum> {
    let wanted = refs.iter().zip(copied);
    let wanted =
        wanted.filter(|(_, copied)| !matches!(copied.outcome, RefOutcome::Conflict { .. }));
    let mut commits: Vec<_> = wanted.map(|(wanted, _)| wanted.commit).collect();
    commits.sort_unstable();
    commits.dedup();
    commits
}

async fn move_refs(destination: &Repo, copied: &mut [CopiedRef]) -> Result<()> {
    let moving = copied
        .iter_mut()
        .filter(|copied| copied.outcome == RefOutcome::Moved);
    let mut moving: Vec<_> = moving.collect();
    let update = |copied: &&mut CopiedRef| {
        let found = copied.before.clone();
        RefUpdate {
            name: copied.name.clone(),
            expected: found.map_or(ExpectedRef::Absent, ExpectedRef::Value),
            new: Some(copied.new.clone()),
        }
    };
    let updates: Vec<_> = moving.iter().map(update).collect();
    if updates.is_empty() {
        return Ok(());
    }
    let answers = destination.refs().update_refs(&updates).await?;
    for (copied, answer) in moving.iter_mut().zip(answers) {
        if let RefAnswer::Conflict { current } = answer {
            // Somebody else did the same.
            copied.outcome = match current.as_ref() == Some(&copied.new) {
                true => RefOutcome::Unchanged,
                false => RefOutcome::Conflict { current },
            };
        }
    }
    Ok(())
}

/// Returns the collection of the source, if the destination is new and is to belong to it.
///
/// The refs of a repository belong to its collection: those of one are not put among another's.
async fn collection_to_take(
    source: &PullSource,
    destination: &Repo,
    refs: &[CopyRef],
) -> Result<Option<CollectionId>> {
    let own = |copied: &CopyRef| matches!(copied.name, RefName::Local(_));
    if !refs.iter().any(own) {
        return Ok(None);
    }
    let Some(theirs) = collection_of(source).await? else {
        return Ok(None);
    };
    match destination.collection_id().await? {
        Some(ours) if ours == theirs => Ok(None),
        Some(ours) => {
            let problem = format!(
                "is '{ours}' at the destination, and '{theirs}' at the source: refs of one \
                 collection are not put among those of another"
            );
            let key = crate::Subject::ConfigKey("core.collection-id".into());
            Err(Error::invalid(problem).about(key))
        }
        None => {
            let held = destination.refs().list_refs(&RefSpace::All).await?;
            Ok(held.is_empty().then_some(theirs))
        }
    }
}

async fn collection_of(source: &PullSource) -> Result<Option<CollectionId>> {
    let Some(config) = source.repo.read_config().await? else {
        return Ok(None);
    };
    let about = |e| bad("core.collection-id", e);
    let config = KeyFile::parse(&config).map_err(about)?;
    let id = config.string("core", "collection-id").map_err(about)?;
    id.map(|id| CollectionId::new(&id).map_err(about))
        .transpose()
}

async fn take_collection(destination: &Repo, collection: &CollectionId) -> Result<()> {
    destination
        .change_config(|config| {
            config
                .set_string("core", "collection-id", collection.as_str())
                .map_err(|e| bad("core.collection-id", e))
        })
        .await
}
