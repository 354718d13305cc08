//! A directory as a place that files are fetched from and put to by path.
//!
//! ```text
//! ROOT/PATH                        the files
//! ROOT/.treeferry/dir/lock         held by whoever compares and puts
//! ROOT/.treeferry/dir/ID/          of one writer, who holds it locked: files on their way
//! ```
//!
//! A file gets its name when all of it is written, by rename: others see the old one or the new one.
//! When it is synced is the caller's choice ([`PutSync`]). One by one, a stick takes half a minute for
//! a thousand small files; so files of no consequence yet are gathered: written without waiting, then
//! synced at once, and only then named. What is cut short in between leaves files without a name,
//! never a name without its bytes, and the next writer removes them.

mod group;
mod list;
mod lock;
mod names;
mod read;
mod root;
mod write;

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use treeferry_core::error::{Error, Result, Subject};
use treeferry_core::pool::Pool;
use treeferry_core::transport::{
    FetchOptions, Fetched, ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    WritableTransport,
};

use self::group::Group;
pub(crate) use self::root::Root;
use crate::volume::{FileLimit, Volume};

/// What is our own below the root, and in no listing.
const WORK_DIR: &str = ".treeferry/dir";

/// How to use a directory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DirOptions {
    /// When the file at a path is synced.
    pub sync: fn(&RemotePath) -> PutSync,
    /// How many bytes are gathered, at most, before they are synced.
    pub gathered_bytes_max: u64,
    /// How many files are.
    pub gathered_files_max: usize,
    /// How long to wait for others who compare and put.
    pub lock_wait: Duration,
    /// Where blocking work goes.
    pub pool: Pool,
}

/// When a file that is put is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutSync {
    /// Before the put returns, after all that was gathered before it.
    Now,
    /// Together with others. The file is there for this handle at once, and for others at the latest
    /// when something is put [now](Self::Now), or gathered files are [flushed](DirTransport::flush).
    Gathered,
    /// Never: it is of no use after a power cut.
    Never,
}

impl Default for DirOptions {
    /// Everything is synced when it is put.
    fn default() -> Self {
        Self {
            sync: |_| PutSync::Now,
            gathered_bytes_max: 64 << 20,
            gathered_files_max: 4096,
            lock_wait: Duration::from_secs(60),
            pool: Pool::default(),
        }
    }
}

impl DirOptions {
    /// Syncs nothing, for what is thrown away: a power cut may take it.
    pub fn unsynced() -> Self {
        Self {
            sync: |_| PutSync::Never,
            ..Self::default()
        }
    }

    /// Gathers what a repository in the archive layout may have unnamed until a commit names it.
    pub fn repository() -> Self {
        Self {
            sync: sync_of_repository,
            ..Self::default()
        }
    }
}

/// A commit, a ref and all else that others start from comes after what it names.
fn sync_of_repository(path: &RemotePath) -> PutSync {
    let path = path.as_str();
    let named_by_others = [".filez", ".dirtree", ".dirmeta"];
    if path.starts_with("objects/") && named_by_others.iter().any(|end| path.ends_with(end)) {
        return PutSync::Gathered;
    }
    match path.starts_with(".treeferry/leases/") {
        true => PutSync::Never,
        false => PutSync::Now,
    }
}

/// A directory. A clone is the same handle.
#[derive(Clone)]
pub struct DirTransport(Arc<Inner>);

struct Inner {
    root: Root,
    origin: String,
    limit: FileLimit,
    options: DirOptions,
    ignores_case: OnceLock<bool>,
    group: Group,
}

impl DirTransport {
    /// Opens the directory at `path`, which must exist. Writes nothing.
    pub async fn open(path: impl Into<PathBuf>, options: DirOptions) -> Result<Self> {
        let path = path.into();
        let pool = options.pool.clone();
        let open = move || {
            let path = std::path::absolute(&path)
                .map_err(|e| Error::io("cannot be found", e).about(path))?;
            let root = Root::open(&path)?;
            // Where the kernel does not tell, names and lengths are what they are anywhere.
            let volume = Volume::of_path(&path).ok();
            let limit = volume.map_or(FileLimit::None, |volume| volume.file_limit());
            Ok(Self(Arc::new(Inner {
                root,
                origin: path.display().to_string(),
                limit,
                options,
                ignores_case: OnceLock::new(),
                group: Group::default(),
            })))
        };
        pool.run(open).await
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.0.root.path
    }

    /// Returns how long a file can be here.
    pub fn file_limit(&self) -> FileLimit {
        self.0.limit
    }

    /// Syncs and names all that was gathered.
    pub async fn flush(&self) -> Result<()> {
        let inner = Arc::clone(&self.0);
        self.0
            .options
            .pool
            .run(move || inner.flush_blocking())
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        self.0.options.pool.run(move || job(&inner)).await
    }
}

impl Debug for DirTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirTransport")
            .field("path", &self.0.root.path)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns whether the filesystem takes `A` for `a`. Found out once there is a name to try.
    fn ignores_case(&self) -> Result<bool> {
        if let Some(known) = self.ignores_case.get() {
            return Ok(*known);
        }
        let found = names::ignores_case(&self.root)
            .map_err(|e| self.root.failed("cannot be listed", "", e))?;
        Ok(match found {
            Some(found) => *self.ignores_case.get_or_init(|| found),
            // Nothing was there to try it with.
            None => false,
        })
    }

    fn about(&self, path: &RemotePath) -> Subject {
        Subject::Path(self.root.path.join(path.as_str()))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for DirTransport {
    fn describe(&self, path: &RemotePath) -> String {
        format!("{}/{path}", self.0.origin)
    }

    fn origin(&self) -> &str {
        &self.0.origin
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        self.fetch_file(path, options).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl WritableTransport for DirTransport {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let put = self.put_file(path, precondition, body).await;
        put.map_err(|e| e.about(self.0.about(path)))
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        let paths = paths.to_vec();
        self.run(move |inner| inner.delete_blocking(&paths)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        list::list(self.clone(), prefix)
    }
}
