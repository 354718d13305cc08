//! Finds remotes that have refs of a collection: those that are configured, and sticks.
//!
//! What is found is not believed. Of each commit that somebody says is the newest its object is
//! fetched and hashed, and must be bound to the ref and to the collection, and signed as the
//! configured remote of that collection requires. Only then it takes part in the choice.

use std::collections::BTreeMap;
use std::path::Path;

use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::Value;
use treeferry_core::format::{Branch, Checksum, CollectionId, Commit, ObjectName, Summary};
use treeferry_core::ops::copy::summary_refs;
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::{RemoteConfig, Repo, load_metadata};
use treeferry_core::sign::{Trust, VerifyPolicy, require};
use treeferry_core::store::{RefName, SignedSummary};
use treeferry_transport_usb::{Stick, Volume};

use crate::failure::{Failure, Result};
use crate::place::Opened;
use crate::session::{Session, configs};
use crate::{source, stick, trust};

/// A ref of a collection.
pub(crate) type Pair = (CollectionId, Branch);

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finder {
    Config,
    Lan,
    Mount,
}

/// A remote that has some of the refs.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) uri: String,
    pub(crate) finder: Finder,
    /// The configured remote whose keys count.
    pub(crate) remote: RemoteConfig,
    /// When its summary was written, seconds since 1970, if it has one that says so.
    pub(crate) summary_secs: Option<u64>,
    /// The newest commits that it has.
    pub(crate) refs: BTreeMap<Pair, Newest>,
    pub(crate) source: PullSource,
}

/// A commit that a remote has for a ref, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) commit: Checksum,
    pub(crate) timestamp: u64,
}

impl Finder {
    /// Returns the name that OSTree gives it.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Config => "OstreeRepoFinderConfig",
            Self::Lan => "OstreeRepoFinderAvahi",
            Self::Mount => "OstreeRepoFinderMount",
        }
    }

    /// Returns its place among the others: the lowest comes first.
    pub(crate) fn priority(self) -> u32 {
        match self {
            Self::Mount => 50,
            Self::Lan => 60,
            Self::Config => 100,
        }
    }
}

/// Looks everywhere for `pairs`. Of each ref only the newest commit is left, and of the remotes those
/// that have the newest of something.
pub(crate) async fn find(
    session: &Session,
    opened: &Opened,
    finders: &[Finder],
    pairs: &[Pair],
) -> Result<Vec<Found>> {
    let remotes = remotes_of_collections(opened, pairs).await?;
    let mut found = Vec::new();
    if finders.contains(&Finder::Mount) {
        let first = first_of_collections(&remotes);
        for volume in Volume::plugged_in()? {
            on_volume(session, &volume.mount_point, &first, pairs, &mut found).await;
        }
    }
    if finders.contains(&Finder::Config) {
        for remote in &remotes {
            match configured(session, &opened.repo, remote, pairs).await {
                Ok(remote) => found.extend(remote),
                Err(error) => left_out(&remote.url, &error),
            }
        }
    }
    Ok(newest_of(found))
}

/// Says of a place why it is not among what is found.
fn left_out(place: &str, why: &Failure) {
    tracing::warn!("{place}: {why}");
    // By default nothing is logged; that a stick is left out must be seen all the same.
    eprintln!("warning: {place}: left out: {why}");
}

/// Returns the remotes of the collections, in the order of the configuration.
async fn remotes_of_collections(opened: &Opened, pairs: &[Pair]) -> Result<Vec<RemoteConfig>> {
    let mut remotes: Vec<RemoteConfig> = Vec::new();
    for config in configs(opened).await? {
        for name in RemoteConfig::list(&config) {
            let Some(remote) = RemoteConfig::read(&config, &name)? else {
                continue;
            };
            let Some(id) = &remote.collection_id else {
                continue;
            };
            let wanted = pairs.iter().any(|(wanted, _)| wanted == id);
            let known = |other: &RemoteConfig| other.name == name;
            if wanted && !remotes.iter().any(known) {
                remotes.push(remote);
            }
        }
    }
    Ok(remotes)
}

