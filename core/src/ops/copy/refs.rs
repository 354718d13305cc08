//! Which refs there are to copy.

use crate::error::{Error, Result, Subject};
use crate::format::gvariant::Value;
use crate::format::{Branch, Checksum, CollectionId, Summary};
use crate::ops::pull::PullSource;
use crate::repo::Repo;
use crate::sign::{Trust, VerifyPolicy, require};
use crate::store::{RefName, RefSpace, RefValue};

/// A ref to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRef {
    /// Its name at the destination.
    pub name: RefName,
    /// What it is to hold there.
    pub value: RefValue,
    /// The commit that this leads to.
    pub commit: Checksum,
}

impl CopyRef {
    /// Returns the wish that `name` hold `commit`.
    pub fn commit(name: RefName, commit: Checksum) -> Self {
        let value = RefValue::Commit(commit);
        Self {
            name,
            value,
            commit,
        }
    }
}

/// Returns all refs of a repository, of all three name spaces, by their names: aliases stay aliases.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) names an alias that leads nowhere.
pub async fn all_refs(repo: &Repo) -> Result<Vec<CopyRef>> {
    let mut refs = Vec::new();
    for (name, value) in repo.refs().list_refs(&RefSpace::All).await? {
        let commit = match &value {
            RefValue::Commit(commit) => *commit,
            RefValue::Alias(target) => {
                let found = repo.follow_ref(target).await?;
                found.ok_or_else(|| {
                    let problem = format!("is an alias of '{target}', which does not exist");
                    Error::corrupt(problem).about(Subject::Ref(name.to_string()))
                })?
            }
        };
        refs.push(CopyRef {
            name,
            value,
            commit,
        });
    }
    Ok(refs)
}

/// Returns one ref of a repository, under the same name; `None` when there is no such ref.
pub async fn named_ref(repo: &Repo, name: &RefName) -> Result<Option<CopyRef>> {
    let commit = repo.follow_ref(name).await?;
    Ok(commit.map(|commit| CopyRef::commit(name.clone(), commit)))
}

/// Returns the refs that the summary of a remote lists: its own, and those of collections that it
/// mirrors.
///
/// # Errors
///
/// [`Missing`](crate::ErrorKind::Missing) when there is no summary: nothing else lists the refs.
/// [`Untrusted`](crate::ErrorKind::Untrusted) when it is not signed as `verify` requires.
pub async fn summary_refs(source: &PullSource, verify: &VerifyPolicy) -> Result<Vec<CopyRef>> {
    let url = || Subject::Url(source.repo.describe());
    let bad = |e| {
        Error::corrupt("its summary is not well formed")
            .because(e)
            .about(url())
    };
    let summary = source.repo.read_summary().await?.ok_or_else(|| {
        let problem = "there is no summary to list its refs: name the refs to copy, or have its \
                       owner write one ('summary --update')";
        Error::missing(problem).about(url())
    })?;
    if let Trust::Signed(verifier) = &verify.summary {
        let signature = summary.signature.as_deref();
        require(&**verifier, &summary.summary, signature, verify.now_secs)
            .map_err(|e| e.context("its summary").about(url()))?;
    }
    let summary = Summary::parse(&summary.summary).map_err(bad)?;
    let mut refs = Vec::with_capacity(summary.refs.len());
    for entry in &summary.refs {
        let branch = Branch::new(&entry.name).map_err(bad)?;
        refs.push(CopyRef::commit(RefName::Local(branch), entry.commit));
    }
    let collections = summary.metadata.get("ostree.summary.collection-map");
    for collection in collections.and_then(Value::as_slice).unwrap_or_default() {
        let malformed = || Error::corrupt("its map of collections is not well formed").about(url());
        let Value::DictEntry(entry) = collection else {
            return Err(malformed());
        };
        let (Some(id), Some(entries)) = (entry.0.as_str(), entry.1.as_slice()) else {
            return Err(malformed());
        };
        let id = CollectionId::new(id).map_err(bad)?;
        for entry in entries {
            let (name, commit) = entry_of_map(entry).ok_or_else(malformed)?;
            let name = RefName::Mirror(id.clone(), Branch::new(name).map_err(bad)?);
            refs.push(CopyRef::commit(name, commit));
        }
    }
    Ok(refs)
}

/// Reads `(s(taya{sv}))`.
fn entry_of_map(entry: &Value) -> Option<(&str, Checksum)> {
    let Value::Tuple(members) = entry else {
        return None;
    };
    let [name, Value::Tuple(value)] = members.as_slice() else {
        return None;
    };
    let commit = value.get(1)?.as_bytes()?;
    Some((name.as_str()?, Checksum::from_slice(commit).ok()?))
}
