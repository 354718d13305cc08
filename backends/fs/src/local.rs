//! The view of a repository as plain files.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use treeferry_core::error::Result;
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::spill::SpillPlace;
use treeferry_core::store::{LinkView, Linked, LocalFile, LocalObject, LocalObjects};

use crate::inodes::InodeIndex;
use crate::layout::object_path;
use crate::mode::FsMode;
use crate::repo::FsRepo;
use crate::shelf::display_path;
use crate::staging::Staging;
use crate::sys::failed;
use std::sync::Arc;

/// A repository, and what a batch has staged for it, as plain files.
#[derive(Debug, Clone)]
pub(crate) struct LocalView {
    repo: FsRepo,
    staging: Option<Arc<Staging>>,
}

impl LocalView {
    pub(crate) fn new(repo: FsRepo) -> Self {
        Self {
            repo,
            staging: None,
        }
    }

    pub(crate) fn with_staging(repo: FsRepo, staging: Arc<Staging>) -> Self {
        Self {
            repo,
            staging: Some(staging),
        }
    }
}

impl LocalObjects for LocalView {
    fn read_metadata(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        if let Some(staging) = &self.staging
            && let Some(bytes) = staging.shelf.read_metadata(name)?
        {
            return Ok(Some(bytes));
        }
        match (
            self.repo.inner.shelf.read_metadata(name)?,
            self.repo.parent(),
        ) {
            (None, Some(parent)) => Self::new(parent.clone()).read_metadata(name),
            (found, _) => Ok(found),
        }
    }

    fn metadata_file(&self, name: &ObjectName) -> Result<Option<LocalFile>> {
        let staged = self.staging.iter().map(|staging| &staging.shelf);
        for shelf in staged.chain([&self.repo.inner.shelf]) {
            if let Some(file) = shelf.metadata_file(name)? {
                return Ok(Some(file));
            }
        }
        match self.repo.parent() {
            Some(parent) => Self::new(parent.clone()).metadata_file(name),
            None => Ok(None),
        }
    }

    fn open_file(&self, checksum: &Checksum) -> Result<Option<LocalObject>> {
        if let Some(staging) = &self.staging
            && let Some(object) = staging.shelf.open(checksum)?
        {
            return Ok(Some(object));
        }
        match (self.repo.inner.shelf.open(checksum)?, self.repo.parent()) {
            (None, Some(parent)) => Self::new(parent.clone()).open_file(checksum),
            (found, _) => Ok(found),
        }
    }

    fn link_view(&self) -> LinkView {
        self.repo.mode().link_view()
    }

    fn link_file(
        &self,
        checksum: &Checksum,
        dir: BorrowedFd<'_>,
        name: &str,
    ) -> Result<Option<Linked>> {
        if self.link_view() == LinkView::None {
            return Ok(Some(Linked::Refused));
        }
        let path = object_path(&ObjectName::file(*checksum), self.repo.mode());
        let staged = self.staging.iter().map(|staging| &staging.shelf);
        for shelf in staged.chain([&self.repo.inner.shelf]) {
            match rustix::fs::linkat(shelf.fd(), &path, dir, name, AtFlags::empty()) {
                Ok(()) => return Ok(Some(Linked::Done)),
                Err(Errno::EXIST) => return Ok(Some(Linked::Exists)),
                Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOTSUP) => {
                    return Ok(Some(Linked::Refused));
                }
                Err(Errno::NOENT) => {}
                Err(e) => {
                    let path = display_path(&path);
                    return Err(failed(&path.to_string_lossy(), "cannot be linked")(e));
                }
            }
        }
        match self.repo.parent() {
            // What a link into a parent of another mode shows is not what this view promises.
            Some(parent) if parent.mode() == self.repo.mode() => {
                Self::new(parent.clone()).link_file(checksum, dir, name)
            }
            Some(parent) => {
                let found = parent.stat_blocking(&ObjectName::file(*checksum))?;
                Ok(found.map(|_| Linked::Refused))
            }
            None => Ok(None),
        }
    }

    fn object_of_inode(&self, device: u64, inode: u64) -> Result<Option<Checksum>> {
        let inner = &self.repo.inner;
        if inner.config.mode == FsMode::Archive {
            return Ok(None);
        }
        let index = match inner.inodes.get() {
            Some(index) => index,
            None => {
                let place = SpillPlace::new(self.repo.path().join("tmp"));
                let index = InodeIndex::of(&inner.shelf, &place)?;
                inner.inodes.get_or_init(|| index)
            }
        };
        match (index.get(device, inode)?, self.repo.parent()) {
            (None, Some(parent)) => Self::new(parent.clone()).object_of_inode(device, inode),
            (found, _) => Ok(found),
        }
    }

    fn directory(&self) -> PathBuf {
        self.repo.path().to_path_buf()
    }

    fn spill_place(&self) -> Option<SpillPlace> {
        Some(SpillPlace::new(self.repo.path().join("tmp")))
    }
}
