//! What is done to files relative to an open directory. **Blocking.** Nothing follows a link.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::Xattrs;

/// The extended attribute that SELinux keeps labels in.
pub(super) const SELINUX_XATTR: &[u8] = b"security.selinux";

/// Owner, mode and extended attributes as they are to be set.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// Owner and group; `None` for the caller's.
    pub(super) owner: Option<(u32, u32)>,
    /// Mode, without the file type.
    pub(super) mode: u32,
    /// Extended attributes, as committed.
    pub(super) xattrs: Option<&'a Xattrs>,
    /// The security label, which replaces the committed one.
    pub(super) label: Option<Vec<u8>>,
}

impl Look<'_> {
    /// Returns the extended attributes to be set.
    pub(super) fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let label = self.label.as_deref();
        let committed = self.xattrs.into_iter().flat_map(Xattrs::iter);
        committed
            .filter(move |(name, _)| label.is_none() || *name != SELINUX_XATTR)
            .chain(label.map(|label| (SELINUX_XATTR, label)))
    }

    /// Applies it to an open file or directory.
    ///
    /// The mode comes last: a change of owner clears set-user-id bits, and until then nobody else
    /// can open it.
    pub(super) fn apply(&self, fd: BorrowedFd<'_>) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = owner_ids(uid, gid)?;
            rustix::fs::fchown(fd, Some(uid), Some(gid))
                .map_err(|e| Error::io("its owner cannot be set", e))?;
        }
        for (name, value) in self.xattrs() {
            let set = rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty());
            self.check_xattr(name, set)?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode))
            .map_err(|e| Error::io("its mode cannot be set", e))
    }

    /// Applies owner and extended attributes to what cannot be opened: a symbolic link or device.
    pub(super) fn apply_at(&self, dir: BorrowedFd<'_>, name: &str) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = owner_ids(uid, gid)?;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags)
                .map_err(|e| Error::io("its owner cannot be set", e))?;
        }
        for (attribute, value) in self.xattrs() {
            let path = proc_path(dir, name);
            let set = rustix::fs::lsetxattr(&path, attribute, value, XattrFlags::empty());
            self.check_xattr(attribute, set)?;
        }
        Ok(())
    }

    /// In user mode labels are given as far as the kernel lets the caller.
    fn check_xattr(&self, name: &[u8], set: std::result::Result<(), Errno>) -> Result<()> {
        let as_user = self.owner.is_none() && name == SELINUX_XATTR;
        match set {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if as_user => Ok(()),
            set => set.map_err(|e| {
                let name = String::from_utf8_lossy(name);
                Error::io(format!("its extended attribute {name} cannot be set"), e)
            }),
        }
    }
}

fn owner_ids(uid: u32, gid: u32) -> Result<(Uid, Gid)> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Error::corrupt(format!(
            "belongs to {uid}:{gid}, which no file can"
        )));
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Returns a path of `name` in `dir` for the calls that know no directories. Whoever uses it must
/// not follow the last part.
fn proc_path(dir: BorrowedFd<'_>, name: impl AsRef<Path>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

/// Returns what is at `name`, `None` when nothing is.
pub(super) fn look_at(dir: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(Error::io("cannot be looked at", e)),
    }
}

/// Returns the kind of file that `stat` is of.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens the directory `name`, which must not be a symbolic link.
pub(super) fn open_dir(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| match e {
        Errno::NOTDIR | Errno::LOOP => Error::new(
            crate::ErrorKind::Denied,
            "is in the way of a directory: remove it, or check out elsewhere",
        )
        .because(std::io::Error::from(e)),
        e => Error::io("cannot be opened", e),
    })
}

/// Sets the time of last modification to the epoch: the same for every checkout.
pub(super) fn zero_time(fd: BorrowedFd<'_>) -> Result<()> {
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let epoch = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: omit,
        last_modification: epoch,
    };
    rustix::fs::futimens(fd, &times).map_err(|e| Error::io("its time cannot be set", e))
}

/// Removes a file or symbolic link; one that is not there is fine.
pub(super) fn unlink(dir: BorrowedFd<'_>, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::io("cannot be removed", e)),
    }
}

