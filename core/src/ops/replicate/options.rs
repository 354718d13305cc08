//! What to replicate, and within which limits.

use std::sync::Arc;

use super::gate::{BeforeCommit, CommitGate, Prefill};

use crate::format::{METADATA_BYTES_MAX, TREE_DEPTH_MAX};
use crate::repo::{Depth, Progress};
use crate::store::Durability;
use crate::transport::Retry;

/// How to replicate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplicateOptions {
    /// How many parents of each commit come along.
    pub depth: Depth,
    /// How much of each commit.
    pub scope: Scope,
    /// Which files are refused.
    pub files: FilePolicy,
    /// Whether objects of sources on this machine are read before they are linked.
    pub local_trust: LocalTrust,
    /// Whether content that a remote sends is hashed before it is kept.
    pub remote_trust: RemoteTrust,
    /// What bounds a hostile remote.
    pub limits: Limits,
    /// How often, and how patiently, a failed request is tried again.
    pub retry: Retry,
    /// The most requests under way at once. Each may hold some hundred KiB in memory.
    pub requests_max: usize,
    /// How durability is bought.
    pub durability: Durability,
    /// Who decides whether a commit may come in.
    pub gate: Option<Arc<dyn CommitGate>>,
    /// What has to happen when all is stored, and nothing is visible yet.
    pub before_commit: Option<Arc<dyn BeforeCommit>>,
    /// Who brings objects by another way first.
    pub prefill: Option<Arc<dyn Prefill>>,
    /// Who listens.
    pub progress: Progress,
}

impl Default for ReplicateOptions {
    fn default() -> Self {
        Self {
            depth: Depth::Parents(0),
            scope: Scope::Everything,
            files: FilePolicy::Any,
            local_trust: LocalTrust::Verify,
            remote_trust: RemoteTrust::Verify,
            limits: Limits::default(),
            retry: Retry::default(),
            requests_max: 24,
            durability: Durability::Configured,
            gate: None,
            before_commit: None,
            prefill: None,
            progress: Progress::default(),
        }
    }
}

/// How much of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of its tree.
    #[default]
    Everything,
    /// The commit object and its detached metadata; the commit stays marked partial.
    CommitMetadataOnly,
    /// What is at these paths, and the directories on the way; the commit stays marked partial.
    Subpaths(Vec<String>),
}

/// Which files are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FilePolicy {
    /// None.
    #[default]
    Any,
    /// Regular files with mode bits outside of 0775: set-user-id, world-writable and so on.
    BareUserOnly,
}

/// Whether objects of sources on this machine are read before they become another repository's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalTrust {
    /// Each is read once, also where it is then only linked.
    #[default]
    Verify,
    /// The caller vouches that the sources hold what the names say: an object that a hard link makes
    /// one of the destination is not read, and a file that has to be copied counts as what it is named.
    /// Damage comes along. Metadata that has to be copied is verified, as is all that comes from
    /// anywhere but a repository in a directory of this machine, or goes elsewhere.
    Vouched,
}

/// Whether content that comes over a transport is hashed before it becomes the destination's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RemoteTrust {
    /// All of it is.
    #[default]
    Verify,
    /// The caller mirrors an archive, and vouches that it holds what the names say: a file object which
    /// an archive in a directory keeps as it came is not inflated and hashed, and damage comes along.
    ///
    /// It must have come in one piece, as long as was announced, and begin as a file object does; no
    /// [`FilePolicy`] may be asked for. What came in parts is verified, as is all metadata, and all that
    /// goes into a store which is no archive in a directory.
    VouchedMirror,
}

/// What bounds a hostile remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest metadata object, bytes.
    pub metadata_bytes_max: u64,
    /// The longest file as it is transferred, bytes.
    pub content_bytes_max: u64,
    /// How deep directories may be nested.
    pub tree_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_bytes_max: METADATA_BYTES_MAX,
            content_bytes_max: u64::MAX,
            tree_depth_max: TREE_DEPTH_MAX,
        }
    }
}
