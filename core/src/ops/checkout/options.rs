//! How to check out.

use std::collections::HashSet;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::error::Result;
use crate::format::Checksum;
use crate::repo::TreeLimits;
use crate::store::Linked;

/// How to check out. The default is what `ostree checkout` does without options.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckoutOptions {
    /// Whether owners and extended attributes are restored.
    pub mode: CheckoutMode,
    /// What happens where something exists already.
    pub overwrite: Overwrite,
    /// Whether files may be, or must be, hard links into the repository.
    pub sharing: Sharing,
    /// What becomes of entries that say what to delete.
    pub whiteouts: Whiteouts,
    /// What becomes of entries that stand for an overlay filesystem's whiteouts.
    pub passthrough_whiteouts: PassthroughWhiteouts,
    /// Which mode bits directories get.
    pub dir_modes: DirModes,
    /// What is left out.
    pub skip: SkipList,
    /// Who knows the security labels. With this all files are copied, as [`Sharing::Copies`] says.
    pub labels: Option<Arc<dyn Labels>>,
    /// Where files are kept unpacked that the repository has compressed. A checkout in
    /// [user mode](CheckoutMode::User) makes links to them, and leaves there what it had to unpack.
    /// What is kept is not verified again.
    pub unpacked: Option<Arc<dyn UnpackedFiles>>,
    /// How far the tree is on disk when checkout returns.
    pub sync: TreeSync,
    /// What the tree may be at most.
    pub limits: TreeLimits,
}

/// Whether owners and extended attributes are restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CheckoutMode {
    /// All as committed. Needs privileges unless everything belongs to the caller.
    ///
    /// From a store whose files have no owners at all this is the same as [`User`](Self::User).
    #[default]
    Full,
    /// Everything belongs to the caller: no owners, no extended attributes, no set-user-id bits,
    /// and files are readable to their owner.
    User,
}

/// What happens where something exists already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// The destination must not exist.
    #[default]
    Refuse,
    /// Existing directories stay as they are and are added to; other files are replaced.
    UnionFiles,
    /// Existing directories stay as they are and are added to; existing files stay.
    AddFiles,
    /// As [`AddFiles`](Self::AddFiles), but existing files must be what was to be checked out.
    UnionIdentical,
}

/// Whether files may be, or must be, hard links into the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Hard links where possible, then shared blocks, then copies.
    ///
    /// A hard link, and shared blocks, show what the repository holds: as with OSTree, content is
    /// verified only where it is copied. Empty files and those that their owner cannot read
    /// are always copied: the former would exhaust link counts, the latter be of no use.
    #[default]
    Links,
    /// Hard links only, where [`Links`](Self::Links) would make one; else an error.
    LinksOnly,
    /// Shared blocks or copies. Directories keep their times.
    Copies,
}

/// What becomes of entries that say what to delete, as in the layers of container images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// They are files like others.
    #[default]
    Keep,
    /// `.wh.NAME` removes `NAME` from the destination; `.wh..wh..opq` empties its directory first.
    Process,
}

/// What becomes of entries that stand for an overlay filesystem's whiteouts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PassthroughWhiteouts {
    /// They are files like others.
    #[default]
    Keep,
    /// `.ostree-wh.NAME` becomes `NAME`, a character device with number 0:0.
    Process,
}

/// Which mode bits directories get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirModes {
    /// All as committed.
    #[default]
    AsCommitted,
    /// Those within 0775: no sticky, set-group-id or world-writable directories.
    BareUserOnly,
}

/// How far the tree is on disk when checkout returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TreeSync {
    /// As far as it happens to be: the caller syncs, or does not care.
    #[default]
    Caller,
    /// Copied files and all directories are synced one by one.
    PerFile,
    /// The whole filesystem is synced once at the end.
    Filesystem,
}

/// Paths that are not checked out.
#[derive(Debug, Clone, Default)]
pub struct SkipList(HashSet<String>);

impl CheckoutOptions {
    /// Returns whether every file gets an inode of its own.
    pub(super) fn copies(&self) -> bool {
        self.sharing == Sharing::Copies || self.labels.is_some()
    }
}

impl SkipList {
    /// Takes paths that begin with `/`, the root of what is checked out (with a subpath: of that).
    ///
    /// A path of a directory ends in `/`, and skips what is in it too. What is not in the tree is
    /// ignored.
    pub fn new(paths: impl IntoIterator<Item = String>) -> Self {
        Self(paths.into_iter().collect())
    }

    /// Returns whether nothing is skipped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether `path` is skipped.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }
}

/// Files of an archive that were unpacked before. **Blocking.**
pub trait UnpackedFiles: Debug + Send + Sync {
    /// Makes `name` in `dir` a hard link to the file object; `None` when it is not kept.
    fn link(&self, checksum: &Checksum, dir: BorrowedFd<'_>, name: &str) -> Result<Option<Linked>>;

    /// Keeps the file object, which was verified and written to `name` in `dir`. That it cannot be
    /// kept is nobody's concern.
    fn keep(&self, checksum: &Checksum, dir: BorrowedFd<'_>, name: &str);
}

/// Knows the security label that a file or directory is to have.
pub trait Labels: Debug + Send + Sync {
    /// Returns the value of `security.selinux` for `path`, which is absolute, with that mode, file
    /// type included; `None` to leave it as committed. Called on the blocking pool; in user mode for
    /// directories and symbolic links alone.
    fn label(&self, path: &str, mode: u32) -> Result<Option<Vec<u8>>>;
}
