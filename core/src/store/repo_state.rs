//! What a repository holds besides objects and refs: mutable, or named otherwise.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::format::Checksum;
use crate::format::delta::DeltaFile;
use crate::transport::{FetchedFile, PutBody};

/// The state of a repository that is neither object nor ref.
#[async_trait]
pub trait RepoState: Debug + Send + Sync + 'static {
    /// Returns the detached metadata of `commit`, the bytes of an `a{sv}`.
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>>;

    /// Replaces the detached metadata of `commit` if it still is `expected`; `None`: not there.
    ///
    /// Signing is read-modify-write, hence the comparison. Durable when it returns.
    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap>;

    /// Returns whether, and why, `commit` is known not to have all its objects.
    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>>;

    /// Marks `commit` partial, or whole. Durable when it returns, so that a mark set before a
    /// commit object is written is there whenever the object is.
    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()>;

    /// Returns all commits that are marked partial.
    async fn list_partial(&self) -> Result<Vec<Checksum>>;

    /// Returns whether `commit` is recorded as deleted on purpose.
    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>>;

    /// Records `commit` as deleted on purpose; `None` forgets it.
    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()>;

    /// Returns the summary and its signature, read together.
    async fn read_summary(&self) -> Result<Option<SignedSummary>>;

    /// Replaces the summary and its signature; `None` deletes both.
    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()>;

    /// Returns the configuration, the bytes of a key file.
    async fn read_config(&self) -> Result<Bytes>;

    /// Replaces the configuration if it still is `expected`.
    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap>;

    /// Reads a file that belongs to the repository by `name`, such as a keyring or cookies.
    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>>;

    /// Replaces such a file; `None` deletes it.
    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()>;

    /// Lists the files of all deltas, and the indexes of deltas, in no particular order.
    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>>;

    /// Opens a file of a delta from the byte `offset` on. `None` when it is not there.
    ///
    /// What is read is **not verified**. [`Invalid`](crate::error::ErrorKind::Invalid) for an
    /// offset beyond the end; the end itself is none.
    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>>;

    /// Writes a file of a delta whole: others see the old one or the new one, never a part.
    ///
    /// Durable when it returns. The superblock comes last: with it, a delta is there.
    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()>;

    /// Deletes files of deltas, in that order; those that are not there are no error.
    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()>;
}

/// One of the files that belong to deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedDeltaFile {
    /// Which.
    pub file: DeltaFile,
    /// How long it is.
    pub bytes: u64,
}

/// What became of a compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// It happened.
    Done,
    /// It did not: the value is another.
    Conflict {
        /// What it is.
        current: Option<Bytes>,
    },
}

/// Why a commit does not have all its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partial {
    /// It was pulled in part, or a pull was interrupted.
    Fetching,
    /// A check found objects damaged and removed them.
    Damaged,
}

/// A summary, and the signature file beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSummary {
    /// The bytes of the summary.
    pub summary: Bytes,
    /// The bytes of `summary.sig`, an `a{sv}`.
    pub signature: Option<Bytes>,
}

/// The name of a small file beside the objects: one path component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExtraName {
    /// The keyring of a remote, `REMOTE.trustedkeys.gpg`.
    Keyring(crate::format::RemoteName),
    /// The cookies of a remote, `REMOTE.cookies.txt`.
    Cookies(crate::format::RemoteName),
}

impl ExtraName {
    /// Returns the file's name in a repository.
    pub fn file_name(&self) -> String {
        match self {
            Self::Keyring(remote) => format!("{remote}.trustedkeys.gpg"),
            Self::Cookies(remote) => format!("{remote}.cookies.txt"),
        }
    }
}
