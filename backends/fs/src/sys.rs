//! Small steps on directories, each relative to an open one. All of it is blocking.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};

/// Whether something is made durable before it is answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

/// Turns the failure of a system call on `path` into an error.
pub(crate) fn failed(path: &str, problem: &'static str) -> impl FnOnce(Errno) -> Error {
    let path = Path::new(path).to_path_buf();
    move |errno| Error::io(problem, errno).about(path)
}

/// Opens a directory below `dir`.
pub(crate) fn open_dir(dir: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, path, flags, Mode::empty())
}

/// Returns what is known of `path`; a symbolic link is not followed. `None` when it is not there.
pub(crate) fn stat(dir: BorrowedFd<'_>, path: &str) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(failed(path, "cannot be looked at")(e)),
    }
}

/// Returns the length that `stat` tells, bytes.
pub(crate) fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Opens a regular file for reading. `None` when it is not there.
pub(crate) fn open_file(dir: BorrowedFd<'_>, path: &str) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::openat(dir, path, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(failed(path, "cannot be opened")(e)),
    }
}

/// Reads a small file whole, up to `bytes_max`. `None` when it is not there.
pub(crate) fn read_file(dir: BorrowedFd<'_>, path: &str, bytes_max: u64) -> Result<Option<Bytes>> {
    let Some(file) = open_file(dir, path)? else {
        return Ok(None);
    };
    let about = |error: Error| error.about(Path::new(path));
    let stat = rustix::fs::fstat(&file).map_err(failed(path, "cannot be looked at"))?;
    let mut bytes =
        Vec::with_capacity(usize::try_from(length(&stat).min(1 << 20)).unwrap_or(0) + 1);
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| about(Error::io("cannot be read", e)))?;
    if bytes.len() as u64 > bytes_max {
        let problem = format!("is longer than the limit of {bytes_max} bytes");
        return Err(about(Error::corrupt(problem)));
    }
    Ok(Some(bytes.into()))
}

/// Removes a file; returns whether it was there.
pub(crate) fn remove_file(dir: impl AsFd, path: &str) -> Result<bool> {
    match rustix::fs::unlinkat(dir, path, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(e) => Err(failed(path, "cannot be removed")(e)),
    }
}

/// Replaces a small file: others see the old bytes or the new ones, and so does a power cut.
pub(crate) fn replace_file(
    dir: BorrowedFd<'_>,
    path: &str,
    bytes: &[u8],
    mode: Mode,
    durable: Durable,
) -> Result<()> {
    let pending = prepare_file(dir, path, bytes, mode, durable)?;
    pending.rename()?;
    sync_parent(dir, path, durable)
}

/// A file that is complete but not yet called by its name. Removed if it never is.
#[derive(Debug)]
pub(crate) struct PendingFile<'a> {
    dir: BorrowedFd<'a>,
    pending: String,
    path: &'a str,
    renamed: bool,
}

impl PendingFile<'_> {
    pub(crate) fn rename(mut self) -> Result<()> {
        rustix::fs::renameat(self.dir, &self.pending, self.dir, self.path)
            .map_err(failed(self.path, "cannot be replaced"))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for PendingFile<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = rustix::fs::unlinkat(self.dir, &self.pending, AtFlags::empty());
        }
    }
}

/// Writes (and syncs) the bytes that are to be `path` under a temporary name beside it.
pub(crate) fn prepare_file<'a>(
    dir: BorrowedFd<'a>,
    path: &'a str,
    bytes: &[u8],
    mode: Mode,
    durable: Durable,
) -> Result<PendingFile<'a>> {
    // Names of refs and state files do not begin with a dot: nobody lists these as such.
    let (parent, _) = path.rsplit_once('/').unwrap_or((".", path));
    let pending = format!("{parent}/{}", temporary_name());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, &pending, flags, Mode::from_raw_mode(0o600))
        .map_err(failed(path, "cannot be written"))?;
    let prepared = PendingFile {
        dir,
        pending,
        path,
        renamed: false,
    };
    rustix::fs::fchmod(&fd, mode).map_err(failed(path, "cannot be written"))?;
    let mut file = File::from(fd);
    file.write_all(bytes)
        .map_err(|e| Error::io("cannot be written", e).about(Path::new(path)))?;
    if durable == Durable::Yes {
        rustix::fs::fsync(&file).map_err(failed(path, "cannot be made durable"))?;
    }
    Ok(prepared)
}

