//! Where a checkout goes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::CWD;

/// Where a checkout goes: a path, absolute or relative to a directory.
///
/// The path is the caller's word: symbolic links in it are followed. Below it none ever is.
#[derive(Debug, Clone)]
pub struct Destination {
    dir: Option<Arc<OwnedFd>>,
    path: PathBuf,
}

impl Destination {
    /// Names a path; a relative one is relative to the current directory.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self {
            dir: None,
            path: path.into(),
        }
    }

    /// Names a path relative to an open directory.
    pub fn at(dir: Arc<OwnedFd>, path: impl Into<PathBuf>) -> Self {
        Self {
            dir: Some(dir),
            path: path.into(),
        }
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_ref().map_or(CWD, |dir| dir.as_fd())
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}
