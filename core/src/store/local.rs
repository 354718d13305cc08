//! Stores whose payloads are plain files on this machine.

use std::ffi::CString;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::format::{Checksum, FileHeader, ObjectName};
use crate::spill::SpillPlace;

/// The view of a store as plain files. All of it is **blocking**: call it on the blocking pool.
///
/// Checkout, local import and `fsck` work through this when it is there, and through
/// [`ObjectSource::fetch`](super::ObjectSource::fetch) when not.
pub trait LocalObjects: Debug + Send + Sync {
    /// Reads the bytes of a metadata object. Not verified.
    fn read_metadata(&self, name: &ObjectName) -> Result<Option<Bytes>>;

    /// Names the file that a metadata object is; `None` when it is not here.
    fn metadata_file(&self, name: &ObjectName) -> Result<Option<LocalFile>>;

    /// Opens a file object: its header, and its content if that is a regular file. Not verified.
    fn open_file(&self, checksum: &Checksum) -> Result<Option<LocalObject>>;

    /// Returns what a hard link to a file object of this store would show in a checkout.
    fn link_view(&self) -> LinkView;

    /// Makes `name` in `dir` a hard link to the file object; `None` when it is not here.
    fn link_file(
        &self,
        checksum: &Checksum,
        dir: BorrowedFd<'_>,
        name: &str,
    ) -> Result<Option<Linked>>;

    /// Returns which file object the file with this device and inode is, as far as a walk over the
    /// store can tell; filled by the first call.
    fn object_of_inode(&self, device: u64, inode: u64) -> Result<Option<Checksum>>;

    /// Returns the directory of the repository, for messages and comparisons.
    fn directory(&self) -> PathBuf;

    /// Returns where temporary files that belong to the repository may go.
    fn spill_place(&self) -> Option<SpillPlace>;
}

/// A file object, opened.
#[derive(Debug)]
pub struct LocalObject {
    /// The header.
    pub header: FileHeader,
    /// How long the content is; 0 for a symbolic link.
    pub content_bytes: u64,
    /// The content, if it is a regular file.
    pub content: LocalContent,
}

/// The content of a local file object.
#[derive(Debug)]
pub enum LocalContent {
    /// A symbolic link has none.
    None,
    /// A file whose bytes are the content.
    Plain(LocalFile),
    /// A file in the `.filez` framing, positioned before its header.
    Filez(LocalFile),
}

/// What a hard link to an object shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkView {
    /// The file as committed: owner, mode, extended attributes.
    Full,
    /// Content and mode; owner and extended attributes are kept elsewhere.
    User,
    /// Content and mode, and the tree has no owners or extended attributes at all.
    UserOnly,
    /// Content cannot be linked, as in an archive.
    None,
}

/// What became of a request for a hard link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// The link was made.
    Done,
    /// Something of that name exists.
    Exists,
    /// The link count is exhausted, or the filesystem is another or refuses: copy instead.
    Refused,
}

/// A regular file on this machine, opened only when it is read.
#[derive(Debug, Clone)]
pub struct LocalFile {
    dir: Arc<OwnedFd>,
    name: CString,
    takeover: Takeover,
}

/// What a store of plain files may do with a [`LocalFile`] beyond reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing, or share its blocks.
    Reflink,
    /// Make a hard link to it, if that shows there what it shows here; or share its blocks.
    Link(LinkView),
    /// Rename it away: its owner no longer wants it.
    Rename,
}

impl LocalFile {
    /// Names the file `name`, a path relative to `dir`.
    pub fn new(dir: Arc<OwnedFd>, name: CString, takeover: Takeover) -> Self {
        Self {
            dir,
            name,
            takeover,
        }
    }

    /// Opens it for reading; a symbolic link is not followed.
    pub fn open(&self) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(&*self.dir, self.name.as_c_str(), flags, Mode::empty())
            .map(File::from)
            .map_err(|e| Error::io("cannot be opened", e).about(self.path()))
    }

    /// Returns the directory that the name is relative to.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Returns the name.
    pub fn name(&self) -> &std::ffi::CStr {
        &self.name
    }

    /// Returns what may be done with it.
    pub fn takeover(&self) -> Takeover {
        self.takeover
    }

    /// Returns the name as a path, for messages.
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(self.name.to_bytes()))
    }
}