/// Makes the directory that `path` lies in durable.
pub(crate) fn sync_parent(dir: BorrowedFd<'_>, path: &str, durable: Durable) -> Result<()> {
    match path.rsplit_once('/') {
        Some((parent, _)) => sync_dir(dir, parent, durable),
        None => sync_dir(dir, ".", durable),
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: BorrowedFd<'_>, path: &str, durable: Durable) -> Result<()> {
    if durable == Durable::No {
        return Ok(());
    }
    open_dir(dir, path)
        .and_then(rustix::fs::fsync)
        .map_err(failed(path, "cannot be made durable"))
}

/// Makes sure that a directory and those above it are there, durably.
pub(crate) fn make_dirs(dir: BorrowedFd<'_>, path: &str, durable: Durable) -> Result<()> {
    match rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(0o777)) {
        Ok(()) => sync_parent(dir, path, durable),
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) if path.contains('/') => {
            let (parent, _) = path.rsplit_once('/').unwrap_or((".", path));
            make_dirs(dir, parent, durable)?;
            match rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(0o777)) {
                Ok(()) => sync_parent(dir, path, durable),
                Err(Errno::EXIST) => Ok(()),
                Err(e) => Err(failed(path, "cannot be made")(e)),
            }
        }
        Err(e) => Err(failed(path, "cannot be made")(e)),
    }
}

/// Lists the names in a directory, without `.` and `..`. Empty when it is not there.
pub(crate) fn names_in(dir: BorrowedFd<'_>, path: &str) -> Result<Vec<String>> {
    let entries = entries_in(dir, path)?;
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

/// Lists a directory as [`names_in`] does, with what each is, if the filesystem tells.
pub(crate) fn entries_in(dir: BorrowedFd<'_>, path: &str) -> Result<Vec<(String, FileType)>> {
    let fd = match open_dir(dir, path) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(e) => return Err(failed(path, "cannot be listed")(e)),
    };
    let mut found = Vec::new();
    let mut entries = rustix::fs::Dir::new(fd).map_err(failed(path, "cannot be listed"))?;
    while let Some(entry) = entries.read() {
        let entry = entry.map_err(failed(path, "cannot be listed"))?;
        // What is not UTF-8 is not ours.
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => found.push((name.to_owned(), entry.file_type())),
        }
    }
    Ok(found)
}

/// Removes a directory with all it holds, two levels deep at most as staging directories are.
pub(crate) fn remove_tree(dir: BorrowedFd<'_>, path: &str) -> Result<()> {
    let Ok(fd) = open_dir(dir, path) else {
        return remove_file(dir, path).map(|_| ());
    };
    let fd = fd.as_fd();
    for name in names_in(fd, ".")? {
        match rustix::fs::unlinkat(fd, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                for inner in names_in(fd, &name)? {
                    remove_file(fd, &format!("{name}/{inner}"))?;
                }
                rustix::fs::unlinkat(fd, &name, AtFlags::REMOVEDIR)
                    .map_err(failed(&name, "cannot be removed"))?;
            }
            Err(e) => return Err(failed(&name, "cannot be removed")(e)),
        }
    }
    match rustix::fs::unlinkat(dir, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(failed(path, "cannot be removed")(e)),
    }
}

const TEMPORARY_PREFIX: &str = ".treeferry-";

/// Returns a name for what is to get another in a moment.
pub(crate) fn temporary_name() -> String {
    format!("{TEMPORARY_PREFIX}{}", random_suffix())
}

/// Returns whether [`temporary_name`] made a name.
pub(crate) fn is_temporary(name: &str) -> bool {
    let suffix = name.strip_prefix(TEMPORARY_PREFIX);
    suffix.is_some_and(|s| s.len() == 6 && s.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Returns six letters and digits that nobody else is likely to choose.
pub(crate) fn random_suffix() -> String {
    const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // Each RandomState differs from all before it in this process, and is seeded by the system.
    let mut number = RandomState::new().build_hasher().finish();
    let mut suffix = String::with_capacity(6);
    for _ in 0..6 {
        let index = usize::try_from(number % 62).unwrap_or(0);
        suffix.push(char::from(ALPHABET[index]));
        number /= 62;
    }
    suffix
}
