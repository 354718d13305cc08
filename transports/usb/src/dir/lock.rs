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

/// Waits until nobody compares and puts; takes no right to write. A directory without a lock file has
/// no writers.
pub(super) fn wait_for_writers(root: &Root, wait: Duration) -> std::result::Result<(), Errno> {
    let path = format!("{WORK_DIR}/lock");
    let file = match root.open_at(&path, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    let started = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) if started.elapsed() < wait => std::thread::sleep(PAUSE),
            Ok(()) | Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Takes an exclusive lock, if nobody has it.
pub(super) fn try_lock(file: &OwnedFd) -> std::result::Result<bool, Errno> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e),
    }
}
