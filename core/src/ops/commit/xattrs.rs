//! Reads extended attributes relative to a directory.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::format::Xattrs;

/// Returns the extended attributes of `name` in `dir`, of the link itself if it is one. **Blocking.**
///
/// There is no call relative to a directory (before Linux 6.13), and a symbolic link cannot be
/// opened: `/proc/self/fd` names the directory without resolving a path twice.
pub(super) fn read_xattrs(dir: &OwnedFd, name: &CStr) -> Result<Xattrs, Errno> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(OsStr::from_bytes(name.to_bytes()));
    let path =
        CString::new(path.into_os_string().into_encoded_bytes()).map_err(|_| Errno::INVAL)?;
    let names = match grow(|buffer| rustix::fs::llistxattr(&path, buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Xattrs::default()),
        Err(e) => return Err(e),
    };
    let mut attributes = Vec::new();
    for attribute in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        match grow(|buffer| rustix::fs::lgetxattr(&path, attribute, buffer)) {
            // OSTree records none without a value, and the checksum depends on it.
            Ok(value) if value.is_empty() => {}
            Ok(value) => attributes.push((attribute.to_vec(), value)),
            // Gone since it was listed.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Xattrs::sorted(attributes))
}

/// Calls `read` with a buffer that is large enough, in most cases once.
fn grow(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(n) => {
                buffer.truncate(n);
                return Ok(buffer);
            }
            // 64 KiB is the most that Linux hands out for a list or a value.
            Err(Errno::RANGE) if buffer.len() < 1 << 16 => {
                buffer.resize((buffer.len() * 16).min(1 << 16), 0)
            }
            Err(e) => return Err(e),
        }
    }
}
