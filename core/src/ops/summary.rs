//! Makes the summary of a repository anew: what its refs hold, and what clients should know first.
//!
//! Byte for byte what the C `ostree` 2022.7 makes of the same repository at the same time, the order
//! of the metadata included: it comes out of a hash table, so what is added first matters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::format::gvariant::{Dict, Type, Value, VariantDict};
use crate::format::keyfile::KeyFile;
use crate::format::{
    Checksum, CollectionId, Commit, DirMeta, DirTree, ObjectName, ObjectType, RemoteName, Summary,
    SummaryRef, Xattrs,
};
use crate::ops::sign::{add, make, sign_commit};
use crate::repo::{RemoteConfig, Repo, bad, load_metadata};
use crate::sign::{Scheme, Signatures, Signer, add_signature, signatures_in};
use crate::store::{
    BatchOptions, ExpectedRef, Incoming, LockKind, RefAnswer, RefName, RefSpace, RefUpdate,
    RefValue, SignedSummary,
};

/// The branch that holds the metadata of a repository with a collection, for clients that trust
/// commits more than summaries.
const METADATA_BRANCH: &str = "ostree-metadata";

/// What flatpak's keys begin with.
const FLATPAK: &str = "xa.";

/// What flatpak knows of each ref, by its name.
const FLATPAK_CACHE: &str = "xa.cache";

/// The latest time that can be told as a date: the last second of the year 9999.
const DATE_SECS_MAX: i64 = 253_402_300_799;

/// The earliest: the first second of the year 1.
const DATE_SECS_MIN: i64 = -62_135_596_800;

/// What goes into a summary besides what the repository holds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SummaryOptions {
    /// What time it is, seconds since 1970.
    pub now_secs: u64,
    /// Metadata to add, such as `ostree.summary.expires`.
    pub metadata: Dict,
    /// Who signs it.
    pub signers: Vec<Arc<dyn Signer>>,
    /// How long a signature that covers the old summary and the new one stands before the new one
    /// comes: longer than any reader takes between its requests for the two files.
    pub grace: Duration,
    /// The static deltas by name (`FROM-TO`, or `TO`), and what their superblocks hash to.
    pub deltas: Vec<(String, Checksum)>,
    /// What stays of what others wrote into the summary.
    pub keep: KeepKeys,
    /// What becomes of a ref whose commit is damaged.
    pub damaged: DamagedCommits,
}

/// What becomes of a ref whose commit does not hash to its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DamagedCommits {
    /// There is no summary as long as there is one.
    #[default]
    Refuse,
    /// It is listed as what the ref holds, as OSTree does: other refs can still be published. Whoever
    /// pulls that commit finds it damaged.
    List,
}

/// What stays of what others wrote into a summary, and into the metadata of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepKeys {
    /// Nothing, as with OSTree.
    #[default]
    None,
    /// flatpak's keys, which begin with `xa.`: those of the whole, and those of each ref that still
    /// holds the same commit.
    Flatpak,
}

impl KeepKeys {
    /// Adds to `metadata` what stays of `old`, unless it is there.
    fn add(self, old: &Dict, metadata: &mut Dict) {
        if self == Self::None {
            return;
        }
        for (key, value) in old.iter().filter(|(key, _)| key.starts_with(FLATPAK)) {
            if !metadata.contains(key) {
                metadata.insert(key, value.clone());
            }
        }
    }
}

/// Makes a summary, has it signed, and puts it in the place of the one that is there. Without signers
/// the signature of that is removed. Returns its bytes.
///
/// Readers over HTTP fetch two files, and see them change one after the other. So a signed summary is
/// followed by another in three steps: signatures over both beside the old one; after the grace, the
/// new one; then its own signatures alone. Whichever two a reader gets that asks for the signature
/// first, and for the summary before the grace is over, they fit.
pub async fn update_summary(repo: &Repo, options: &SummaryOptions) -> Result<Bytes> {
    let lock = repo.objects().lock(LockKind::Shared).await?;
    let summary = Bytes::from(build_summary(repo, options).await?.to_bytes());
    let mut signatures = Dict::new();
    add(&mut signatures, &make(&summary, &options.signers).await?)?;
    if !signatures.is_empty()
        && let Some(covering) = covering(repo, &summary, &signatures).await?
    {
        let state = repo.state();
        state.write_summary(Some(covering.clone())).await?;
        if !options.grace.is_zero() {
            tokio::time::sleep(options.grace).await;
        }
        let signature = covering.signature;
        let both = SignedSummary {
            summary: summary.clone(),
            signature,
        };
        state.write_summary(Some(both)).await?;
    }
    let signed = SignedSummary {
        summary: summary.clone(),
        signature: (!signatures.is_empty()).then(|| signatures.encode().into()),
    };
    repo.state().write_summary(Some(signed)).await?;
    drop(lock);
    Ok(summary)
}