/// Removes whatever is at `name`, with all that is in it.
pub(super) fn remove_all(dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let failed = |e| Error::io("cannot be removed", e);
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // The standard library's follows no link below, nor the name itself.
        Err(Errno::ISDIR) => std::fs::remove_dir_all(proc_path(dir, name))
            .map_err(|e| Error::io("cannot be removed", e)),
        Err(e) => Err(failed(e)),
    }
}

/// Removes all that is in a directory.
pub(super) fn empty(dir: BorrowedFd<'_>) -> Result<()> {
    let failed = |e| Error::io("cannot be listed", e);
    for entry in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            remove_all(dir, Path::new(OsStr::from_bytes(name.to_bytes())))?;
        }
    }
    Ok(())
}

/// A file under a name of its own, on its way to the right one. Removed when dropped before.
#[derive(Debug)]
pub(super) struct Temp<'a> {
    dir: BorrowedFd<'a>,
    name: Option<String>,
}

/// Makes the names of this process's temporary files differ.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl<'a> Temp<'a> {
    /// Makes something under a free name with `make`, which returns `None` if it is not free.
    pub(super) fn make<T>(
        dir: BorrowedFd<'a>,
        make: impl Fn(&str) -> Result<Option<T>>,
    ) -> Result<(Self, T)> {
        loop {
            let n = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!(".treeferry-{}-{n}.tmp", std::process::id());
            if let Some(made) = make(&name)? {
                return Ok((Self::guard(dir, name), made));
            }
        }
    }

    /// Guards what was made under its right name, where nothing was before.
    pub(super) fn guard(dir: BorrowedFd<'a>, name: String) -> Self {
        let name = Some(name);
        Self { dir, name }
    }

    /// Keeps it where it is.
    pub(super) fn keep(mut self) {
        self.name = None;
    }

    /// Returns the name.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Takes the place of whatever is at `name`, in one step.
    pub(super) fn replace(mut self, name: &str) -> Result<()> {
        rustix::fs::renameat(self.dir, self.name(), self.dir, name)
            .map_err(|e| Error::io("cannot be replaced", e))?;
        self.name = None;
        Ok(())
    }

    /// Moves to `name` if nothing is there; says whether it did.
    pub(super) fn take_free(self, name: &str) -> Result<bool> {
        match rustix::fs::linkat(self.dir, self.name(), self.dir, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(Error::io("cannot be created", e)),
        }
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Nothing more can be done about one that cannot be removed.
            let _ = unlink(self.dir, &name);
        }
    }
}

/// Creates a regular file that nobody else can open yet; `None` if the name is not free.
pub(super) fn create_file(dir: BorrowedFd<'_>, name: &str) -> Result<Option<File>> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    unless_taken(rustix::fs::openat(dir, name, flags, mode).map(File::from))
}

/// Creates a symbolic link; `None` if the name is not free.
pub(super) fn create_symlink(dir: BorrowedFd<'_>, name: &str, target: &str) -> Result<Option<()>> {
    unless_taken(rustix::fs::symlinkat(target, dir, name))
}

/// Creates a directory that nobody else can enter yet; `None` if the name is not free.
pub(super) fn create_dir(dir: BorrowedFd<'_>, name: &Path) -> Result<Option<()>> {
    unless_taken(rustix::fs::mkdirat(dir, name, Mode::RWXU))
}

fn unless_taken<T>(result: std::result::Result<T, Errno>) -> Result<Option<T>> {
    match result {
        Ok(made) => Ok(Some(made)),
        Err(Errno::EXIST) => Ok(None),
        Err(e) => Err(Error::io("cannot be created", e)),
    }
}

/// Sets the mode of the character device `name`, and of nothing that took its place.
pub(super) fn set_device_mode(dir: BorrowedFd<'_>, name: &str, mode: u32) -> Result<()> {
    let failed = |e| Error::io("its mode cannot be set", e);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let device = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(failed)?;
    if kind(&rustix::fs::fstat(&device).map_err(failed)?) != FileType::CharacterDevice {
        return Err(failed(Errno::STALE));
    }
    // What was opened this way can be changed only by its path below /proc.
    let path = format!("/proc/self/fd/{}", device.as_raw_fd());
    let mode = Mode::from_raw_mode(mode & 0o7777);
    rustix::fs::chmod(path, mode).map_err(failed)
}

/// Flushes a file or directory to disk.
pub(super) fn sync(fd: impl AsFd) -> Result<()> {
    rustix::fs::fsync(fd).map_err(|e| Error::io("cannot be synced", e))
}
