//! Files that are written, and not yet synced and named. All of it is **blocking**.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::Result;
use treeferry_core::transport::RemotePath;

use super::lock::{self, try_lock};
use super::root::{Root, is_fuse, names, split};
use super::{Inner, WORK_DIR};

/// How many files are in one directory while they have no name: FAT looks through all of it for each.
const FILES_A_DIR: u64 = 128;

/// The gathered files of one handle, and its own directory.
#[derive(Debug, Default)]
pub(super) struct Group {
    work: Mutex<Option<Work>>,
    files: Mutex<Files>,
    /// Held by whoever names what was gathered: one at a time.
    naming: Mutex<()>,
    counter: AtomicU64,
}

/// A directory of our own. Locked, so that others see whether we live.
#[derive(Debug)]
struct Work {
    path: String,
    /// How many directories for files there are in it.
    dirs: u64,
    _lock: OwnedFd,
}

#[derive(Debug, Default)]
struct Files {
    by_path: BTreeMap<String, Gathered>,
    order: u64,
    bytes: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Gathered {
    at: String,
    order: u64,
    pub(super) bytes: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder leaves anything half changed, so a panic elsewhere does not matter.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// Returns where a gathered file is, if `path` is one.
    pub(super) fn find(&self, path: &RemotePath) -> Option<String> {
        let files = locked(&self.files);
        files.by_path.get(path.as_str()).map(|file| file.at.clone())
    }

    /// Returns the gathered files whose path starts with `prefix`, and their lengths.
    pub(super) fn below(&self, prefix: &str) -> Vec<(String, u64)> {
        let files = locked(&self.files);
        let from = files.by_path.range(prefix.to_owned()..);
        let below = from.take_while(|(path, _)| path.starts_with(prefix));
        below
            .map(|(path, file)| (path.clone(), file.bytes))
            .collect()
    }

    /// Returns a new name in our own directory, which is made by the first call.
    pub(super) fn new_name(&self, root: &Root, lock_wait: Duration) -> Result<String> {
        let mut work = locked(&self.work);
        let work = match &mut *work {
            Some(work) => work,
            none => {
                // Who has just made a directory and not locked it yet is not dead.
                let _lock = lock::lock(root, lock_wait)?;
                remove_dead(root)?;
                none.insert(make_work(root)?)
            }
        };
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let dir = format!("{}/{}", work.path, number / FILES_A_DIR);
        if number / FILES_A_DIR >= work.dirs {
            root.make_dirs(&dir)?;
            work.dirs = number / FILES_A_DIR + 1;
        }
        Ok(format!("{dir}/{number}"))
    }

    /// Adds a file that was written; returns how much is gathered now.
    pub(super) fn add(&self, path: &RemotePath, at: String, bytes: u64) -> (u64, usize) {
        let mut files = locked(&self.files);
        files.order += 1;
        let order = files.order;
        let gathered = Gathered { at, order, bytes };
        files.bytes += bytes;
        files.by_path.insert(path.as_str().to_owned(), gathered);
        (files.bytes, files.by_path.len())
    }

    /// Forgets a file that has its name now, unless another one has come since.
    fn forget(&self, path: &str, order: u64) {
        let mut files = locked(&self.files);
        let named = files.by_path.get(path).filter(|file| file.order == order);
        if let Some(bytes) = named.map(|file| file.bytes) {
            files.bytes = files.bytes.saturating_sub(bytes);
            files.by_path.remove(path);
        }
    }

    /// Forgets a gathered file; returns where it is.
    pub(super) fn remove(&self, path: &RemotePath) -> Option<String> {
        let mut files = locked(&self.files);
        let removed = files.by_path.remove(path.as_str())?;
        files.bytes = files.bytes.saturating_sub(removed.bytes);
        Some(removed.at)
    }
}

impl Inner {
    /// Syncs all that was gathered, then names it, then syncs the names.
    pub(super) fn flush_blocking(&self) -> Result<()> {
        let _naming = locked(&self.group.naming);
        let mut due: Vec<(String, Gathered)> = {
            let files = locked(&self.group.files);
            let all = files.by_path.iter();
            all.map(|(path, file)| (path.clone(), file.clone()))
                .collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        // In the order in which they came: what is named by others came first.
        due.sort_by_key(|(_, file)| file.order);
        self.sync_files(&due)?;
        let mut dirs = HashSet::new();
        for (path, file) in &due {
            self.name(&file.at, path)?;
            self.group.forget(path, file.order);
            dirs.insert(split(path).0.to_owned());
        }
        self.sync_dirs(&dirs)
    }

    fn sync_files(&self, due: &[(String, Gathered)]) -> Result<()> {
        self.sync_all()?;
        if !self.is_fuse() {
            return Ok(());
        }
        // Drivers hand what is written to the device at once; a sync of any file makes it durable.
        if let Some((_, file)) = due.last() {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW;
            let opened = self.root.open_at(&file.at, flags, Mode::empty());
            opened
                .and_then(rustix::fs::fsync)
                .map_err(|e| self.root.failed("cannot be synced", &file.at, e))?;
        }
        Ok(())
    }

    /// Syncs the whole filesystem, which is the stick's and nobody else's.
    fn sync_all(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root.fd)
            .map_err(|e| self.root.failed("the filesystem cannot be synced", "", e))
    }