/// Returns the summary that is there with its signatures and those over the one that follows;
/// `None` when it is not signed, or the same.
async fn covering(repo: &Repo, next: &Bytes, over_next: &Dict) -> Result<Option<SignedSummary>> {
    let Some(held) = repo.state().read_summary().await? else {
        return Ok(None);
    };
    let Some(Ok(mut both)) = held.signature.as_deref().map(Dict::decode) else {
        return Ok(None);
    };
    if held.summary == *next {
        return Ok(None);
    }
    for scheme in Scheme::ALL {
        if let Signatures::Some(signatures) = signatures_in(over_next, scheme) {
            for signature in signatures {
                add_signature(&mut both, scheme, signature.to_vec())?;
            }
        }
    }
    Ok(Some(SignedSummary {
        summary: held.summary,
        signature: Some(both.encode().into()),
    }))
}

/// Makes a summary without writing it.
///
/// # Errors
///
/// [`Missing`](crate::ErrorKind::Missing) when the commit of a ref is not there.
pub async fn build_summary(repo: &Repo, options: &SummaryOptions) -> Result<Summary> {
    let config = repo.config().await?;
    let own = repo.collection_id().await?;
    let mut collections = collect_refs(repo, &config, own.as_ref()).await?;
    let refs = match &own {
        Some(own) => collections.remove(own).unwrap_or_default(),
        None => local_refs(repo).await?,
    };
    let old = match options.keep {
        KeepKeys::None => None,
        KeepKeys::Flatpak => repo.state().read_summary().await?,
    };
    // One that cannot be read has nothing to keep.
    let old = old.and_then(|old| Summary::parse(&old.summary).ok());
    let old = old.unwrap_or_default();
    let mut refs = entries(repo, refs, options.damaged).await?;
    let before: HashMap<_, _> = old.refs.iter().map(|old| (&*old.name, old)).collect();
    let mut unchanged = HashSet::new();
    for entry in &mut refs {
        let before = before.get(&*entry.name);
        if let Some(before) = before.filter(|before| before.commit == entry.commit) {
            options.keep.add(&before.metadata, &mut entry.metadata);
            unchanged.insert(&*before.name);
        }
    }
    let mut added = options.metadata.clone();
    options
        .keep
        .add(&still_true(&old.metadata, &unchanged), &mut added);
    let metadata = metadata(repo, options, &added, &config, own.as_ref(), collections).await?;
    Ok(Summary { refs, metadata })
}

/// Returns the metadata of a summary without what flatpak's cache says of refs that hold another commit
/// now: it would be taken for what that commit says.
fn still_true(old: &Dict, unchanged: &HashSet<&str>) -> Dict {
    let mut metadata = old.clone();
    if let Some(cache) = metadata.get(FLATPAK_CACHE).cloned() {
        let kept = retained(cache, &|name| unchanged.contains(name));
        metadata.insert(FLATPAK_CACHE, kept);
    }
    metadata
}

/// Returns a dictionary of refs, in variants or not, without those that `is_wanted` does not want.
fn retained(value: Value, is_wanted: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Variant(inner) => Value::Variant(Box::new(retained(*inner, is_wanted))),
        Value::Array { element, values } => {
            let wanted = |entry: &Value| match entry {
                Value::DictEntry(pair) => pair.0.as_str().is_none_or(is_wanted),
                _ => true,
            };
            let values = values.into_iter().filter(wanted).collect();
            Value::Array { element, values }
        }
        other => other,
    }
}

/// Refs and their commits, sorted by name.
type Refs = BTreeMap<String, Checksum>;

async fn local_refs(repo: &Repo) -> Result<Refs> {
    let mut refs = Refs::new();
    for (name, _) in repo.refs().list_refs(&RefSpace::Local).await? {
        if let Some(commit) = repo.follow_ref(&name).await? {
            refs.insert(name.branch().to_string(), commit);
        }
    }
    Ok(refs)
}

