//! Half a download: not an object, but worth keeping.

use std::fmt::Debug;
use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;

use super::LocalFile;
use crate::error::Result;
use crate::transport::{RemotePath, Validator};

/// A place of the destination where interrupted downloads wait.
///
/// What lies here is never believed: once complete it is hashed from its first byte. Entries that
/// nobody takes up expire.
#[async_trait]
pub trait Scratch: Debug + Send + Sync + 'static {
    /// Returns the paths from `origin` of which something is kept, so that the others need not be
    /// asked for one by one.
    async fn kept(&self, origin: &str) -> Result<Vec<RemotePath>>;

    /// Returns what is kept of `path` from `origin`, a remote's address, and claims it.
    ///
    /// An entry that another download holds is not returned.
    async fn take(&self, origin: &str, path: &RemotePath) -> Result<Option<Box<dyn ScratchFile>>>;

    /// Starts over with `path`: an empty entry, whose file on the other side has `validator` and
    /// is `total_bytes` long.
    async fn create(
        &self,
        origin: &str,
        path: &RemotePath,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<Box<dyn ScratchFile>>;
}

/// One download in a [`Scratch`]. Dropping it leaves the entry for later.
#[async_trait]
pub trait ScratchFile: Debug + Send + Sync {
    /// Returns how many bytes have been received.
    fn received_bytes(&self) -> u64;

    /// Returns how long the whole is, if that was known.
    fn total_bytes(&self) -> Option<u64>;

    /// Returns which version of the remote file this is a part of.
    fn validator(&self) -> Option<&Validator>;

    /// Adds bytes at the end.
    async fn append(&mut self, bytes: Bytes) -> Result<()>;

    /// Returns all that was received, from the first byte. Blocking: for the blocking pool.
    ///
    /// The place can be taken over by rename by a store of plain files.
    fn open(&self) -> Result<ScratchContent>;

    /// Removes the entry: it became an object, or was found to be worthless.
    async fn discard(self: Box<Self>) -> Result<()>;
}

/// The received bytes of a [`ScratchFile`].
#[allow(missing_debug_implementations, reason = "a reader has nothing to show")]
pub enum ScratchContent {
    /// A plain file on this machine.
    File(LocalFile),
    /// Anything else.
    Reader(Box<dyn Read + Send>),
}
