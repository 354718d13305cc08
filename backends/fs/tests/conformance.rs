//! All five modes, under what every store must pass.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions, SplitXattrs};
use treeferry_conformance::{Fixture, Holds, Profile};
use treeferry_core::error::{Error, Result};
use treeferry_core::store::Encoding;

/// A repository in a temporary directory.
struct Repo {
    dir: Arc<TempDir>,
    mode: FsMode,
}

impl Repo {
    fn new(mode: FsMode) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let dir = Arc::new(dir);
        Self { dir, mode }
    }
}

impl Fixture for Repo {
    type Store = FsRepo;

    async fn open(&self) -> Result<FsRepo> {
        let options = CreateOptions {
            open: OpenOptions {
                split_xattrs: SplitXattrs::Writable,
                lock_timeout: Some(Duration::from_millis(500)),
                ..OpenOptions::default()
            },
            ..CreateOptions::default()
        };
        FsRepo::create(self.dir.path().join("repo"), self.mode, options).await
    }

    async fn another(&self) -> Result<Self> {
        let dir = tempfile::tempdir().map_err(|e| Error::io("no temporary directory", e))?;
        let dir = Arc::new(dir);
        let mode = self.mode;
        Ok(Self { dir, mode })
    }

    fn profile(&self) -> Profile {
        Profile {
            encoding: match self.mode {
                FsMode::Archive => Encoding::Filez,
                _ => Encoding::Canonical,
            },
            holds: match self.mode {
                FsMode::BareUserOnly => Holds::CANONICAL,
                _ => Holds::EVERYTHING,
            },
            ..Profile::default()
        }
    }
}

macro_rules! in_mode {
    ($name:ident, $mode:expr, $(#[$attribute:meta])*) => {
        mod $name {
            use super::*;

            treeferry_conformance::object_store_suite!($(#[$attribute])* objects, Repo::new($mode));
            treeferry_conformance::ref_store_suite!($(#[$attribute])* refs, Repo::new($mode));
            treeferry_conformance::repo_state_suite!($(#[$attribute])* state, Repo::new($mode));
        }
    };
}

in_mode!(bare, FsMode::Bare, #[cfg_attr(not(is_root), ignore = "owners are set by root only")]);
in_mode!(bare_user, FsMode::BareUser,);
in_mode!(bare_user_only, FsMode::BareUserOnly,);
in_mode!(archive, FsMode::Archive,);
in_mode!(bare_split_xattrs, FsMode::BareSplitXattrs,
    #[cfg_attr(not(is_root), ignore = "owners are set by root only")]);
