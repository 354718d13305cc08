//! Locks between the writers of a directory. All of it is **blocking**.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, ErrorKind, Result};

use super::WORK_DIR;
use super::root::Root;

/// How long to wait before a lock is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// Locks the directory against others who compare and put, until the lock is dropped.
pub(super) fn lock(root: &Root, wait: Duration) -> Result<OwnedFd> {
    root.make_dirs(WORK_DIR)?;
    let path = format!("{WORK_DIR}/lock");
    let failed = |e| root.failed("cannot be locked", &path, e);
    let flags = OFlags::RDWR | OFlags::CREATE;
    let file = root
        .open_at(&path, flags, Mode::from_raw_mode(0o644))
        .map_err(failed)?;
    let started = Instant::now();
    while !try_lock(&file).map_err(failed)? {
        if started.elapsed() >= wait {
            let problem = "is held by another writer of this directory";
            return Err(Error::new(ErrorKind::Locked, problem).about(root.path.join(&path)));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(file)
}

/// Takes an exclusive lock, if nobody has it.
pub(super) fn try_lock(file: &OwnedFd) -> std::result::Result<bool, Errno> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e),
    }
}