    fn sync_dirs(&self, dirs: &HashSet<String>) -> Result<()> {
        self.sync_all()?;
        if !self.is_fuse() {
            return Ok(());
        }
        match dirs.iter().next() {
            Some(dir) => self.sync_dir(dir),
            None => Ok(()),
        }
    }

    /// Syncs a directory, where the filesystem has that.
    pub(super) fn sync_dir(&self, dir: &str) -> Result<()> {
        let failed = |e| self.root.failed("cannot be synced", dir, e);
        let opened = self.root.open_dir(dir).map_err(failed)?;
        match rustix::fs::fsync(opened) {
            // Filesystems without it write directories when they change.
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Returns whether a driver outside of the kernel does the work: a sync of the filesystem is not
    /// passed on to it.
    pub(super) fn is_fuse(&self) -> bool {
        is_fuse(&self.root.fd)
    }
}

/// Removes what writers left behind that are gone.
fn remove_dead(root: &Root) -> Result<()> {
    let Ok(dir) = root.open_dir(WORK_DIR) else {
        return Ok(());
    };
    let found = names(&dir).map_err(|e| root.failed("cannot be listed", WORK_DIR, e))?;
    for name in found {
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        let path = format!("{WORK_DIR}/{name}");
        // The lock file is none of them.
        let Ok(theirs) = root.open_dir(&path) else {
            continue;
        };
        // Whoever lives holds it.
        if !try_lock(&theirs).unwrap_or(false) {
            continue;
        }
        empty(root, &path);
        // What cannot be removed costs room, and nothing else.
        let _ = rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR);
    }
    Ok(())
}

/// Removes what is in a directory of a writer: files, and directories of files.
fn empty(root: &Root, path: &str) {
    let Ok(dir) = root.open_dir(path) else {
        return;
    };
    for name in names(&dir).unwrap_or_default() {
        if rustix::fs::unlinkat(&dir, &*name, AtFlags::empty()).is_ok() {
            continue;
        }
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        let below = format!("{path}/{name}");
        let files = root
            .open_dir(&below)
            .and_then(|dir| Ok((names(&dir)?, dir)));
        if let Ok((files, dir)) = files {
            for file in files {
                let _ = rustix::fs::unlinkat(&dir, file, AtFlags::empty());
            }
        }
        let _ = rustix::fs::unlinkat(&root.fd, below, AtFlags::REMOVEDIR);
    }
}

fn make_work(root: &Root) -> Result<Work> {
    let above = root.make_dirs(WORK_DIR)?;
    let mut number = 0_u32;
    loop {
        let name = format!("{}-{number}", std::process::id());
        let path = format!("{WORK_DIR}/{name}");
        match rustix::fs::mkdirat(&above, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                number += 1;
                continue;
            }
            Err(e) => return Err(root.failed("cannot be made", &path, e)),
        }
        let failed = |e| root.failed("cannot be locked", &path, e);
        let dir = root.open_dir(&path).map_err(failed)?;
        if try_lock(&dir).map_err(failed)? {
            return Ok(Work {
                path,
                dirs: 0,
                _lock: dir,
            });
        }
        // Somebody else looks whether it is one of the dead.
        number += 1;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let work = locked(&self.group.work).take();
        let Some(Work { path, _lock, .. }) = work else {
            return;
        };
        // What was gathered and never needed goes: nobody was told that it is durable.
        empty(&self.root, &path);
        let _ = rustix::fs::unlinkat(&self.root.fd, path, AtFlags::REMOVEDIR);
    }
}
