//! A repository in a directory, in the archive layout, under all suites.

#![allow(clippy::unwrap_used)] // a place that cannot be made has failed

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use treeferry_conformance::{Fixture, NestedRefs, Profile, ScratchPlace, Unfinished, Visibility};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive, Spool};
use treeferry_core::store::Encoding;
use treeferry_transport_usb::{DirArchive, DirOptions, PutSync};

/// A directory that is removed at the end.
struct InDirectory {
    dir: tempfile::TempDir,
    handles: AtomicU64,
}

impl InDirectory {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            handles: AtomicU64::new(0),
        }
    }
}

impl Fixture for InDirectory {
    type Store = ArchiveStore;

    async fn open(&self) -> Result<ArchiveStore> {
        let mut options = ArchiveOptions::default();
        options.lease.seed = self.handles.fetch_add(1, Ordering::Relaxed);
        // Longer than the disk takes to sync what others put meanwhile.
        options.lease.wait = Duration::from_millis(1000);
        options.spool = Spool::in_files(tempfile::tempfile);
        let create = CreateArchive::default();
        let place = Path::new(".ostree/repo");
        // As the command writes it, but that other handles see each put at once.
        let mut dir = DirOptions::default();
        dir.sync = |path| match DirOptions::repository().sync {
            sync if sync(path) == PutSync::Never => PutSync::Never,
            _ => PutSync::Now,
        };
        let archive = DirArchive::create(self.dir.path(), place, create, options, dir).await?;
        Ok(archive.store)
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new())
    }

    fn profile(&self) -> Profile {
        Profile {
            encoding: Encoding::Filez,
            visibility: Visibility::ChildrenFirst,
            unfinished: Unfinished::Visible,
            scratch: ScratchPlace::Absent,
            nested_refs: NestedRefs::Refused,
            ..Profile::default()
        }
    }
}

treeferry_conformance::object_store_suite!(objects, InDirectory::new());
treeferry_conformance::ref_store_suite!(refs, InDirectory::new());
treeferry_conformance::repo_state_suite!(state, InDirectory::new());
