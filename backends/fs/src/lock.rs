//! Locks that the C `ostree` honours, and locks among ourselves.
//!
//! They are the kernel's open file description locks: owned by an open file, so that two handles
//! in one process exclude each other as two processes do, and that closing any other descriptor
//! of the same file loses nothing. `flock` would be a different lock.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{Mode, OFlags};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::pool::Pool;
use treeferry_core::store::LockKind;

use crate::config::LockTimeout;
use crate::sys::failed;

/// The lock that keeps writers and prunes apart.
pub(crate) const REPO_LOCK: &str = ".lock";
/// The lock under which refs, state and config are compared and swapped. The C `ostree` takes
/// none: against it the last writer wins.
pub(crate) const STATE_LOCK: &str = ".treeferry-lock";

/// How long to wait for `STATE_LOCK`, whatever the repository says of the other one: it is held
/// for moments, and released by the kernel when its holder dies.
pub(crate) const STATE_LOCK_TIMEOUT: LockTimeout = LockTimeout::After(Duration::from_secs(60));

/// A lock that is held as long as this lives.
#[derive(Debug)]
pub(crate) struct FileLock {
    /// Closing it releases the lock.
    _file: File,
}

/// Tries to lock an open file; `false` when somebody else holds it.
pub(crate) fn try_lock(file: &File, kind: LockKind) -> std::io::Result<bool> {
    let lock_type = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    };
    let whole_file = libc::flock {
        l_type: i16::try_from(lock_type).unwrap_or(0),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or(0),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens the file that is locked, making it with OSTree's permissions.
pub(crate) fn open_lock_file(dir: BorrowedFd<'_>, name: &str, mode: u32) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))
        .map(File::from)
        .map_err(failed(name, "cannot be opened to lock the repository"))
}

/// Waits for a lock that is there to be held together with other readers, if anybody ever made
/// it: who can only read makes no files.
pub(crate) async fn wait_to_read(
    pool: &Pool,
    dir: Arc<OwnedFd>,
    name: &'static str,
    timeout: LockTimeout,
    repo: &Path,
) -> Result<Option<FileLock>> {
    let opened = pool
        .run(move || crate::sys::open_file(dir.as_fd(), name))
        .await?;
    match opened {
        Some(file) => poll_lock(pool, file, name, LockKind::Shared, timeout, repo)
            .await
            .map(Some),
        None => Ok(None),
    }
}

/// Waits for a lock as long as `timeout` says, without blocking a runtime thread.
pub(crate) async fn wait_for_lock(
    pool: &Pool,
    dir: Arc<OwnedFd>,
    name: &'static str,
    kind: LockKind,
    timeout: LockTimeout,
    repo: &Path,
) -> Result<FileLock> {
    let file = pool
        .run(move || open_lock_file(dir.as_fd(), name, 0o660))
        .await
        .map_err(|e| e.context(format!("{}: cannot be locked", repo.display())))?;
    poll_lock(pool, file, name, kind, timeout, repo).await
}

async fn poll_lock(
    pool: &Pool,
    mut file: File,
    name: &'static str,
    kind: LockKind,
    timeout: LockTimeout,
    repo: &Path,
) -> Result<FileLock> {
    let pause_max = match name {
        STATE_LOCK => Duration::from_millis(10),
        _ => Duration::from_millis(200),
    };
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(2);
    loop {
        let attempt = move || {
            let locked = try_lock(&file, kind)
                .map_err(|e| Error::io("cannot be locked", e).about(Path::new(name)))?;
            Ok((file, locked))
        };
        let locked;
        (file, locked) = pool.run(attempt).await?;
        if locked {
            return Ok(FileLock { _file: file });
        }
        if let LockTimeout::After(limit) = timeout {
            if waited >= limit {
                return Err(timed_out(kind, limit, repo));
            }
            pause = pause.min(limit - waited);
        }
        tokio::time::sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(pause_max);
    }
}

fn timed_out(kind: LockKind, limit: Duration, repo: &Path) -> Error {
    let other = match kind {
        LockKind::Shared => "another process is deleting from it",
        LockKind::Exclusive => "another process is using it",
    };
    let problem = format!(
        "the repository is locked, {other}: waited {} s; try again, or raise \
         core.lock-timeout-secs",
        limit.as_secs()
    );
    Error::new(ErrorKind::Locked, problem).about(repo)
}
