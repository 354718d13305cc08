//! A whole repository in the archive layout, over a transport that can be written to.
//!
//! The paths are those of OSTree's `archive` repositories, so that a plain `ostree` can pull from a
//! web server, bucket or mounted directory that was written here. Four things are of our own, below
//! `.treeferry/` where OSTree does not look:
//!
//! ```text
//! .treeferry/leases/ID.KIND.TTL_MS   who is writing, or deleting
//! .treeferry/summary-pair            which summary and signature belong together
//! refs/...                           as OSTree's; an alias is told by blanks at the end of the file
//! .treeferry/condemned/ID             what a prune found not to be needed, to be deleted later
//! ```
//!
//! Each write shows at once. So a batch sends content and dirmetas as they come, and holds dirtrees
//! and commits back until their children are acknowledged; what is cut short leaves whole objects
//! that no ref names, and is continued by finding them there. What is there is found by few listings.
//!
//! What may be repeated safely is tried again here, since only this place knows what may: writes of
//! objects, conditional writes after looking, listings, small files. Reading an object is tried once,
//! like any other source's.

mod batch;
mod condemned;
mod deltas;
mod known;
mod lease;
mod objects;
mod options;
mod rank;
mod refs;
mod send;
mod spool;
mod state;
mod summary;

use std::fmt::{self, Debug};
use std::sync::Arc;

use bytes::Bytes;

pub use self::lease::LeaseInfo;
pub use self::options::{ArchiveOptions, CreateArchive, LeaseOptions, OpenSpool, Spool};

use self::condemned::Notes;
use self::lease::Leases;
use self::objects::Held;
use super::layout::{CONFIG_PATH, fixed_path};
use super::remote::CONFIG_BYTES_MAX;
use super::{ArchiveRemote, FileVersion, IfChanged, read};
use crate::error::{Error, Result, Subject};
use crate::format::keyfile::KeyFile;
use crate::store::{StoreConfig, new_config};
use crate::transport::{Precondition, PutAnswer, RemotePath, WritableTransport, retrying};

/// A repository in the archive layout over a writable transport. A clone is the same handle.
#[derive(Clone)]
pub struct ArchiveStore {
    place: Arc<Place>,
}

/// What the parts of a handle share.
struct Place {
    transport: Arc<dyn WritableTransport>,
    remote: ArchiveRemote,
    options: ArchiveOptions,
    deflate_level: u8,
    leases: Arc<Leases>,
    held: Held,
    notes: Notes,
}

impl ArchiveStore {
    /// Opens the repository that `transport` leads to.
    ///
    /// # Errors
    ///
    /// [`Missing`](crate::ErrorKind::Missing) when there is none,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when it is of another mode than `archive`.
    pub async fn open(
        transport: Arc<dyn WritableTransport>,
        options: ArchiveOptions,
    ) -> Result<Self> {
        let path = fixed_path(CONFIG_PATH);
        let read = || read::read(&*transport, &path, None, CONFIG_BYTES_MAX);
        let config = retrying(&options.retry, || Box::pin(read())).await?;
        let url = || Subject::Url(transport.origin().to_owned());
        let config = config.into_bytes().ok_or_else(|| {
            Error::missing("there is no repository: it has no config; make one with 'init'")
                .about(url())
        })?;
        let deflate_level = check_config(&config).map_err(|e| e.about(url()))?;
        let remote = ArchiveRemote::new(transport.clone()).limited(options.limits);
        let leases = Arc::new(Leases::new(Arc::clone(&transport), &options));
        Ok(Self {
            place: Arc::new(Place {
                transport,
                remote,
                deflate_level: options.deflate_level.unwrap_or(deflate_level),
                options,
                leases,
                held: Held::default(),
                notes: Notes::default(),
            }),
        })
    }

    /// Makes a repository where there is none, and opens it; one that is there is opened as it is.
    pub async fn create(
        transport: Arc<dyn WritableTransport>,
        create: CreateArchive,
        options: ArchiveOptions,
    ) -> Result<Self> {
        let config = new_config("archive-z2", create.collection_id.as_ref());
        let path = fixed_path(CONFIG_PATH);
        let config = Bytes::from(config);
        let absent = || Precondition::Absent;
        // Whoever lost a race to make it opens what the other made.
        let _: PutAnswer =
            send::put_if(&*transport, &options.retry, &path, absent(), config).await?;
        Self::open(transport, options).await
    }