/// Returns the refs of each collection: mirrored ones, those of remotes that are set to one, and
/// under the repository's own its own. Where two spaces have the same ref, the last of heads,
/// mirrors and remotes counts.
async fn collect_refs(
    repo: &Repo,
    config: &KeyFile,
    own: Option<&CollectionId>,
) -> Result<BTreeMap<CollectionId, Refs>> {
    let mut collections = BTreeMap::<CollectionId, Refs>::new();
    let mut listed = repo.refs().list_refs(&RefSpace::All).await?;
    listed.sort_by_key(|(name, _)| match name {
        RefName::Local(_) => 0,
        RefName::Mirror(..) => 1,
        RefName::Remote(..) => 2,
    });
    for (name, _) in listed {
        let collection = match &name {
            RefName::Local(_) => own.cloned(),
            RefName::Mirror(collection, _) => Some(collection.clone()),
            RefName::Remote(remote, _) => collection_of_remote(config, remote),
        };
        let Some(collection) = collection else {
            continue;
        };
        if let Some(commit) = repo.follow_ref(&name).await? {
            let refs = collections.entry(collection).or_default();
            refs.insert(name.branch().to_string(), commit);
        }
    }
    Ok(collections)
}

/// Returns the collection of a remote; one that is not valid does not count.
fn collection_of_remote(config: &KeyFile, remote: &RemoteName) -> Option<CollectionId> {
    let remote = RemoteConfig::read(config, remote).ok().flatten()?;
    remote.collection_id
}

async fn entries(repo: &Repo, refs: Refs, damaged: DamagedCommits) -> Result<Vec<SummaryRef>> {
    let mut entries = Vec::with_capacity(refs.len());
    for (name, checksum) in refs {
        let object = ObjectName::commit(checksum);
        let bytes = match load_metadata(&**repo.objects(), &object).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => match damaged {
                DamagedCommits::Refuse => None,
                DamagedCommits::List => read_as_it_is(repo, object).await?,
            }
            .ok_or(error)
            .map(Some)?,
            loaded => loaded?,
        };
        let bytes = bytes.ok_or_else(|| {
            let problem = format!("is not in the repository, and ref '{name}' holds it");
            Error::missing(problem).about(object)
        })?;
        let commit = Commit::parse(&bytes).map_err(|e| Error::from(e).about(object))?;
        entries.push(SummaryRef {
            name,
            commit_bytes: bytes.len() as u64,
            commit: checksum,
            metadata: entry_metadata(&commit),
        });
    }
    Ok(entries)
}

/// Reads what a repository in a directory has by the name of a commit, whatever it hashes to.
async fn read_as_it_is(repo: &Repo, object: ObjectName) -> Result<Option<Bytes>> {
    match repo.objects().local() {
        Some(local) => repo.pool().run(move || local.read_metadata(&object)).await,
        None => Ok(None),
    }
}

fn entry_metadata(commit: &Commit) -> Dict {
    let mut metadata = VariantDict::new();
    // As a signed number, which is how dates before 1970 are kept.
    let secs = commit.timestamp.cast_signed();
    if (DATE_SECS_MIN..=DATE_SECS_MAX).contains(&secs) {
        metadata.insert("ostree.commit.timestamp", commit.timestamp.swap_bytes());
    }
    if let Some(Value::Str(version)) = commit.metadata.get("version") {
        metadata.insert("ostree.commit.version", version.as_str());
    }
    metadata.end()
}

async fn metadata(
    repo: &Repo,
    options: &SummaryOptions,
    added: &Dict,
    config: &KeyFile,
    own: Option<&CollectionId>,
    others: BTreeMap<CollectionId, Refs>,
) -> Result<Dict> {
    let flag = |key: &str| {
        let value = config.boolean("core", key);
        let value = value.map_err(|e| bad(&format!("core.{key}"), e))?;
        Ok::<_, Error>(value.unwrap_or(false))
    };
    let mut metadata = VariantDict::from_dict(added);
    if !options.deltas.is_empty() && !flag("no-deltas-in-summary")? {
        let mut deltas = VariantDict::new();
        for (name, superblock) in &options.deltas {
            deltas.insert(name.as_str(), superblock.as_bytes().to_vec());
        }
        metadata.insert("ostree.static-deltas", deltas.end());
    }
    let now = options.now_secs.swap_bytes();
    metadata.insert("ostree.summary.last-modified", now);
    let mode = config.get_raw("core", "mode").unwrap_or("bare");
    metadata.insert("ostree.summary.mode", mode);
    let tombstones = flag("tombstone-commits")?;
    metadata.insert("ostree.summary.tombstone-commits", tombstones);
    metadata.insert("ostree.summary.indexed-deltas", true);
    if let Some(own) = own {
        metadata.insert("ostree.summary.collection-id", own.as_str());
    }
    if !others.is_empty() {
        let mut map = Vec::with_capacity(others.len());
        for (collection, refs) in others {
            let refs = entries(repo, refs, options.damaged).await?;
            let refs = refs.into_iter().map(entry_value);
            let refs = Value::array(entry_type(), refs.collect());
            let key = Value::from(collection.as_str());
            map.push(Value::DictEntry(Box::new((key, refs))));
        }
        let element = Type::dict_entry(Type::Str, Type::array(entry_type()));
        metadata.insert("ostree.summary.collection-map", Value::array(element, map));
    }
    Ok(metadata.end())
}

