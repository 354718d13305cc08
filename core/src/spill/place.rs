//! Where files go that nobody else sees.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Directories of which the first that can be written takes files without a name.
///
/// They should be on a disk: a directory in memory, as `/tmp` is on some machines, saves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillPlace(Vec<PathBuf>);

impl SpillPlace {
    /// Names a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(vec![directory.into()])
    }

    /// Adds a directory for when those before it cannot be written, as on read-only media.
    #[must_use]
    pub fn or(mut self, directory: impl Into<PathBuf>) -> Self {
        self.0.push(directory.into());
        self
    }

    /// Opens an empty file that no directory holds. **Blocking.**
    pub fn open(&self) -> Result<File> {
        let mut last = Error::invalid("there is no directory to spill to");
        for dir in &self.0 {
            match open_nameless(dir) {
                Ok(file) => return Ok(file),
                Err(e) => last = Error::io("a temporary file cannot be made", e).about(&**dir),
            }
        }
        Err(last)
    }
}

fn open_nameless(dir: &Path) -> rustix::io::Result<File> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, dir, flags | OFlags::TMPFILE, mode) {
        Ok(fd) => return Ok(fd.into()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".spill-{}-{number}", std::process::id()));
        let flags = flags | OFlags::CREATE | OFlags::EXCL;
        match rustix::fs::openat(CWD, &path, flags, mode) {
            Ok(fd) => {
                rustix::fs::unlinkat(CWD, &path, AtFlags::empty())?;
                return Ok(fd.into());
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
}
