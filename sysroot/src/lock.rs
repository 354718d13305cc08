//! The lock of a sysroot: an open file description lock on `ostree/lock`, as OSTree takes it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use treeferry_core::error::{Error, Result};

use crate::files;
use crate::sysroot::Sysroot;

/// How long to wait before the lock is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// The right to change a sysroot, until it is dropped.
#[derive(Debug)]
pub struct SysrootLock {
    /// Closing it releases the lock.
    _file: File,
}

impl Sysroot {
    /// Tries to get the right to change this sysroot; `None` when somebody else has it.
    pub async fn try_lock(&self) -> Result<Option<SysrootLock>> {
        self.run(|sysroot| {
            let path = sysroot.layout().lock();
            let mut options = std::fs::OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let opened = options.mode(0o660).open(&path);
            let file =
                opened.map_err(files::failed(&path, "cannot be opened to lock the sysroot"))?;
            let locked = lock(&file).map_err(|e| Error::io("cannot be locked", e).about(path))?;
            Ok(locked.then_some(SysrootLock { _file: file }))
        })
        .await
    }

    /// Waits for the right to change this sysroot. `waiting` is called once if it has to wait.
    pub async fn lock(&self, waiting: impl FnOnce() + Send) -> Result<SysrootLock> {
        if let Some(lock) = self.try_lock().await? {
            return Ok(lock);
        }
        waiting();
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Some(lock) = self.try_lock().await? {
                return Ok(lock);
            }
        }
    }
}

fn lock(file: &File) -> std::io::Result<bool> {
    let whole_file = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap_or(1),
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
