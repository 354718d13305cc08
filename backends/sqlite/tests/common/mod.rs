//! What the tests share.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod work;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use treeferry_backend_sqlite::{CreateOptions, LockWait, OpenOptions, SqliteRepo};
use treeferry_conformance::{Fixture, Profile};
use treeferry_core::Result;
use treeferry_core::store::{Encoding, RefAtomicity};

/// A repository in a file of a directory that goes when this does.
pub(crate) struct OneFile {
    directory: TempDir,
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        lock_wait: LockWait::AtMost(Duration::from_millis(100)),
        ..OpenOptions::default()
    }
}

impl OneFile {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        Self { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("repo.sqlite")
    }

    pub(crate) async fn create(&self) -> SqliteRepo {
        let options = CreateOptions {
            open: options(),
            ..CreateOptions::default()
        };
        SqliteRepo::create(self.path(), options)
            .await
            .expect("a repository can be made")
    }
}

impl Fixture for OneFile {
    type Store = SqliteRepo;

    async fn open(&self) -> Result<SqliteRepo> {
        let options = CreateOptions {
            open: options(),
            ..CreateOptions::default()
        };
        SqliteRepo::create(self.path(), options).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new())
    }

    fn profile(&self) -> Profile {
        Profile {
            encoding: Encoding::Filez,
            ref_atomicity: RefAtomicity::Set,
            ..Profile::default()
        }
    }
}