    /// Returns the address, without secrets.
    pub fn origin(&self) -> &str {
        self.place.transport.origin()
    }

    /// Returns the transport.
    pub fn transport(&self) -> &Arc<dyn WritableTransport> {
        &self.place.transport
    }

    /// Returns this repository as a remote to pull from.
    pub fn remote(&self) -> &ArchiveRemote {
        &self.place.remote
    }

    /// Returns all leases that are held, or were left behind, and how old they are.
    pub async fn leases(&self) -> Result<Vec<LeaseInfo>> {
        self.place.leases.list_all().await
    }

    /// Removes the lease of a writer that is known to be gone.
    ///
    /// A writer that is not gone notices, and looks again at all it relied on before it moves a ref.
    pub async fn break_lease(&self, lease: &LeaseInfo) -> Result<()> {
        self.place.leases.remove(lease).await
    }

    /// Waits until leases that are no longer needed are given back.
    ///
    /// For whoever ends its runtime soon after: what is not given back keeps others waiting until it
    /// expires.
    pub async fn settle(&self) {
        self.place.leases.settle().await;
    }
}

impl Place {
    /// Reads a small file.
    async fn read(&self, path: &RemotePath, bytes_max: u64) -> Result<Option<FileVersion>> {
        let once = || read::read(&*self.transport, path, None, bytes_max);
        match retrying(&self.options.retry, || Box::pin(once())).await? {
            IfChanged::Changed(version) => Ok(Some(version)),
            IfChanged::Missing | IfChanged::Unchanged => Ok(None),
        }
    }

    /// Reads a small file that may be as long as metadata.
    async fn read_metadata(&self, path: &RemotePath) -> Result<Option<FileVersion>> {
        self.read(path, self.options.limits.metadata_bytes_max)
            .await
    }

    /// Writes a small file, whatever is there.
    async fn write(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        send::put_always(&*self.transport, &self.options.retry, path, &bytes.into()).await
    }

    /// Writes a small file under a condition.
    async fn write_if(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        bytes: Bytes,
    ) -> Result<PutAnswer> {
        let (transport, retry) = (&*self.transport, &self.options.retry);
        send::put_if(transport, retry, path, precondition, bytes).await
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        send::delete(&*self.transport, &self.options.retry, paths).await
    }

    /// Returns what must hold for a file to still be what was read.
    fn unchanged(&self, path: &RemotePath, version: Option<&FileVersion>) -> Result<Precondition> {
        match version {
            None => Ok(Precondition::Absent),
            Some(version) => match version.validator.clone() {
                Some(validator) => Ok(Precondition::Unchanged(validator)),
                None => {
                    let problem = "the server does not tell versions of a file apart: it cannot be \
                                   changed without losing what others write";
                    Err(Error::unsupported(problem).about(read::url(&*self.transport, path)))
                }
            },
        }
    }
}

impl Debug for ArchiveStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveStore")
            .field("origin", &self.origin())
            .finish_non_exhaustive()
    }
}

/// Checks that a configuration is one of an archive, and returns how hard it deflates.
fn check_config(bytes: &[u8]) -> Result<u8> {
    let invalid = |e| Error::invalid("its config cannot be read").because(e);
    let file = KeyFile::parse(bytes).map_err(invalid)?;
    let core = |key| file.string("core", key).map_err(invalid);
    match core("repo_version")?.as_deref() {
        Some("1") => {}
        version => {
            let version = version.unwrap_or("none");
            let problem = format!("its config names the repository version {version}: expected 1");
            return Err(Error::unsupported(problem));
        }
    }
    match core("mode")?.as_deref() {
        Some("archive-z2" | "archive") => {}
        mode => {
            let mode = mode.unwrap_or("bare");
            let problem = format!("is a repository of mode {mode}: only archives can be written");
            return Err(Error::unsupported(problem));
        }
    }
    StoreConfig::new(&file).deflate_level()
}
