//! Deletes directories that were recorded.
//!
//! After everything else, so that nothing is lost on the way. What was added or changed since the
//! scan looked at it is not in the commit, and stays.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::rules::{DIRECTORY, FILE_TYPE};
use crate::error::{Error, Result};
use crate::repo::Repo;

/// Directories that are recorded, and that are to be deleted once a ref leads to the commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unconsumed(Arc<Vec<(PathBuf, Seen)>>);

impl Unconsumed {
    pub(super) fn new(dirs: Vec<(PathBuf, Seen)>) -> Self {
        Self(Arc::new(dirs))
    }

    /// Deletes what was recorded of the directories; what was added or changed since stays.
    ///
    /// The caller has made sure that something leads to what was recorded.
    pub async fn consume(self, repo: &Repo) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let delete = move || {
            let mut dirs = self.0.iter();
            dirs.try_for_each(|(origin, seen)| seen.delete(origin))
        };
        repo.pool().run(delete).await
    }
}

/// What a scan looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(HashMap<Identity, Sight>);

/// A file as it was; of a directory the time does not count, for deleting from it changes it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    modified: Option<(i64, u64)>,
}

/// What a scan made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    File,
    Dir,
    /// Left out with all below it, which goes all the same.
    SkippedDir,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        let is_dir = stat.st_mode & FILE_TYPE == DIRECTORY;
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            modified: (!is_dir).then_some((stat.st_mtime, stat.st_mtime_nsec)),
        }
    }
}

impl Seen {
    pub(super) fn add(&mut self, stat: &Stat, sight: Sight) {
        let seen = Identity::of(stat);
        if seen.modified.is_some() {
            // A store that makes the file itself an object takes away its time.
            let stored = Identity {
                modified: Some((0, 0)),
                ..seen
            };
            self.0.insert(stored, sight);
        }
        self.0.insert(seen, sight);
    }

    /// Deletes all that was seen below `origin`, and `origin` itself if nothing else is left in
    /// it. **Blocking.**
    pub(super) fn delete(&self, origin: &Path) -> Result<()> {
        let cannot = |e: Errno| {
            let problem = "is recorded and durable, but could not be deleted";
            Error::io(problem, e).about(origin)
        };
        let Some(fd) = open_dir(CWD, origin).map_err(cannot)? else {
            return Ok(());
        };
        self.empty(fd).map_err(cannot)?;
        match rustix::fs::rmdir(origin) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(e) => Err(cannot(e)),
        }
    }

    /// Empties a directory. Iterative: how deep it is was decided by others.
    fn empty(&self, fd: OwnedFd) -> std::result::Result<(), Errno> {
        let mut stack = vec![Level::new(fd, c".", Sight::Dir)?];
        while let Some(level) = stack.last_mut() {
            let Some(entry) = level.entries.next() else {
                let done = stack.pop();
                if let (Some(done), Some(parent)) = (done, stack.last()) {
                    remove(&parent.fd, &done.name, AtFlags::REMOVEDIR)?;
                }
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = match rustix::fs::statat(&level.fd, name, flags) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e),
            };
            let sight = match level.sight {
                Sight::SkippedDir => Some(Sight::SkippedDir),
                _ => self.0.get(&Identity::of(&stat)).copied(),
            };
            let is_dir = stat.st_mode & FILE_TYPE == DIRECTORY;
            match sight {
                None => {}
                Some(sight) if is_dir => {
                    if let Some(fd) = open_dir(&level.fd, name)? {
                        let below = Level::new(fd, name, sight)?;
                        stack.push(below);
                    }
                }
                Some(_) => remove(&level.fd, name, AtFlags::empty())?,
            }
        }
        Ok(())
    }
}

struct Level {
    fd: OwnedFd,
    entries: Dir,
    name: CString,
    sight: Sight,
}

impl Level {
    fn new(fd: OwnedFd, name: &CStr, sight: Sight) -> std::result::Result<Self, Errno> {
        let entries = Dir::read_from(&fd)?;
        let name = name.into();
        Ok(Self {
            fd,
            entries,
            name,
            sight,
        })
    }
}

fn open_dir(
    at: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
) -> std::result::Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes an entry; one that is gone, or not empty after all, is no failure.
fn remove(at: &OwnedFd, name: &CStr, flags: AtFlags) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(at, name, flags) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    }
}
