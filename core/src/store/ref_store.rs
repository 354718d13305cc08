//! The few names that move.

use std::fmt::{self, Debug};

use async_trait::async_trait;

use crate::error::Result;
use crate::format::{Branch, Checksum, CollectionId, Refspec, RemoteName};

/// The refs of a repository.
#[async_trait]
pub trait RefStore: Debug + Send + Sync + 'static {
    /// Returns what `name` holds, or `None` when there is no such ref. Aliases are not followed.
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>>;

    /// Returns all refs of `space`, sorted by name.
    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>>;

    /// Compares and sets each ref, and answers for each in the same order.
    ///
    /// A lost race is an answer, not an error. Durable when it returns. Whether the set moves as
    /// one is told by [`ref_atomicity`](Self::ref_atomicity); where it does not and one update
    /// conflicts, the others may be committed all the same. The caller makes sure that the commits
    /// are there and durable.
    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>>;

    /// Returns whether a set of updates moves as one.
    fn ref_atomicity(&self) -> RefAtomicity;
}

/// Where a ref stands: one of OSTree's three name spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefName {
    /// A ref of the repository itself, `refs/heads/BRANCH`.
    Local(Branch),
    /// What a remote was last seen to hold, `refs/remotes/REMOTE/BRANCH`.
    Remote(RemoteName, Branch),
    /// A ref of another collection that is mirrored here, `refs/mirrors/COLLECTION/BRANCH`.
    Mirror(CollectionId, Branch),
}

impl RefName {
    /// Returns where a repository that is pulled from keeps a branch: among its own refs, or among
    /// those of a collection that it mirrors.
    pub fn served(collection: Option<&CollectionId>, branch: &Branch) -> Self {
        match collection {
            Some(collection) => Self::Mirror(collection.clone(), branch.clone()),
            None => Self::Local(branch.clone()),
        }
    }

    /// Returns the branch, without what stands before it.
    pub fn branch(&self) -> &Branch {
        match self {
            Self::Local(branch) | Self::Remote(_, branch) | Self::Mirror(_, branch) => branch,
        }
    }

    /// Returns the path below the repository, such as `refs/heads/os/stable`.
    pub fn path(&self) -> String {
        match self {
            Self::Local(branch) => format!("refs/heads/{branch}"),
            Self::Remote(remote, branch) => format!("refs/remotes/{remote}/{branch}"),
            Self::Mirror(collection, branch) => format!("refs/mirrors/{collection}/{branch}"),
        }
    }
}

impl From<Refspec> for RefName {
    fn from(refspec: Refspec) -> Self {
        match refspec.remote {
            Some(remote) => Self::Remote(remote, refspec.branch),
            None => Self::Local(refspec.branch),
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(branch) => write!(f, "{branch}"),
            Self::Remote(remote, branch) => write!(f, "{remote}:{branch}"),
            Self::Mirror(collection, branch) => write!(f, "({collection}, {branch})"),
        }
    }
}

impl Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which refs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefSpace {
    /// All, of all three name spaces.
    All,
    /// The repository's own.
    Local,
    /// Those of one remote.
    Remote(RemoteName),
    /// Those of all mirrored collections.
    Mirrors,
}

/// What a ref holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefValue {
    /// A commit.
    Commit(Checksum),
    /// Another ref of the same name space, which is meant instead.
    Alias(RefName),
}

/// One compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// The ref.
    pub name: RefName,
    /// What it must hold for the update to happen.
    pub expected: ExpectedRef,
    /// What it is to hold; `None` deletes it.
    pub new: Option<RefValue>,
}

/// What a ref must hold for an update to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedRef {
    /// Anything: the last writer wins.
    Any,
    /// Nothing: it must not exist.
    Absent,
    /// Exactly this.
    Value(RefValue),
}

impl ExpectedRef {
    /// Returns whether `current` is what is expected.
    pub fn matches(&self, current: Option<&RefValue>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Value(value) => current == Some(value),
        }
    }
}

/// What became of a [`RefUpdate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefAnswer {
    /// It happened and is durable.
    Committed,
    /// It did not happen: the ref holds something else.
    Conflict {
        /// What it holds.
        current: Option<RefValue>,
    },
}

/// Whether several refs move as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefAtomicity {
    /// All of a set, or none.
    Set,
    /// Each on its own.
    Each,
}
