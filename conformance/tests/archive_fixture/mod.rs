//! An archive over files in memory as a fixture.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use treeferry_conformance::{Fixture, Profile};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive, Spool};
use treeferry_core::transport::{MemoryTransport, MemoryTransportOptions};

/// A repository in the archive layout in memory.
pub(crate) struct Archive {
    transport: MemoryTransport,
    handles: AtomicU64,
}

impl Archive {
    pub(crate) fn new() -> Self {
        let options = MemoryTransportOptions {
            clock: Some(SystemTime::now),
            ..MemoryTransportOptions::default()
        };
        Self {
            transport: MemoryTransport::new(options),
            handles: AtomicU64::new(0),
        }
    }
}

impl Fixture for Archive {
    type Store = ArchiveStore;

    async fn open(&self) -> Result<ArchiveStore> {
        let mut options = ArchiveOptions::default();
        options.lease.seed = self.handles.fetch_add(1, Ordering::Relaxed);
        options.lease.wait = Duration::from_millis(100);
        options.spool = Spool::in_files(tempfile::tempfile);
        let transport = Arc::new(self.transport.clone());
        ArchiveStore::create(transport, CreateArchive::default(), options).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new())
    }

    fn profile(&self) -> Profile {
        Profile::archive()
    }
}
