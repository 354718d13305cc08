//! What to record, and how.

use std::path::PathBuf;
use std::sync::Arc;

use super::archive::ArchiveInput;
use super::consume::Unconsumed;
use super::path_rules::{SkipList, StatOverrides};
use crate::format::gvariant::Value;
use crate::format::{Branch, Checksum, Refspec};
use crate::ops::labels::Labels;
use crate::ops::replicate::BeforeCommit;
use crate::repo::{Progress, TreeRoot};
use crate::sign::Signer;
use crate::store::{Durability, RefValue};

/// What to record as a commit.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// What has to happen when all is stored, and nothing is visible yet.
    pub before_commit: Option<Arc<dyn BeforeCommit>>,
    /// The ref to move to the new commit; its name is bound into the commit. Without one the
    /// commit is an orphan.
    pub target: Option<Refspec>,
    /// The commit before this one.
    pub parent: Parent,
    /// One line.
    pub subject: String,
    /// Any number of lines.
    pub body: String,
    /// When it is recorded, seconds since 1970 UTC.
    pub timestamp: u64,
    /// A commit whose tree is there before anything else; the modifier does not apply to it.
    pub base: Option<Checksum>,
    /// What is laid over one another, in order.
    pub trees: Vec<TreeInput>,
    /// Changes to what is found.
    pub modifier: Modifier,
    /// Metadata, in the order in which it is stored. A key may occur twice.
    pub metadata: Vec<(String, Value)>,
    /// Keys whose values are taken over from the parent; they stand after `metadata`.
    pub keep_metadata: Vec<String>,
    /// Metadata beside the commit, in order; what the commit had is replaced.
    pub detached_metadata: Vec<(String, Value)>,
    /// Who signs the commit, before the ref moves to it.
    pub signers: Vec<Arc<dyn Signer>>,
    /// Which refs and collection are bound into the commit.
    pub bindings: Bindings,
    /// Whether it is marked bootable.
    pub bootable: Bootable,
    /// Whether it records the digest of its composefs image.
    pub image_digest: ImageDigest,
    /// Whether the sizes of its objects are recorded in it.
    pub sizes: Sizes,
    /// What to do when the tree is that of the parent.
    pub unchanged: Unchanged,
    /// What becomes of files in directories that were recorded.
    pub sources: SourceUse,
    /// What to make of files that are hard links to objects of the repository.
    pub hard_links: HardLinks,
    /// How durability is bought.
    pub durability: Durability,
    /// Who listens.
    pub progress: Progress,
}

/// The commit before the new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parent {
    /// What [`CommitOptions::target`] holds.
    #[default]
    Target,
    /// There is none.
    None,
    /// This one; it need not be in the repository.
    Commit(Checksum),
}

/// A tree to lay over the ones before it.
///
/// Directories are merged, files replaced; a file does not replace a directory, nor the other way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TreeInput {
    /// A directory of this machine.
    Dir(PathBuf),
    /// What is in an archive.
    Archive(ArchiveInput),
    /// The tree of a commit.
    Commit(Checksum),
}

/// Changes to what is found in the trees, in the order of the fields.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Modifier {
    /// The owner of everything.
    pub owner_uid: Option<u32>,
    /// The group of everything.
    pub owner_gid: Option<u32>,
    /// What becomes of write permission for executable files.
    pub executables: Executables,
    /// Modes of single paths.
    pub stat_overrides: StatOverrides,
    /// Paths that are left out.
    pub skip_list: SkipList,
    /// What becomes of owners and permissions in general.
    pub permissions: Permissions,
    /// What becomes of extended attributes.
    pub xattrs: XattrPolicy,
    /// SELinux labels, in place of those that are found.
    pub labels: Option<Arc<Labels>>,
}

/// What becomes of write permission for executable files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Executables {
    /// It stays.
    #[default]
    AsFound,
    /// It is dropped.
    ReadOnly,
}

/// What becomes of owners and permissions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Permissions {
    /// They are recorded as found.
    #[default]
    AsFound,
    /// Owner and group become 0, modes lose all but 0755 (symbolic links keep theirs), and
    /// extended attributes are dropped. Always so in a repository of mode `bare-user-only`.
    Canonical,
}

/// What becomes of extended attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XattrPolicy {
    /// They are recorded, unless the repository is set not to.
    #[default]
    Record,
    /// They are dropped.
    Drop,
}

/// Which refs and collection are bound into a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bindings {
    /// The target and these, and the repository's collection if it has one.
    Record(Vec<Branch>),
    /// None.
    Omit,
}

impl Default for Bindings {
    fn default() -> Self {
        Self::Record(Vec::new())
    }
}

/// Whether a commit is marked bootable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bootable {
    /// It is not.
    #[default]
    No,
    /// It is, with the version of the one kernel below `usr/lib/modules`.
    Yes,
}

/// Whether a commit records the digest of its composefs image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageDigest {
    /// It does not.
    #[default]
    Omit,
    /// It does, which takes reading all content back from where it was put.
    Record,
}

/// Whether the sizes of its objects are recorded in a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sizes {
    /// They are not.
    #[default]
    Omit,
    /// They are, if the repository is an archive: others do not know the compressed sizes.
    Record,
}

/// What to do when the tree is that of the parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unchanged {
    /// Commit all the same.
    #[default]
    Commit,
    /// Do nothing.
    Skip,
}

/// What becomes of files in directories that were recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceUse {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted with the directories and with what was left out, once the commit is
    /// durable; what was added meanwhile stays. A store on the same filesystem may move files into
    /// place rather than copy them, so after a failure part of them may be gone.
    Consume,
}

/// What to make of files that are hard links to objects of the repository.
///
/// Such as a checkout consists of, where the repository's content can be linked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HardLinks {
    /// Nothing: they are read like others.
    #[default]
    Read,
    /// They are the object and not read, unless the modifier makes another of them.
    Recognise,
    /// They are the object, and the modifier does not apply to them.
    Trust,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitReport {
    /// The commit; the parent if the tree is unchanged.
    pub commit: Checksum,
    /// Its tree.
    pub root: TreeRoot,
    /// Its parent.
    pub parent: Option<Checksum>,
    /// How it ended.
    pub outcome: CommitOutcome,
    /// What was written.
    pub stats: CommitStats,
    /// What was to be consumed and was not, because the ref moved: nothing else holds on to the
    /// commit then, and whoever records it again deletes the sources after that.
    pub unconsumed: Unconsumed,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// It is recorded and durable, and so is the ref, if there is one. A repository that keeps its
    /// summary up to date wants a new one now.
    Committed,
    /// The tree is that of the parent, and there is no new commit.
    Unchanged,
    /// It is recorded, but the ref was moved by someone else meanwhile and left alone.
    RefMoved {
        /// What the ref holds.
        current: Option<RefValue>,
    },
}

/// What a commit wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitStats {
    /// Dirtrees, dirmetas and commits that the trees consist of, each time they occur.
    pub metadata_total: u64,
    /// Those that were new.
    pub metadata_written: u64,
    /// Files and symbolic links that were read.
    pub content_total: u64,
    /// Those that were new.
    pub content_written: u64,
    /// Files that were recognised as hard links to objects and not read.
    pub content_cache_hits: u64,
    /// Content bytes of the files that were new, before any compression.
    pub content_bytes_written: u64,
}
