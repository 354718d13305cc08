//! Files of this machine, in blocking steps. No symbolic link is followed where a name is looked up
//! in somebody else's tree.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind as Io, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, XattrFlags};
use treeferry_core::error::{Error, Result};

/// Returns an error of `path`.
pub(crate) fn failed(path: &Path, problem: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::io(problem, error).about(path)
}

/// Looks at what is at `path` itself; `None` when nothing is.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(None),
        Err(e) => Err(failed(path, "cannot be looked at")(e)),
    }
}

/// Reads a file; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(None),
        Err(e) => Err(failed(path, "cannot be read")(e)),
    }
}

/// Reads a text file; `None` when there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes);
    let bad = |_| Error::corrupt("is not UTF-8").about(path);
    text.map(Some).map_err(bad)
}

/// Returns the target of a symbolic link; `None` when nothing is there.
pub(crate) fn read_link(path: &Path) -> Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(e) if e.kind() == Io::NotFound => Ok(None),
        Err(e) => Err(failed(path, "cannot be read as a symbolic link")(e)),
    }
}

/// Returns the names in a directory, sorted; none when there is no such directory.
pub(crate) fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(failed(dir, "cannot be listed")(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed(dir, "cannot be listed"))?.file_name());
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes a directory and those above it, those that are missing with `mode`.
pub(crate) fn make_dirs(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(mode);
    builder.create(path).map_err(failed(path, "cannot be made"))
}

/// Puts a file in place as a whole, durable before it is seen.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let temporary = beside(path);
    let write = || {
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(mode);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let _ = fs::remove_file(&temporary);
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        failed(path, "cannot be written")(e)
    })
}

/// Puts a symbolic link in place of whatever is there.
pub(crate) fn replace_link(target: impl AsRef<Path>, path: &Path) -> Result<()> {
    let temporary = beside(path);
    let _ = fs::remove_file(&temporary);
    symlink(target, &temporary)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(failed(path, "cannot be made a symbolic link"))
}

/// Returns a name beside `path` for what is not there yet.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Removes what is at `path`, with all that is in it; deployments may be sealed against that.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    let Some(meta) = look(path)? else {
        return Ok(());
    };
    if !meta.is_dir() {
        return remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == Io::NotFound => Ok(()),
        Err(e) => Err(failed(path, "cannot be removed")(e)),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(()),
        Err(e) => Err(failed(path, "cannot be removed")(e)),
    }
}

/// Syncs a directory or file.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(failed(path, "cannot be opened to sync it"))?;
    file.sync_all().map_err(failed(path, "cannot be synced"))
}

/// Syncs the filesystem that `path` is on.
pub(crate) fn sync_filesystem(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(failed(path, "cannot be opened to sync it"))?;
    let synced = rustix::fs::syncfs(&file).map_err(io::Error::from);
    synced.map_err(failed(path, "its filesystem cannot be synced"))
}

/// Whether a directory may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Not even by root.
    On,
    /// By whoever may.
    Off,
}

/// Seals a directory, or takes the seal off. Where the filesystem has none, or the caller may not,
/// nothing happens: the seal guards against slips, not against malice.
pub(crate) fn set_seal(path: &Path, seal: Seal) -> Result<()> {
    let file = File::open(path).map_err(failed(path, "cannot be opened"))?;
    let Ok(flags) = rustix::fs::ioctl_getflags(&file) else {
        return Ok(());
    };
    let wanted = match seal {
        Seal::On => flags | IFlags::IMMUTABLE,
        Seal::Off => flags - IFlags::IMMUTABLE,
    };
    if wanted == flags {
        return Ok(());
    }
    use rustix::io::Errno;
    match rustix::fs::ioctl_setflags(&file, wanted) {
        Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => Ok(()),
        Err(errno) => Err(failed(path, "cannot be sealed")(errno.into())),
    }
}

/// Copies owner, attributes and mode, in that order: a change of owner clears mode bits.
pub(crate) fn copy_attributes(from: &Path, meta: &Metadata, to: &Path) -> Result<()> {
    let (uid, gid) = (Some(meta.uid()), Some(meta.gid()));
    std::os::unix::fs::lchown(to, uid, gid).map_err(failed(to, "its owner cannot be set"))?;
    copy_xattrs(from, to)?;
    if !meta.is_symlink() {
        let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
        fs::set_permissions(to, mode).map_err(failed(to, "its mode cannot be set"))?;
    }
    Ok(())
}

fn copy_xattrs(from: &Path, to: &Path) -> Result<()> {
    use rustix::io::Errno;
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(failed(from, "its attributes cannot be read")(e.into())),
    };
    for name in names[..length].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])
            .map_err(|e| failed(from, "its attributes cannot be read")(e.into()))?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())
            .map_err(|e| failed(to, "its attributes cannot be set")(e.into()))?;
    }
    Ok(())
}

/// Copies a regular file or symbolic link; what is at `to` is replaced. Returns whether it was one
/// of these: anything else is left out.
pub(crate) fn copy_file(from: &Path, meta: &Metadata, to: &Path) -> Result<bool> {
    if meta.is_symlink() {
        let target = fs::read_link(from).map_err(failed(from, "cannot be read"))?;
        remove_file(to)?;
        symlink(target, to).map_err(failed(to, "cannot be made"))?;
    } else if meta.is_file() {
        remove_file(to)?;
        let mut source = File::open(from).map_err(failed(from, "cannot be opened"))?;
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(to).map_err(failed(to, "cannot be made"))?;
        io::copy(&mut source, &mut file).map_err(failed(to, "cannot be written"))?;
        copy_attributes(from, meta, to)?;
        return Ok(true);
    } else {
        return Ok(false);
    }
    copy_attributes(from, meta, to)?;
    Ok(true)
}

/// Copies a directory with all that is in it, into one that may be there. Anything that is neither
/// file, symbolic link nor directory is left out and told of.
pub(crate) fn copy_tree(from: &Path, to: &Path, left_out: &mut Vec<PathBuf>) -> Result<()> {
    let mut todo = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = todo.pop() {
        let meta = fs::symlink_metadata(&from).map_err(failed(&from, "cannot be looked at"))?;
        if look(&to)?.is_none() {
            make_dirs(&to, 0o700)?;
        }
        copy_attributes(&from, &meta, &to)?;
        for name in names(&from)? {
            let (from, to) = (from.join(&name), to.join(&name));
            let meta = fs::symlink_metadata(&from).map_err(failed(&from, "cannot be looked at"))?;
            if meta.is_dir() {
                todo.push((from, to));
            } else if !copy_file(&from, &meta, &to)? {
                left_out.push(from);
            }
        }
    }
    Ok(())
}

/// Returns how much room there is on the filesystem of `path` for this process, bytes.
pub(crate) fn available_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| failed(path, "its filesystem cannot be looked at")(e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Returns how long a block of the filesystem of `path` is, bytes.
pub(crate) fn block_bytes(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| failed(path, "its filesystem cannot be looked at")(e.into()))?;
    Ok(stat.f_frsize.max(1))
}

/// Returns which device `path` is on.
pub(crate) fn device(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).map_err(failed(path, "cannot be looked at"))?;
    Ok(meta.dev())
}
