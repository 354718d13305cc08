//! Unpacked files of an archive, kept where the C implementation keeps them too:
//! `uncompressed-objects-cache/XX/REST.file`.
//!
//! Each is the file of a checkout in user mode, and lives as long as some checkout has a link to it.
//! Whoever changes such a file in place changes it in all checkouts, as with any that is linked.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use treeferry_core::error::Result;
use treeferry_core::format::{Checksum, ContentLayout, ObjectName};
use treeferry_core::ops::checkout::UnpackedFiles;
use treeferry_core::store::Linked;

use crate::layout::fanout_name;
use crate::mode::FsMode;
use crate::repo::FsRepo;
use crate::sys::{self, Durable, failed};

const DIRECTORY: &str = "uncompressed-objects-cache";

/// The unpacked files that are kept in a repository of mode `archive`.
#[derive(Debug)]
pub struct UnpackedCache {
    repo: FsRepo,
    /// Which of its directories were written to.
    touched: Mutex<Vec<u8>>,
}

impl UnpackedCache {
    /// Names those of `repo`; `None` for a repository that has its files unpacked anyway.
    pub fn new(repo: &FsRepo) -> Option<Self> {
        (repo.mode() == FsMode::Archive).then(|| Self {
            repo: repo.clone(),
            touched: Mutex::default(),
        })
    }

    /// Deletes what no checkout has any more, in the directories that were written to. **Blocking.**
    pub fn collect(&self) -> Result<()> {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        for first in touched.drain(..) {
            let directory = format!("{DIRECTORY}/{}", fanout_name(first));
            for (name, kind) in sys::entries_in(self.dir(), &directory)? {
                let path = format!("{directory}/{name}");
                let stat = sys::stat(self.dir(), &path)?;
                if kind == FileType::RegularFile && stat.is_some_and(|stat| stat.st_nlink == 1) {
                    sys::remove_file(self.dir(), &path)?;
                }
            }
        }
        Ok(())
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.repo.dir()
    }

    fn note(&self, checksum: &Checksum) {
        let first = checksum.as_bytes()[0];
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if !touched.contains(&first) {
            touched.push(first);
        }
    }
}

impl UnpackedFiles for UnpackedCache {
    fn link(&self, checksum: &Checksum, dir: BorrowedFd<'_>, name: &str) -> Result<Option<Linked>> {
        let path = path(checksum);
        match rustix::fs::linkat(self.dir(), &path, dir, name, AtFlags::empty()) {
            Ok(()) => Ok(Some(Linked::Done)),
            Err(Errno::EXIST) => Ok(Some(Linked::Exists)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {
                Ok(Some(Linked::Refused))
            }
            Err(e) => Err(failed(&path, "cannot be linked")(e)),
        }
    }

    fn keep(&self, checksum: &Checksum, dir: BorrowedFd<'_>, name: &str) {
        let path = path(checksum);
        let link = || rustix::fs::linkat(dir, name, self.dir(), &path, AtFlags::empty());
        let linked = match link() {
            Err(Errno::NOENT) => {
                let parent = path
                    .rsplit_once('/')
                    .map_or(DIRECTORY, |(parent, _)| parent);
                // A cache is worth no sync, and no error.
                match sys::make_dirs(self.dir().as_fd(), parent, Durable::No) {
                    Ok(()) => link(),
                    Err(_) => return,
                }
            }
            linked => linked,
        };
        if linked.is_ok() {
            self.note(checksum);
        }
    }
}

fn path(checksum: &Checksum) -> String {
    let name = ObjectName::file(*checksum);
    format!("{DIRECTORY}/{}", name.loose_path(ContentLayout::Bare))
}
