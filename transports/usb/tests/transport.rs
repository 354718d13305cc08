//! Directories under the suites of transports: where the tests run, and on FAT, exFAT and ext4, each
//! behind its real driver.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "support/media.rs"]
mod media;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use media::{Kind, Medium};
use treeferry_conformance::{
    FileNames, NameCase, NestedFiles, TransportFixture, TransportPlace, TransportProfile,
    publish_by_put, reading, run_check, withdraw_by_delete, writing,
};
use treeferry_core::Result;
use treeferry_core::transport::{RemotePath, Transport, WritableTransport};
use treeferry_transport_usb::{DirOptions, DirTransport};

/// A directory, on a medium or not.
struct Directory {
    path: PathBuf,
    above: Arc<Above>,
}

/// Where directories are made, and what they can do there.
struct Above {
    path: PathBuf,
    profile: TransportProfile,
    options: fn() -> DirOptions,
    made: AtomicU64,
    /// Gone when the last directory is.
    _held: Held,
}

#[allow(dead_code, reason = "they are there to be dropped")]
enum Held {
    Nothing(tempfile::TempDir),
    Medium(Medium),
}

/// Files and directories are told apart by name, as everywhere.
const PLAIN: TransportProfile = TransportProfile {
    nesting: NestedFiles::Refused,
    ..TransportProfile::BUCKET
};

impl Above {
    fn plain() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        Self::new(
            dir.path().to_owned(),
            PLAIN,
            DirOptions::default,
            Held::Nothing(dir),
        )
    }

    fn on(kind: Kind) -> Arc<Self> {
        let medium = Medium::new(kind, 300);
        // To sync a thousand files one by one takes this driver minutes.
        let options = match kind {
            Kind::Fat => DirOptions::unsynced,
            Kind::Exfat | Kind::Ext4 => DirOptions::default,
        };
        let profile = match kind {
            Kind::Ext4 => PLAIN,
            Kind::Fat => TransportProfile {
                names: FileNames::PortableAscii,
                case: NameCase::OneSpelling,
                ..PLAIN
            },
            Kind::Exfat => TransportProfile {
                names: FileNames::Portable,
                case: NameCase::OneSpelling,
                ..PLAIN
            },
        };
        let path = medium.path().to_owned();
        Self::new(path, profile, options, Held::Medium(medium))
    }

    fn new(
        path: PathBuf,
        profile: TransportProfile,
        options: fn() -> DirOptions,
        held: Held,
    ) -> Arc<Self> {
        Arc::new(Self {
            path,
            profile,
            options,
            made: AtomicU64::new(0),
            _held: held,
        })
    }
}

impl Directory {
    fn new(above: &Arc<Above>) -> Self {
        let number = above.made.fetch_add(1, Ordering::Relaxed);
        let path = above.path.join(format!("place-{number}"));
        std::fs::create_dir(&path).unwrap();
        let above = Arc::clone(above);
        Self { path, above }
    }
}

impl TransportFixture for Directory {
    type Transport = DirTransport;

    async fn open(&self) -> Result<DirTransport> {
        DirTransport::open(&self.path, (self.above.options)()).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new(&self.above))
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        publish_by_put(&TransportFixture::open(self).await?, path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        withdraw_by_delete(&TransportFixture::open(self).await?, path).await
    }

    fn profile(&self) -> TransportProfile {
        self.above.profile
    }
}

treeferry_conformance::transport_suite!(plain_reading, Directory::new(&Above::plain()));
treeferry_conformance::writable_transport_suite!(plain_writing, Directory::new(&Above::plain()));

/// fusefat looks through all of a directory for each file, and takes a tenth of a second for it.
const TOO_MANY_FILES: &str = "a_list_of_more_than_a_thousand_is_whole";

/// Runs both suites on one medium: to mount one for each check would take longer than the checks.
async fn on_medium(kind: Kind) {
    let above = Above::on(kind);
    let mut failed = Vec::new();
    for check in reading::CHECKS {
        let place: &dyn TransportPlace<dyn Transport> = &Directory::new(&above);
        if let Err(why) = run_check(reading::CHECKS, check.name, place).await {
            failed.push((check.name, why));
        }
    }
    for check in writing::CHECKS {
        if kind == Kind::Fat && check.name == TOO_MANY_FILES {
            continue;
        }
        let place: &dyn TransportPlace<dyn WritableTransport> = &Directory::new(&above);
        if let Err(why) = run_check(writing::CHECKS, check.name, place).await {
            failed.push((check.name, why));
        }
    }
    failed.retain(|(name, why)| kind.counts(name, why));
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(has_fat), ignore = "needs root, /dev/fuse, fusefat and mkfs.vfat")]
async fn all_checks_on_fat() {
    on_medium(Kind::Fat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, /dev/fuse, exfat-fuse and mkfs.exfat"
)]
async fn all_checks_on_exfat() {
    on_medium(Kind::Exfat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(has_loop), ignore = "needs root, loop devices and mkfs.ext4")]
async fn all_checks_on_ext4() {
    on_medium(Kind::Ext4).await;
}
