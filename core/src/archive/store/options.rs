//! How an archive is opened and made.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::ArchiveLimits;
use crate::codec::{Codec, FlateCodec};
use crate::format::CollectionId;
use crate::pool::Pool;
use crate::transport::Retry;

/// How to open an archive that is written to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ArchiveOptions {
    /// How much is accepted from it.
    pub limits: ArchiveLimits,
    /// What compresses and decompresses.
    pub codec: Arc<dyn Codec>,
    /// How hard content is deflated, 1 to 9, instead of what the configuration says.
    pub deflate_level: Option<u8>,
    /// Where blocking work goes.
    pub pool: Pool,
    /// How patiently what failed is tried again.
    pub retry: Retry,
    /// How many objects are sent at once.
    pub uploads_max: usize,
    /// Where files wait that are too large for memory until their length is known.
    pub spool: Spool,
    /// How writers and prunes keep out of each other's way.
    pub lease: LeaseOptions,
    /// How long a prune keeps what is not needed any more, for those who read it now.
    pub grace: Duration,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            limits: ArchiveLimits::default(),
            codec: Arc::new(FlateCodec),
            deflate_level: None,
            pool: Pool::default(),
            retry: Retry::default(),
            uploads_max: 32,
            spool: Spool::default(),
            lease: LeaseOptions::default(),
            grace: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// How writers and prunes keep out of each other's way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// Who holds it, as others are to see it: a host and a process, say.
    pub holder: String,
    /// From which the names of leases are made. Two writers with the same seed get along where
    /// the server enforces conditions.
    pub seed: u64,
    /// How long a lease holds after it was last renewed; it is renewed three times as often.
    pub ttl: Duration,
    /// How long to wait for others before giving up.
    pub wait: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self {
            holder: String::new(),
            seed: 0,
            ttl: Duration::from_secs(60),
            wait: Duration::from_secs(300),
        }
    }
}

/// How to make an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateArchive {
    /// The collection that its refs belong to.
    pub collection_id: Option<CollectionId>,
}

/// Opens a new, empty, unlinked file for reading and writing. **Blocking.**
pub type OpenSpool = Arc<dyn Fn() -> io::Result<File> + Send + Sync>;

/// Where files wait until their length is known.
#[derive(Clone)]
#[non_exhaustive]
pub struct Spool {
    /// How long a deflated file may be that waits in memory, bytes.
    pub memory_bytes_max: u64,
    /// Opens the place of a longer one; without it, a longer one is refused.
    pub open: Option<OpenSpool>,
}

impl Spool {
    /// Creates one whose longer files wait in files that `open` makes.
    pub fn in_files(open: impl Fn() -> io::Result<File> + Send + Sync + 'static) -> Self {
        Self {
            open: Some(Arc::new(open)),
            ..Self::default()
        }
    }
}

impl Default for Spool {
    /// Files of up to 1 MiB in memory, and no place for longer ones.
    fn default() -> Self {
        Self {
            memory_bytes_max: 1024 * 1024,
            open: None,
        }
    }
}

impl Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("memory_bytes_max", &self.memory_bytes_max)
            .field("in_files", &self.open.is_some())
            .finish()
    }
}
