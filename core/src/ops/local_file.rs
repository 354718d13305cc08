//! Reads files and directories of this machine as what they would be as objects. **Blocking.**

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::{Checksum, FileHeader, Hasher, Xattrs};

const COPY_BYTES: usize = 128 * 1024;

/// Whose extended attributes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadXattrs {
    /// All.
    All,
    /// None: the file counts as having none.
    None,
}

/// Reads the header of the regular file or symbolic link `name`, of which `stat` was taken, and
/// opens the former.
pub(crate) fn read_file(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    which: ReadXattrs,
) -> Result<(FileHeader, Option<File>)> {
    let mut header = FileHeader {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode,
        symlink_target: "".into(),
        xattrs: Xattrs::default(),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = rustix::fs::readlinkat(dir, name, Vec::new())
            .map_err(|e| Error::io("its target cannot be read", e))?;
        let target = target
            .into_string()
            .map_err(|e| Error::invalid("its target is not UTF-8").because(e))?;
        header.symlink_target = target.into();
        if which == ReadXattrs::All {
            header.xattrs = unopened_xattrs(dir, name)?;
        }
        return Ok((header, None));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())
        .map_err(|e| Error::io("cannot be opened", e))?;
    if which == ReadXattrs::All {
        header.xattrs = open_xattrs(file.as_fd())?;
    }
    Ok((header, Some(file.into())))
}

/// Returns the checksum of the file object with this header and content.
pub(crate) fn checksum(header: &FileHeader, content: Option<File>) -> Result<Checksum> {
    let mut hasher = Hasher::new();
    hasher.update(&header.to_canonical());
    if let Some(mut file) = content {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let n = file
                .read(&mut buffer)
                .map_err(|e| Error::io("cannot be read", e))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
        }
    }
    Ok(hasher.finish())
}

/// Reads the extended attributes of an open file or directory.
pub(crate) fn open_xattrs(fd: BorrowedFd<'_>) -> Result<Xattrs> {
    collect(
        || {
            let mut names = Vec::with_capacity(rustix::fs::flistxattr_query(fd)?);
            if names.capacity() > 0 {
                rustix::fs::flistxattr(fd, rustix::buffer::spare_capacity(&mut names))?;
            }
            Ok(names)
        },
        |name| {
            let mut value = Vec::with_capacity(rustix::fs::fgetxattr_query(fd, name)?);
            if value.capacity() > 0 {
                rustix::fs::fgetxattr(fd, name, rustix::buffer::spare_capacity(&mut value))?;
            }
            Ok(value)
        },
    )
}

/// Reads the extended attributes of what cannot be opened, such as a symbolic link.
pub(crate) fn unopened_xattrs(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Xattrs> {
    // There are no calls for this that take a directory; these do not follow the last part.
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    collect(
        || {
            let mut names = Vec::with_capacity(rustix::fs::llistxattr_query(&path)?);
            if names.capacity() > 0 {
                rustix::fs::llistxattr(&path, rustix::buffer::spare_capacity(&mut names))?;
            }
            Ok(names)
        },
        |name| {
            let mut value = Vec::with_capacity(rustix::fs::lgetxattr_query(&path, name)?);
            if value.capacity() > 0 {
                rustix::fs::lgetxattr(&path, name, rustix::buffer::spare_capacity(&mut value))?;
            }
            Ok(value)
        },
    )
}

type Called = std::result::Result<Vec<u8>, Errno>;

fn collect(list: impl Fn() -> Called, get: impl Fn(&[u8]) -> Called) -> Result<Xattrs> {
    let failed = |e| Error::io("its extended attributes cannot be read", e);
    let names = match retry_grown(&list) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Xattrs::default()),
        Err(e) => return Err(failed(e)),
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|n| !n.is_empty()) {
        match retry_grown(&|| get(name)) {
            Ok(value) => attributes.push((name.to_vec(), value)),
            // Removed since the list was made.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(Xattrs::sorted(attributes))
}

/// Asks again while what is asked for grows between the question for its length and the answer.
fn retry_grown(call: &impl Fn() -> Called) -> Called {
    let mut tries = 0;
    loop {
        match call() {
            Err(Errno::RANGE) if tries < 16 => tries += 1,
            result => return result,
        }
    }
}
