//! What a check found.

use std::fmt;

use super::Unbound;
use crate::error::Error;
use crate::format::{Checksum, ObjectName};
use crate::store::RefName;

/// What a check found, and how much it looked at.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct FsckReport {
    /// Refs that were followed.
    pub refs: u64,
    /// Commits that could be read, the partial ones included.
    pub commits: u64,
    /// Commits that are marked partial: their trees were not looked at.
    pub commits_partial: u64,
    /// Those of them that an earlier check marked.
    pub commits_damaged_before: u64,
    /// Dirtrees and dirmetas that were read.
    pub metadata_objects: u64,
    /// Files that were read.
    pub content_objects: u64,
    /// How much content they hold, bytes.
    pub content_bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Commits that were marked partial.
    pub marked_partial: Vec<Checksum>,
    /// Objects that were deleted.
    pub deleted: Vec<ObjectName>,
    /// Missing commits for which a tombstone was written.
    pub tombstones: Vec<Checksum>,
}

impl FsckReport {
    /// Returns whether nothing is wrong, now or since an earlier check.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.commits_damaged_before == 0
    }
}

/// One thing that is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The object that it is about, if it is about one.
    pub object: Option<ObjectName>,
    /// The ref that it is about, if it is about one.
    pub reference: Option<RefName>,
    /// What is wrong.
    pub problem: Problem,
    /// The commits that need the object, or the one that the ref holds.
    pub commits: Vec<Checksum>,
    /// A path at which the object stands in the first of these commits.
    pub path: Option<String>,
}

/// What is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The object is not there.
    Missing,
    /// The object is not what its name says, not well formed, or cannot be read.
    Damaged(Error),
    /// The ref holds a commit that is missing or damaged.
    NoCommit,
    /// The ref and the commit do not name each other.
    Unbound(Unbound),
}

impl Finding {
    pub(super) fn of_object(object: ObjectName, problem: Problem) -> Self {
        Self {
            object: Some(object),
            reference: None,
            problem,
            commits: Vec::new(),
            path: None,
        }
    }

    pub(super) fn of_ref(name: RefName, problem: Problem) -> Self {
        Self {
            object: None,
            reference: Some(name),
            problem,
            commits: Vec::new(),
            path: None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.reference {
            write!(f, "ref {name}: ")?;
        }
        match (&self.problem, &self.object) {
            (Problem::Missing, Some(object)) => write!(f, "{object} is missing")?,
            (Problem::Missing, None) => f.write_str("missing")?,
            (Problem::Damaged(error), object) => {
                // The error names its object itself, where it knows it.
                if let (Some(object), None) = (object, error.subject()) {
                    write!(f, "object {object}: ")?;
                }
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
            }
            (Problem::NoCommit, _) => f.write_str("its commit is missing or damaged")?,
            (Problem::Unbound(unbound), object) => {
                if let Some(object) = object {
                    write!(f, "object {object}: ")?;
                }
                write!(f, "{unbound}")?;
            }
        }
        if let Some(path) = &self.path {
            write!(f, ", at {path}")?;
        }
        for (i, commit) in self.commits.iter().enumerate() {
            f.write_str(if i == 0 { ", in commit " } else { ", " })?;
            write!(f, "{commit}")?;
        }
        Ok(())
    }
}
