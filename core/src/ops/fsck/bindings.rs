//! Whether refs and commits name each other.

use std::fmt;

use crate::error::Result;
use crate::format::gvariant::Value;
use crate::format::{Branch, Checksum, CollectionId, Commit};
use crate::repo::Repo;
use crate::store::RefName;

const REF_BINDING: &str = "ostree.ref-binding";
const COLLECTION_BINDING: &str = "ostree.collection-binding";

/// How a ref and a commit fail to name each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unbound {
    /// The commit must say which refs it is for, and does not.
    NoRefs,
    /// It is for other refs.
    OtherRefs(Vec<String>),
    /// The commit must say which collection it is for, and does not.
    NoCollection,
    /// It is for another collection.
    OtherCollection(String),
    /// The commit is for this ref, which does not exist.
    NoSuchRef(String),
    /// The commit is for this ref, which holds another.
    RefElsewhere(String, Checksum),
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRefs => f.write_str("its commit is not bound to any ref"),
            Self::OtherRefs(refs) if refs.is_empty() => {
                f.write_str("its commit is bound to no ref at all")
            }
            Self::OtherRefs(refs) => write!(f, "its commit is bound to {}", refs.join(", ")),
            Self::NoCollection => f.write_str("its commit is not bound to a collection"),
            Self::OtherCollection(id) => write!(f, "its commit is bound to the collection {id}"),
            Self::NoSuchRef(name) => write!(f, "is bound to the ref {name}, which does not exist"),
            Self::RefElsewhere(name, other) => {
                write!(f, "is bound to the ref {name}, which holds {other}")
            }
        }
    }
}

/// Checks that `commit` is bound to the ref that holds it.
///
/// A commit without bindings may be anywhere but in a collection.
pub(super) fn check_ref(
    own: Option<&CollectionId>,
    name: &RefName,
    commit: &Commit,
) -> std::result::Result<(), Unbound> {
    let collection = match name {
        RefName::Mirror(collection, _) => Some(collection),
        RefName::Local(_) => own,
        RefName::Remote(..) => None,
    };
    let Some(refs) = bound_refs(commit) else {
        return match collection {
            None => Ok(()),
            Some(_) => Err(Unbound::NoRefs),
        };
    };
    if !refs.contains(&name.branch().as_str()) {
        let refs = refs.into_iter().map(str::to_owned).collect();
        return Err(Unbound::OtherRefs(refs));
    }
    let Some(collection) = collection else {
        return Ok(());
    };
    match bound_collection(commit) {
        None => Err(Unbound::NoCollection),
        Some(bound) if bound != collection.as_str() => {
            Err(Unbound::OtherCollection(bound.to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// Checks that the refs that a commit is bound to hold it; returns the first that does not.
pub(super) async fn check_back_refs(
    repo: &Repo,
    checksum: &Checksum,
    commit: &Commit,
) -> Result<Option<Unbound>> {
    let collection = bound_collection(commit);
    for text in bound_refs(commit).unwrap_or_default() {
        let display = match collection {
            Some(id) => format!("({id}, {text})"),
            None => text.to_owned(),
        };
        match holder(repo, collection, text).await? {
            None => return Ok(Some(Unbound::NoSuchRef(display))),
            Some(other) if other != *checksum => {
                return Ok(Some(Unbound::RefElsewhere(display, other)));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Returns the commit that a ref of a commit's bindings holds.
async fn holder(repo: &Repo, collection: Option<&str>, text: &str) -> Result<Option<Checksum>> {
    let Ok(branch) = Branch::new(text) else {
        return Ok(None);
    };
    let Some(id) = collection else {
        let refspec = crate::format::Refspec {
            remote: None,
            branch,
        };
        return repo.resolve_refspec(&refspec).await;
    };
    let Ok(id) = CollectionId::new(id) else {
        return Ok(None);
    };
    if repo.collection_id().await?.as_ref() == Some(&id)
        && let Some(found) = repo.follow_ref(&RefName::Local(branch.clone())).await?
    {
        return Ok(Some(found));
    }
    repo.follow_ref(&RefName::Mirror(id, branch)).await
}

fn bound_refs(commit: &Commit) -> Option<Vec<&str>> {
    let refs = commit.metadata.get(REF_BINDING)?.as_slice()?;
    refs.iter().map(Value::as_str).collect()
}

fn bound_collection(commit: &Commit) -> Option<&str> {
    commit.metadata.get(COLLECTION_BINDING)?.as_str()
}