/// Returns the type of a ref in a summary, `(s(taya{sv}))`.
fn entry_type() -> Type {
    let bytes = Type::array(Type::Byte);
    Type::tuple(vec![
        Type::Str,
        Type::tuple(vec![Type::U64, bytes, Type::vardict()]),
    ])
}

fn entry_value(entry: SummaryRef) -> Value {
    let commit = Value::Bytes(entry.commit.as_bytes().to_vec());
    let value = vec![
        Value::U64(entry.commit_bytes),
        commit,
        entry.metadata.into(),
    ];
    Value::Tuple(vec![Value::Str(entry.name), Value::Tuple(value)])
}

/// Commits the metadata of a repository with a collection to the branch `ostree-metadata`: an empty
/// tree whose commit carries it. Returns the commit; `None` if there is no collection.
///
/// For clients that trust signatures of commits more than those of summaries; the C `ostree` does
/// it each time before it makes a summary.
///
/// # Errors
///
/// [`Unavailable`](crate::ErrorKind::Unavailable) when another writer moved the branch meanwhile.
pub async fn commit_repo_metadata(
    repo: &Repo,
    options: &SummaryOptions,
) -> Result<Option<Checksum>> {
    let Some(collection) = repo.collection_id().await? else {
        return Ok(None);
    };
    // Until the branch has moved nothing leads to the new commit, and a prune would delete it.
    let lock = repo.objects().lock(LockKind::Shared).await?;
    let branch = METADATA_BRANCH.parse()?;
    let name = RefName::Local(branch);
    let old = repo.refs().read_ref(&name).await?;
    let parent = repo.follow_ref(&name).await?;
    let mut added = options.metadata.clone();
    if let (Some(parent), KeepKeys::Flatpak) = (&parent, options.keep) {
        let before = repo.load_commit(parent).await?;
        options.keep.add(&before.metadata, &mut added);
    }
    let mut metadata = VariantDict::from_dict(&added);
    metadata.insert("ostree.collection-binding", collection.as_str());
    let refs = Value::strings([METADATA_BRANCH]);
    metadata.insert("ostree.ref-binding", refs);
    let tree = DirTree::default().to_bytes();
    let meta = DirMeta {
        uid: 0,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::default(),
    };
    let meta = meta.to_bytes();
    let commit = Commit {
        metadata: metadata.end(),
        parent,
        related: Vec::new(),
        subject: String::new(),
        body: String::new(),
        timestamp: options.now_secs,
        tree: Checksum::of(&tree),
        meta: Checksum::of(&meta),
    };
    let bytes = commit.to_bytes();
    let checksum = Checksum::of(&bytes);
    let batch = repo.objects().begin(BatchOptions::default()).await?;
    let objects = vec![
        Incoming::recorded_metadata(ObjectType::DirTree, tree),
        Incoming::recorded_metadata(ObjectType::DirMeta, meta),
        Incoming::recorded_metadata(ObjectType::Commit, bytes),
    ];
    for put in batch.put(objects).await {
        put?;
    }
    batch.commit().await?;
    if !options.signers.is_empty() {
        sign_commit(repo, &checksum, &options.signers).await?;
    }
    let update = RefUpdate {
        name: name.clone(),
        expected: old.map_or(ExpectedRef::Absent, ExpectedRef::Value),
        new: Some(RefValue::Commit(checksum)),
    };
    let answers = repo.refs().update_refs(&[update]).await?;
    drop(lock);
    if answers != [RefAnswer::Committed] {
        let kind = ErrorKind::Unavailable { retry_after: None };
        let problem = "was moved by another writer meanwhile";
        return Err(Error::new(kind, problem).about(crate::Subject::Ref(name.to_string())));
    }
    Ok(Some(checksum))
}
