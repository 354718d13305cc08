//! Records trees as commits: the verb `commit`.
//!
//! ```text
//! options      what to record, and what came of it
//! path_rules   the files of --statoverride and --skip-list            (pure)
//! rules        owner, mode and attributes to record of what is found  (pure)
//! scan         directories of this machine, in blocking steps
//! consume      deletes what was recorded, at the very end
//! commits      trees of other commits
//! archive      trees in tar and cpio archives
//! mutable_tree trees laid over one another
//! record       the loop that scans, stores and writes directories
//! metadata     the commit's metadata, in OSTree's order
//! partial      marks of commits that may lack objects
//! ```
//!
//! Objects first, durable; then what stands beside the commit; then the ref, if it still is what it
//! was. Whatever fails on the way leaves the ref where it was.

mod archive;
mod commits;
mod consume;
mod metadata;
mod mutable_tree;
mod options;
mod partial;
mod path_rules;
mod record;
mod rules;
mod scan;
mod xattrs;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use archive::{ArchiveInput, MissingParents, PathRename};
pub use options::{
    Bindings, Bootable, CommitOptions, CommitOutcome, CommitReport, CommitStats, Executables,
    HardLinks, ImageDigest, Modifier, Parent, Permissions, Sizes, SourceUse, TreeInput, Unchanged,
    XattrPolicy,
};
pub use path_rules::{SkipList, StatOverrides};

use self::consume::Seen;
pub use self::consume::Unconsumed;
use self::mutable_tree::MutableTree;
use self::record::{Layer, Recorder};
use self::rules::Rules;
use self::scan::Plan;
use crate::error::{Error, Result};
use crate::format::gvariant::Dict;
use crate::format::keyfile::KeyFile;
use crate::format::{Checksum, Commit, ObjectName, ObjectType};
use crate::ops::composefs::{self, Digest, FileDigests, Source, image_of};
use crate::ops::sign::sign_commit;
use crate::repo::{Phase, Repo, TreeRoot};
use crate::store::{
    Batch, BatchOptions, Encoding, ExpectedRef, Incoming, Leftovers, LinkView, LocalObjects,
    LockKind, RefAnswer, RefName, RefUpdate, RefValue, Swap,
};

/// Records a commit, durable when it returns.
///
/// # Errors
///
/// Fails on anything in a tree that cannot be recorded, naming its path, and on paths of the
/// modifier that are nowhere; the ref then is as it was.
pub async fn commit(repo: &Repo, options: CommitOptions) -> Result<CommitReport> {
    let config = Config::read(repo).await?;
    // The batch's own lock ends with the batch. Until the ref has moved nothing leads to the new
    // objects, and a prune would delete them.
    let lock = repo.objects().lock(LockKind::Shared).await?;
    let mut report = record_commit(repo, &config, &options).await?;
    drop(lock);
    if !matches!(report.outcome, CommitOutcome::RefMoved { .. }) {
        std::mem::take(&mut report.unconsumed).consume(repo).await?;
    }
    options
        .progress
        .update(|snapshot| snapshot.phase = Phase::Done);
    Ok(report)
}

/// Writes the commit and moves the ref.
async fn record_commit(
    repo: &Repo,
    config: &Config,
    options: &CommitOptions,
) -> Result<CommitReport> {
    let target: Option<RefName> = options.target.clone().map(Into::into);
    let current = match &target {
        Some(name) => repo.refs().read_ref(name).await?,
        None => None,
    };
    let parent = find_parent(repo, options).await?;
    let parent_commit = load_parent(repo, options, parent).await?;

    let batch_options = BatchOptions {
        durability: options.durability,
        leftovers: Leftovers::Adopt,
    };
    let batch = repo.objects().begin(batch_options).await?;
    let partial = partial::inherited(repo, options).await?;
    let (root, recorded) = record_trees(repo, &*batch, config, options).await?;
    let unchanged = parent_commit
        .as_ref()
        .is_some_and(|(_, commit)| (commit.tree, commit.meta) == (root.tree, root.meta));
    let mut report = CommitReport {
        commit: root.tree,
        root,
        parent,
        outcome: CommitOutcome::Committed,
        stats: recorded.stats,
        unconsumed: Unconsumed::new(recorded.consumed),
    };
    if let (Unchanged::Skip, true, Some(parent)) = (options.unchanged, unchanged, parent) {
        (report.commit, report.outcome) = (parent, CommitOutcome::Unchanged);
        if options.sources == SourceUse::Consume {
            // The parent may lack what was found, or not have it durably: the sources are the only
            // copy then.
            batch.commit().await?;
        }
        return Ok(report);
    }
    let source = Source {
        objects: &*batch,
        codec: repo.codec(),
        pool: repo.pool(),
    };
    let of_tree = OfTree {
        image_digest: image_digest(source, options, report.root).await?,
        sizes: recorded.sizes,
    };
    let value = commit_value(&*batch, config, options, &report, parent_commit, of_tree);
    let value = value.await?;
    report.commit = put_commit(&*batch, &value, &mut report.stats).await?;
    options
        .progress
        .update(|snapshot| snapshot.phase = Phase::Committing);
    if let Some(partial) = partial {
        partial::mark(repo, &report.commit, partial).await?;
    }
    if let Some(last) = &options.before_commit {
        last.before_commit().await?;
    }
    batch.commit().await?;
    write_detached(repo, options, &report.commit).await?;
    if !options.signers.is_empty() {
        sign_commit(repo, &report.commit, &options.signers).await?;
    }
    if partial.is_none() {
        partial::clear(repo, &report.commit).await?;
    }
    if let Some(name) = target {
        report.outcome = move_ref(repo, name, current, report.commit).await?;
    }
    Ok(report)
}

