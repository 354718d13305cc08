//! The directory itself. All of it is **blocking**.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};

/// How often opening is tried against others who rename at the same time.
const OPENS_MAX: usize = 16;

/// A directory that nothing leads out of.
#[derive(Debug)]
pub(crate) struct Root {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::io("cannot be opened", e).about(path))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Opens what is at `path`; a symbolic link on the way or at its end is refused.
    pub(super) fn open_at(
        &self,
        path: &str,
        flags: OFlags,
        mode: Mode,
    ) -> std::result::Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..OPENS_MAX {
            match rustix::fs::openat2(&self.fd, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a directory; the empty path is the root.
    pub(super) fn open_dir(&self, path: &str) -> std::result::Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Makes a directory and those above it, and opens it.
    pub(crate) fn make_dirs(&self, path: &str) -> Result<OwnedFd> {
        match self.open_dir(path) {
            Ok(dir) => return Ok(dir),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(self.failed("cannot be opened", path, e)),
        }
        let (above, name) = split(path);
        let parent = self.make_dirs(above)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(self.failed("cannot be made", path, e)),
        }
        self.open_dir(path)
            .map_err(|e| self.failed("cannot be opened", path, e))
    }

    /// Returns an error about `path`.
    pub(super) fn failed(&self, problem: &'static str, path: &str, error: Errno) -> Error {
        let at = self.path.join(path);
        match error {
            Errno::LOOP | Errno::XDEV => {
                let problem = "is a symbolic link, or is reached through one: refused";
                Error::corrupt(problem).about(at)
            }
            Errno::NOTDIR => {
                let problem = "a file is where a directory must be: it stands in the way";
                Error::invalid(problem).about(at)
            }
            // Drivers of FAT that know no other letters.
            Errno::PERM | Errno::INVAL | Errno::ILSEQ if !path.is_ascii() && is_fuse(&self.fd) => {
                let problem = "has letters that are not ASCII, which the driver of this filesystem \
                               does not know";
                Error::unsupported(problem)
                    .because(std::io::Error::from(error))
                    .about(at)
            }
            // The stick was pulled out.
            Errno::IO | Errno::NODEV | Errno::NOTCONN | Errno::NXIO => {
                let kind = treeferry_core::ErrorKind::Unavailable { retry_after: None };
                Error::new(kind, "the device does not answer any more")
                    .because(std::io::Error::from(error))
                    .about(at)
            }
            error => Error::io(problem, error).about(at),
        }
    }
}

/// What of FUSE a `statfs` says.
const FUSE_MAGIC: u64 = 0x6573_5546;

/// Returns whether a driver outside of the kernel does the work.
pub(super) fn is_fuse(dir: &OwnedFd) -> bool {
    rustix::fs::fstatfs(dir).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(FUSE_MAGIC))
}

/// Looks at an entry of a directory; `None` when there is none.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &str) -> std::result::Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Returns the names in a directory.
pub(super) fn names(dir: &OwnedFd) -> std::result::Result<Vec<Vec<u8>>, Errno> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir.as_fd())? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            found.push(name);
        }
    }
    Ok(found)
}

/// Splits a path into the directory, empty for the root, and the name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
