//! Sources whose transfers can be continued.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::format::ObjectName;
use crate::transport::{FetchOptions, FetchedFile, RemotePath};

/// A remote in the archive layout, seen as raw files.
///
/// The engine spools large files from here into a [`Scratch`](super::Scratch), and continues after
/// an interruption where it stopped.
#[async_trait]
pub trait ResumableSource: Debug + Send + Sync {
    /// Returns the path of an object below the remote.
    fn object_path(&self, name: &ObjectName) -> RemotePath;

    /// Returns the address that partial downloads are kept under.
    fn origin(&self) -> &str;

    /// Returns the address of a path, for messages.
    fn describe(&self, path: &RemotePath) -> String;

    /// Fetches the file of an object, from an offset if asked to. `None` when it is not there.
    async fn fetch_file(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>>;
}