/// Returns the first remote of each of the collections: its keys count for what a stick has.
fn first_of_collections(remotes: &[RemoteConfig]) -> Vec<RemoteConfig> {
    let mut first: Vec<RemoteConfig> = Vec::new();
    for remote in remotes {
        if first
            .iter()
            .all(|other| other.collection_id != remote.collection_id)
        {
            first.push(remote.clone());
        }
    }
    first
}

/// Looks at the repositories of a stick. What a later one has is left out if an earlier one of the
/// same stick has it as new.
async fn on_volume(
    session: &Session,
    mount: &Path,
    remotes: &[RemoteConfig],
    pairs: &[Pair],
    found: &mut Vec<Found>,
) {
    let Ok(stick) = Stick::open(mount) else {
        return;
    };
    let mut of_stick: Vec<Found> = Vec::new();
    for repo in stick.repos() {
        let uri = format!("file://{}", repo.path.display());
        let opened = match stick::open_repo(repo.path).await {
            Ok(opened) => opened,
            Err(error) => {
                left_out(&uri, &error);
                continue;
            }
        };
        for remote in remotes {
            match in_repo(session, &opened, remote, pairs, &uri).await {
                Ok(mut one) => {
                    one.refs.retain(|pair, newest| {
                        let earlier = of_stick.iter().filter_map(|found| found.refs.get(pair));
                        earlier.into_iter().all(|e| e.timestamp < newest.timestamp)
                    });
                    of_stick.push(one);
                }
                Err(error) => left_out(&uri, &error),
            }
        }
    }
    found.extend(of_stick);
}

async fn in_repo(
    session: &Session,
    opened: &Opened,
    remote: &RemoteConfig,
    pairs: &[Pair],
    uri: &str,
) -> Result<Found> {
    let repo = &opened.repo;
    let source = PullSource::from(repo.clone());
    let own = repo.collection_id().await?;
    let policy = trust::at_hand(session, remote).await?;
    let summary = source.repo.read_summary().await?;
    let mut refs = BTreeMap::new();
    for pair in of_collection(pairs, remote) {
        let (id, branch) = pair;
        let mirrored = RefName::Mirror(id.clone(), branch.clone());
        let mut commit = repo.follow_ref(&mirrored).await?;
        if commit.is_none() && own.as_ref() == Some(id) {
            commit = repo.follow_ref(&RefName::Local(branch.clone())).await?;
        }
        add_verified(&mut refs, &source, pair, commit, &policy, uri).await;
    }
    Ok(Found {
        uri: uri.to_owned(),
        finder: Finder::Mount,
        remote: remote.clone(),
        summary_secs: summary.and_then(|summary| written_secs(&summary)),
        refs,
        source,
    })
}

fn of_collection<'a>(
    pairs: &'a [Pair],
    remote: &'a RemoteConfig,
) -> impl Iterator<Item = &'a Pair> {
    let id = remote.collection_id.as_ref();
    pairs.iter().filter(move |(wanted, _)| Some(wanted) == id)
}

/// Looks at a configured remote, which says in its summary what it has.
async fn configured(
    session: &Session,
    repo: &Repo,
    remote: &RemoteConfig,
    pairs: &[Pair],
) -> Result<Option<Found>> {
    let policy = trust::at_hand(session, remote).await?;
    let http = source::http_options(repo, remote, session.name).await?;
    let source = source::open(&remote.url, remote.content_url.as_deref(), &http).await?;
    let Some(summary) = source.repo.read_summary().await? else {
        return Ok(None);
    };
    let own = own_collection(&summary)?;
    let listed = summary_refs(&source, &policy).await?;
    let mut refs = BTreeMap::new();
    for pair in of_collection(pairs, remote) {
        let (id, branch) = pair;
        let is_it = |name: &RefName| match name {
            RefName::Local(listed) => own.as_ref() == Some(id) && listed == branch,
            RefName::Mirror(collection, listed) => collection == id && listed == branch,
            RefName::Remote(..) => false,
        };
        let commit = listed.iter().find(|listed| is_it(&listed.name));
        let commit = commit.map(|listed| listed.commit);
        add_verified(&mut refs, &source, pair, commit, &policy, &remote.url).await;
    }
    Ok(Some(Found {
        uri: remote.url.clone(),
        finder: Finder::Config,
        remote: remote.clone(),
        summary_secs: written_secs(&summary),
        refs,
        source,
    }))
}

