//! The places that must agree, each wrapped so that it can be made to fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo};
use treeferry_backend_sqlite::SqliteRepo;
use treeferry_conformance::faults::{Faults, FaultyStore, FaultyTransport};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive};
use treeferry_core::repo::Repo;
use treeferry_core::store::{MemoryOptions, MemoryStore, ObjectStore, RefStore, RepoState};
use treeferry_core::transport::{
    MemoryTransport, MemoryTransportOptions, RemotePath, Retry, WritableTransport,
};
use treeferry_transport_usb::{DirOptions, DirTransport};

/// One place under test.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    kind: Kind,
    /// What goes wrong with operations while they are not paused.
    pub(crate) faults: Arc<Faults>,
    handles: AtomicU64,
}

enum Kind {
    Memory(MemoryStore),
    Sqlite(TempDir),
    Fs(TempDir, FsMode),
    ArchiveInMemory(MemoryTransport),
    ArchiveInDirectory(TempDir),
}

/// A directory that goes when it is dropped, in memory where that can be.
fn directory() -> Result<TempDir> {
    let memory = PathBuf::from("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.map_err(|e| treeferry_core::Error::io("no temporary directory", e))
}

/// Returns files in memory that tell times: by these leases expire that a fault left behind.
fn files_in_memory() -> MemoryTransport {
    MemoryTransport::new(MemoryTransportOptions {
        clock: Some(SystemTime::now),
        ..MemoryTransportOptions::default()
    })
}

impl Place {
    /// Makes all of them, empty; `seed` decides what goes wrong with one in `one_in` operations.
    pub(crate) fn all(seed: u64, one_in: u32) -> Result<Vec<Self>> {
        let kinds = [
            (
                "memory",
                Kind::Memory(MemoryStore::new(MemoryOptions::default())),
            ),
            ("sqlite", Kind::Sqlite(directory()?)),
            ("archive", Kind::Fs(directory()?, FsMode::Archive)),
            (
                "bare-user-only",
                Kind::Fs(directory()?, FsMode::BareUserOnly),
            ),
            (
                "archive over memory",
                Kind::ArchiveInMemory(files_in_memory()),
            ),
            (
                "archive over a directory",
                Kind::ArchiveInDirectory(directory()?),
            ),
        ];
        let place = |(i, (name, kind)): (u64, _)| {
            let faults = Faults::of_all_kinds(seed.wrapping_add(i), one_in);
            let faults = Arc::new(faults.stall(Duration::from_millis(1)));
            faults.pause();
            Self {
                name,
                kind,
                faults,
                handles: AtomicU64::new(0),
            }
        };
        Ok((0..).zip(kinds).map(place).collect())
    }

    /// Opens the place, once more if it is open.
    pub(crate) async fn open(&self) -> Result<Repo> {
        match &self.kind {
            Kind::Memory(store) => Ok(self.wrapped(store.clone())),
            Kind::Sqlite(directory) => {
                let path = directory.path().join("repo.sqlite");
                let store = SqliteRepo::create(path, Default::default()).await?;
                Ok(self.wrapped(store))
            }
            Kind::Fs(directory, mode) => {
                let path = directory.path().join("repo");
                let store = FsRepo::create(path, *mode, CreateOptions::default()).await?;
                Ok(self.wrapped(store))
            }
            Kind::ArchiveInMemory(files) => self.archive(files.clone()).await,
            Kind::ArchiveInDirectory(directory) => {
                let options = DirOptions::repository();
                let files = DirTransport::open(directory.path(), options).await?;
                self.archive(files).await
            }
        }
    }

    fn wrapped<S: ObjectStore + RefStore + RepoState>(&self, store: S) -> Repo {
        Repo::new(Arc::new(FaultyStore::new(store, Arc::clone(&self.faults))))
    }

    /// Opens an archive, whose files go wrong below it.
    async fn archive(&self, files: impl WritableTransport) -> Result<Repo> {
        let mut options = ArchiveOptions::default();
        options.retry = quick_retry();
        options.lease.seed = self.handles.fetch_add(1, Ordering::Relaxed);
        options.lease.ttl = Duration::from_secs(1);
        options.lease.wait = Duration::from_secs(30);
        let files = FaultyTransport::new(files, Arc::clone(&self.faults)).spoiling(is_seen);
        let store = ArchiveStore::create(Arc::new(files), CreateArchive::default(), options);
        Ok(Repo::new(Arc::new(store.await?)))
    }
}

/// Returns whether it is seen when the bytes of a file are wrong: it is named by its hash, or holds
/// the name of a commit, which then is not there.
fn is_seen(path: &RemotePath) -> bool {
    let path = path.as_str();
    path.starts_with("objects/") && !path.ends_with(".commitmeta") || path.starts_with("refs/")
}

/// Returns how patiently a test tries again.
pub(crate) fn quick_retry() -> Retry {
    Retry {
        wait: Duration::from_millis(1),
        wait_max: Duration::from_millis(4),
        ..Retry::default()
    }
}
