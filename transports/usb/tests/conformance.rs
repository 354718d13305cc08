//! A repository in a directory, in the archive layout, under all suites.

#![allow(clippy::unwrap_used, reason = "a place that cannot be made has failed")]

#[path = "support/media.rs"]
mod media;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use media::{Kind, Medium};
use treeferry_conformance::{
    Fixture, Profile, objects as object_checks, refs as ref_checks, run_all, state as state_checks,
};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive, Spool};
use treeferry_transport_usb::{DirArchive, DirOptions, PutSync};

/// A directory that is removed at the end.
struct InDirectory {
    dir: tempfile::TempDir,
    handles: AtomicU64,
    /// The medium that it is on, if it is on one.
    medium: Option<Arc<Medium>>,
}

impl InDirectory {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            handles: AtomicU64::new(0),
            medium: None,
        }
    }

    fn on(medium: &Arc<Medium>) -> Self {
        Self {
            dir: tempfile::tempdir_in(medium.path()).unwrap(),
            handles: AtomicU64::new(0),
            medium: Some(Arc::clone(medium)),
        }
    }
}

impl Fixture for InDirectory {
    type Store = ArchiveStore;

    async fn open(&self) -> Result<ArchiveStore> {
        let mut options = ArchiveOptions::default();
        options.lease.seed = self.handles.fetch_add(1, Ordering::Relaxed);
        // Longer than the disk takes to sync what others put meanwhile.
        options.lease.wait = match &self.medium {
            None => Duration::from_millis(1000),
            Some(_) => Duration::from_millis(4000),
        };
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
        Ok(self.medium.as_ref().map_or_else(Self::new, Self::on))
    }

    fn profile(&self) -> Profile {
        Profile::archive()
    }
}

treeferry_conformance::object_store_suite!(objects, InDirectory::new());
treeferry_conformance::ref_store_suite!(refs, InDirectory::new());
treeferry_conformance::repo_state_suite!(state, InDirectory::new());

/// Runs all suites on one medium: to mount one for each check would take longer than the checks.
async fn on_medium(kind: Kind, not_held: &[&str]) {
    let medium = Arc::new(Medium::new(kind, 400));
    let place = || InDirectory::on(&medium);
    let mut failed = run_all(object_checks::CHECKS, || Box::new(place())).await;
    failed.extend(run_all(ref_checks::CHECKS, || Box::new(place())).await);
    failed.extend(run_all(state_checks::CHECKS, || Box::new(place())).await);
    failed.retain(|name, why| kind.counts(name, why));
    let names: Vec<_> = failed.keys().copied().collect();
    assert_eq!(names, not_held, "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, /dev/fuse, exfat-fuse and mkfs.exfat"
)]
async fn all_suites_on_exfat() {
    on_medium(Kind::Exfat, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(has_loop), ignore = "needs root, loop devices and mkfs.ext4")]
async fn all_suites_on_ext4() {
    on_medium(Kind::Ext4, &[]).await;
}

/// fusefat knows no letters but ASCII: a ref of others is refused. Nothing else goes wrong, races
/// apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(has_fat), ignore = "needs root, /dev/fuse, fusefat and mkfs.vfat")]
async fn all_suites_on_fat() {
    let of_other_letters = ["lists_have_exactly_what_is_there", "odd_names_come_back"];
    on_medium(Kind::Fat, &of_other_letters).await;
}