/// What the repository's configuration says about commits.
struct Config {
    collection: Option<String>,
    canonical: bool,
    without_xattrs: bool,
}

impl Config {
    async fn read(repo: &Repo) -> Result<Self> {
        let bytes = repo.state().read_config().await?;
        let file = KeyFile::parse(&bytes)?;
        Ok(Self {
            collection: file.string("core", "collection-id")?,
            canonical: file.string("core", "mode")?.as_deref() == Some("bare-user-only"),
            without_xattrs: file.boolean("core", "disable-xattrs")?.unwrap_or(false),
        })
    }
}

async fn find_parent(repo: &Repo, options: &CommitOptions) -> Result<Option<Checksum>> {
    match (&options.parent, &options.target) {
        (Parent::Commit(checksum), _) => Ok(Some(*checksum)),
        (Parent::Target, Some(target)) => repo.resolve_refspec(target).await,
        (Parent::Target, None) | (Parent::None, _) => Ok(None),
    }
}

/// Reads the parent where something of it is needed: it need not be in the repository otherwise.
async fn load_parent(
    repo: &Repo,
    options: &CommitOptions,
    parent: Option<Checksum>,
) -> Result<Option<(Checksum, Commit)>> {
    let needed = options.unchanged == Unchanged::Skip || !options.keep_metadata.is_empty();
    match parent {
        Some(parent) if needed => Ok(Some((parent, repo.load_commit(&parent).await?))),
        _ => Ok(None),
    }
}

/// What is left of a recorder once the trees are written.
struct Recorded {
    stats: CommitStats,
    sizes: Option<Vec<(ObjectName, u64, u64)>>,
    consumed: Vec<(PathBuf, Seen)>,
}

/// Returns how hard links are recognised, where content can be linked at all.
fn links(repo: &Repo, wanted: HardLinks) -> Option<(Arc<dyn LocalObjects>, HardLinks)> {
    let objects = match wanted {
        HardLinks::Read => None,
        HardLinks::Recognise | HardLinks::Trust => repo.objects().local(),
    }?;
    (objects.link_view() != LinkView::None).then_some((objects, wanted))
}

async fn record_trees(
    repo: &Repo,
    batch: &dyn Batch,
    config: &Config,
    options: &CommitOptions,
) -> Result<(TreeRoot, Recorded)> {
    let mut recorder = Recorder::new(batch, repo.pool().clone(), options.progress.clone());
    if options.sizes == Sizes::Record && repo.objects().encoding() == Encoding::Filez {
        recorder.sizes = Some(Vec::new());
    }
    if let Some(base) = &options.base {
        let root = repo.tree_of(base).await?;
        recorder.tree.load(MutableTree::ROOT, root, batch).await?;
    }
    let mut modifier = options.modifier.clone();
    if config.canonical {
        modifier.permissions = Permissions::Canonical;
    }
    if config.without_xattrs {
        modifier.xattrs = XattrPolicy::Drop;
    }
    let mut rules = Rules::new(modifier);
    let plan = Plan {
        sources: options.sources,
        links: links(repo, options.hard_links),
    };
    let mut consumed = Vec::new();
    for (i, tree) in options.trees.iter().enumerate() {
        let last = i + 1 == options.trees.len();
        let layer = if last { Layer::Last } else { Layer::Inner };
        match tree {
            TreeInput::Dir(origin) => {
                let walked = recorder.directory(origin, &plan, layer, rules).await?;
                rules = walked.0;
                if options.sources == SourceUse::Consume {
                    consumed.push((origin.clone(), walked.1));
                }
            }
            TreeInput::Archive(input) => recorder.archive(input, &mut rules).await?,
            TreeInput::Commit(commit) => {
                let root = repo.tree_of(commit).await?;
                recorder.recorded(root, &mut rules, repo).await?;
            }
        }
    }
    rules.expect_met()?;
    let root = recorder.finish().await?;
    let recorded = Recorded {
        stats: recorder.stats,
        sizes: recorder.sizes,
        consumed,
    };
    Ok((root, recorded))
}

