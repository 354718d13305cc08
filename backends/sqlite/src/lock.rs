//! Locks on a file beside the database.
//!
//! They are the kernel's open file description locks, on bytes of `FILE-lock`, which is empty: owned
//! by an open file, so that two handles in one process exclude each other as two processes do, and
//! gone with the process, however it ends. A table of leases in the database would need clocks and
//! heartbeats to notice a dead holder. The database file itself must not be used: SQLite holds
//! POSIX locks on it, which closing any other descriptor of that file would release.
//!
//! ```text
//! byte 0            shared for writers, exclusive for whoever deletes
//! 2^40 + N          held while the batch N is open
//! 2^41 + N          held while somebody works on the interrupted download N
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::pool::Pool;
use treeferry_core::store::{LockGuard, LockKind};

/// What can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lockable {
    /// The repository, against deletion.
    Repository,
    /// An open batch.
    Batch(i64),
    /// An interrupted download.
    Download(i64),
}

impl Lockable {
    fn byte(self) -> i64 {
        match self {
            Self::Repository => 0,
            Self::Batch(id) => (1 << 40) + id,
            Self::Download(id) => (1 << 41) + id,
        }
    }
}

/// The place of the locks of one database.
#[derive(Debug, Clone)]
pub(crate) struct LockFile(PathBuf);

/// A lock that is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    // Closing it releases the lock.
    _file: File,
}

impl LockFile {
    /// Names the lock file of the database at `path`.
    pub(crate) fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push("-lock");
        Self(name.into())
    }

    /// Tries to lock; `None` when somebody else holds it. **Blocking**, for a moment.
    pub(crate) fn try_lock(&self, what: Lockable, kind: LockKind) -> Result<Option<Held>> {
        let failed = |e: std::io::Error| Error::io("cannot be locked", e).about(self.0.as_path());
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&self.0).map_err(failed)?;
        let lock_type = match kind {
            LockKind::Shared => libc::F_RDLCK,
            LockKind::Exclusive => libc::F_WRLCK,
        };
        let byte = libc::flock {
            l_type: i16::try_from(lock_type).unwrap_or(0),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap_or(0),
            l_start: what.byte(),
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&byte)) {
            Ok(_) => Ok(Some(Held { _file: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Waits for the lock on the repository, without blocking a runtime thread.
    pub(crate) async fn wait(
        &self,
        pool: &Pool,
        kind: LockKind,
        limit: Option<Duration>,
    ) -> Result<LockGuard> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(2);
        loop {
            let file = self.clone();
            let locked = pool
                .run(move || file.try_lock(Lockable::Repository, kind))
                .await?;
            if let Some(held) = locked {
                return Ok(LockGuard::new(kind, held));
            }
            if let Some(limit) = limit {
                if waited >= limit {
                    return Err(self.timed_out(kind, limit));
                }
                pause = pause.min(limit - waited);
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    fn timed_out(&self, kind: LockKind, limit: Duration) -> Error {
        let other = match kind {
            LockKind::Shared => "somebody is deleting from it",
            LockKind::Exclusive => "somebody is writing to it",
        };
        let problem = format!(
            "the repository is locked, {other}: waited {limit:?}; try again, or raise \
             core.lock-timeout-secs"
        );
        Error::new(ErrorKind::Locked, problem).about(self.0.as_path())
    }
}