fn own_collection(summary: &SignedSummary) -> Result<Option<CollectionId>> {
    let parsed = Summary::parse(&summary.summary)?;
    let id = parsed.metadata.get("ostree.summary.collection-id");
    Ok(id.and_then(Value::as_str).and_then(|id| id.parse().ok()))
}

fn written_secs(summary: &SignedSummary) -> Option<u64> {
    let parsed = Summary::parse(&summary.summary).ok()?;
    match parsed.metadata.get("ostree.summary.last-modified")? {
        Value::U64(swapped) => Some(swapped.swap_bytes()),
        _ => None,
    }
}

async fn add_verified(
    refs: &mut BTreeMap<Pair, Newest>,
    source: &PullSource,
    pair: &Pair,
    commit: Option<Checksum>,
    policy: &VerifyPolicy,
    uri: &str,
) {
    let Some(commit) = commit else { return };
    match verified(source, pair, &commit, policy).await {
        Ok(newest) => {
            refs.insert(pair.clone(), newest);
        }
        Err(error) => left_out(uri, &error.context(format!("({}, {})", pair.0, pair.1))),
    }
}

/// Fetches a commit object, and checks what can be checked before it is pulled.
async fn verified(
    source: &PullSource,
    (id, branch): &Pair,
    commit: &Checksum,
    policy: &VerifyPolicy,
) -> Result<Newest> {
    let name = ObjectName::commit(*commit);
    let bytes = load_metadata(&*source.objects, &name).await?;
    let bytes = bytes.ok_or_else(|| {
        let missing = treeferry_core::Error::new(ErrorKind::Missing, "is not there");
        Failure::from(missing.about(name))
    })?;
    let parsed = Commit::parse(&bytes)?;
    let bound_to = parsed.metadata.get("ostree.collection-binding");
    if bound_to.and_then(Value::as_str) != Some(id.as_str()) {
        return Err(Failure::new(format!(
            "commit {commit} is not bound to the collection"
        )));
    }
    let bound = parsed.metadata.get("ostree.ref-binding");
    let bound = bound.and_then(Value::as_slice).unwrap_or_default();
    if !bound
        .iter()
        .any(|name| name.as_str() == Some(branch.as_str()))
    {
        return Err(Failure::new(format!(
            "commit {commit} is not bound to the ref"
        )));
    }
    if let Trust::Signed(verifier) = &policy.commits {
        let detached = source.repo.read_detached(commit).await?;
        require(&**verifier, &bytes, detached.as_deref(), policy.now_secs)
            .map_err(|e| e.about(name))?;
    }
    Ok(Newest {
        commit: *commit,
        timestamp: parsed.timestamp,
    })
}

/// Leaves of each ref the newest commit, and sorts the remotes: the nearest first.
fn newest_of(mut found: Vec<Found>) -> Vec<Found> {
    let mut newest: BTreeMap<Pair, u64> = BTreeMap::new();
    for (pair, commit) in found.iter().flat_map(|found| &found.refs) {
        let known = newest.entry(pair.clone()).or_default();
        *known = commit.timestamp.max(*known);
    }
    for one in &mut found {
        one.refs
            .retain(|pair, commit| newest.get(pair) == Some(&commit.timestamp));
    }
    found.retain(|one| !one.refs.is_empty());
    found.sort_by(|a, b| {
        let place = |found: &Found| {
            let (priority, written) = (found.finder.priority(), found.summary_secs);
            (priority, written, found.remote.name.to_string())
        };
        place(a).cmp(&place(b))
    });
    found
}