/// Metadata that is known once the tree is.
struct OfTree {
    image_digest: Option<Digest>,
    sizes: Option<Vec<(ObjectName, u64, u64)>>,
}

/// Returns the digest of the image of the new tree, if it is to be recorded.
async fn image_digest(
    source: Source<'_>,
    options: &CommitOptions,
    root: TreeRoot,
) -> Result<Option<Digest>> {
    if options.image_digest == ImageDigest::Omit {
        return Ok(None);
    }
    let image = image_of(source, root, HashMap::new(), FileDigests::All).await?;
    let hash = move || image.write(&mut std::io::sink()).map_err(composefs::failed);
    source.pool.run(hash).await.map(Some)
}

async fn commit_value(
    batch: &dyn Batch,
    config: &Config,
    options: &CommitOptions,
    report: &CommitReport,
    parent: Option<(Checksum, Commit)>,
    of_tree: OfTree,
) -> Result<Commit> {
    let root = report.root;
    let collection = config.collection.as_deref();
    let kept_from = parent.as_ref().map(|(checksum, commit)| (checksum, commit));
    let mut metadata = metadata::metadata(options, kept_from, collection, root, batch).await?;
    if let Some(digest) = of_tree.image_digest {
        metadata = metadata::add_image_digest(&metadata, digest);
    }
    if let Some(sizes) = of_tree.sizes {
        metadata = metadata::add_sizes(metadata, sizes);
    }
    Ok(Commit {
        metadata,
        parent: report.parent,
        related: Vec::new(),
        subject: options.subject.clone(),
        body: options.body.clone(),
        timestamp: options.timestamp,
        tree: root.tree,
        meta: root.meta,
    })
}

async fn put_commit(
    batch: &dyn Batch,
    commit: &Commit,
    stats: &mut CommitStats,
) -> Result<Checksum> {
    let incoming = Incoming::recorded_metadata(ObjectType::Commit, commit.to_bytes());
    let put = record::put_one(batch, incoming).await?;
    stats.metadata_total += 1;
    if put.stored == crate::store::Stored::New {
        stats.metadata_written += 1;
    }
    Ok(put.name.checksum)
}

/// Writes the detached metadata.
async fn write_detached(repo: &Repo, options: &CommitOptions, commit: &Checksum) -> Result<()> {
    if !options.detached_metadata.is_empty() {
        let detached: Dict = options.detached_metadata.iter().cloned().collect();
        let detached = Bytes::from(detached.encode());
        let mut expected = repo.state().read_detached(commit).await?;
        while let Swap::Conflict { current } = repo
            .state()
            .swap_detached(commit, expected.as_ref(), Some(detached.clone()))
            .await?
        {
            expected = current;
        }
    }
    Ok(())
}

async fn move_ref(
    repo: &Repo,
    name: RefName,
    current: Option<RefValue>,
    commit: Checksum,
) -> Result<CommitOutcome> {
    let update = RefUpdate {
        name,
        expected: current.map_or(ExpectedRef::Absent, ExpectedRef::Value),
        new: Some(RefValue::Commit(commit)),
    };
    let answers = repo.refs().update_refs(&[update]).await?;
    match answers.into_iter().next() {
        Some(RefAnswer::Committed) => Ok(CommitOutcome::Committed),
        Some(RefAnswer::Conflict { current }) => Ok(CommitOutcome::RefMoved { current }),
        None => Err(Error::new(
            crate::ErrorKind::Indeterminate,
            "the repository did not say whether the ref was moved",
        )),
    }
}
