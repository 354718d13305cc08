//! The place of objects that are whole but not published: `tmp/staging-BOOTID-XXXXXX/`.
//!
//! Its layout, its name and the lock file beside it are those of the C `ostree`, which takes up
//! and publishes what a dead writer of the same boot left behind without looking at it. So nothing
//! in here is ever called by an object's name before it is whole and verified: the directory itself
//! is the list of what was staged. What is kept of it in memory is a bounded part, to save looking.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use parking::Guarded;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::pool::drop_elsewhere;
use treeferry_core::store::{LockGuard, LockKind, Stored};

use crate::layout::{PENDING_PREFIX, STAGING_PREFIX, fanout_name, object_path};
use crate::lock::{open_lock_file, try_lock};
use crate::mode::FsMode;
use crate::shelf::Shelf;
use crate::sync::SYNC_EACH_MAX;
use crate::sys::{self, failed};

/// Where the kernel shows a process its own open files.
const PROC_FDS: &str = "/proc/self/fd";

/// A staging directory of our own. Jobs share it; the last to let go cleans up, on the blocking
/// pool, for that may be a thread of the runtime.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) shelf: Shelf,
    dir: Arc<StagingDir>,
    contents: Guarded<Contents>,
    /// Held for reading while an object gets its name, so that none gets one when all are synced.
    naming: RwLock<()>,
    fanouts: FanoutSet,
    /// Directories of `objects/` in which something was found that this batch relies on.
    pub(crate) relied: FanoutSet,
    pending: AtomicU64,
    /// Whether files can be made without a name, and given one later.
    nameless: AtomicBool,
}

/// The directory itself, and the locks that are held until everything that was begun in it has
/// ended.
#[derive(Debug)]
struct StagingDir {
    tmp: Arc<OwnedFd>,
    name: String,
    removed: AtomicBool,
    _repo_lock: LockGuard,
    _own_lock: File,
}

/// Removes a staging directory when dropped, before its locks go.
struct Removal(Arc<StagingDir>);

impl Drop for Removal {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// How many objects are remembered, twice: some 4 MB each.
const REMEMBERED_MAX: usize = if cfg!(test) { 7 } else { (1 << 16) / 8 * 7 };

#[derive(Debug, Default)]
struct Contents {
    /// The objects that came last.
    recent: HashMap<ObjectName, Staged>,
    /// Those that came before them.
    older: HashMap<ObjectName, Staged>,
    /// Whether there are more, which only the directory knows.
    forgotten: bool,
    due: Due,
    fate: Fate,
}

/// Which objects are to be made durable.
#[derive(Debug)]
pub(crate) enum Due {
    /// These.
    Few(Vec<ObjectName>),
    /// More than are synced one by one.
    Many,
}

impl Default for Due {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// What a batch has staged, when it has ended.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) due: Due,
    /// The directories that objects are in.
    pub(crate) fanouts: Vec<u8>,
}

/// What becomes of a staging directory when nobody uses it any more.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is being filled; left behind now, its objects are worth taking up.
    #[default]
    Filling,
    /// All that matters was published, or it must not be believed: a sync failed.
    Remove,
}

/// What is known of an object in a staging directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staged {
    pub(crate) stored_bytes: u64,
    pub(crate) sync: SyncState,
}

/// Whether the data of a staged object is durable already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncState {
    /// Synced when it was written, or a symbolic link, which has no data to sync.
    Done,
    Due,
}

impl Staging {
    /// Makes an empty staging directory and locks it. Blocking.
    pub(crate) fn create(
        tmp: Arc<OwnedFd>,
        mode: FsMode,
        repo_lock: LockGuard,
        boot_id: Option<&str>,
    ) -> Result<Self> {
        let boot_id = boot_id.map_or_else(boot_id_of_kernel, str::to_owned);
        loop {
            let name = format!("{STAGING_PREFIX}{boot_id}-{}", sys::random_suffix());
            match rustix::fs::mkdirat(&tmp, &name, Mode::from_raw_mode(0o775)) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(failed(&format!("tmp/{name}"), "cannot be made")(e)),
            }
            // Between these steps somebody may take the new directory for one of a dead writer.
            let Some(own_lock) = lock_staging(tmp.as_fd(), &name)? else {
                continue;
            };
            let dir = match sys::open_dir(&tmp, &name) {
                Ok(dir) => Arc::new(dir),
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed(&name, "cannot be opened")(e)),
            };
            return Ok(Self {
                shelf: Shelf::new(dir, mode),
                dir: Arc::new(StagingDir {
                    tmp,
                    name,
                    removed: AtomicBool::new(false),
                    _repo_lock: repo_lock,
                    _own_lock: own_lock,
                }),
                contents: Guarded::default(),
                naming: RwLock::default(),
                fanouts: FanoutSet::default(),
                relied: FanoutSet::default(),
                pending: AtomicU64::new(0),
                nameless: AtomicBool::new(Path::new(PROC_FDS).exists()),
            });
        }
    }

    /// Returns what is known of an object in here. Blocking.
    pub(crate) fn get(&self, name: &ObjectName) -> Result<Option<Staged>> {
        let (found, forgotten) = self
            .contents
            .with(|contents| (contents.get(name), contents.forgotten));
        if found.is_some() || !forgotten {
            return Ok(found);
        }
        let stat = self.shelf.stat(name)?;
        Ok(stat.map(|stat| Staged {
            stored_bytes: stat.stored_bytes,
            sync: SyncState::Due,
        }))
    }

    /// Takes up an object that is whole and verified: `place` calls it by its name in here, and says
    /// whether nothing was called so before. Blocking.
    pub(crate) fn add(
        &self,
        name: ObjectName,
        staged: Staged,
        place: impl FnOnce() -> Result<Stored>,
    ) -> Result<Stored> {
        let _naming = self.naming.read().unwrap_or_else(PoisonError::into_inner);
        if self.contents.with(|contents| contents.fate) == Fate::Remove {
            let problem = "the batch ended while this object was being written";
            return Err(Error::new(ErrorKind::Cancelled, problem).about(name));
        }
        let placed = place()?;
        let known = self.contents.with(|contents| contents.note(name, staged));
        Ok(if known { Stored::Present } else { placed })
    }

    /// Ends the filling. What comes later is refused. Blocking.
    pub(crate) fn close(&self) -> Closed {
        let _nobody = self.naming.write().unwrap_or_else(PoisonError::into_inner);
        self.contents.with(|contents| {
            contents.fate = Fate::Remove;
            (contents.recent, contents.older) = Default::default();
            Closed {
                due: std::mem::take(&mut contents.due),
                fanouts: self.fanouts.to_vec(),
            }
        })
    }

    /// Removes the directory with what is left in it. Blocking.
    pub(crate) fn remove(&self) {
        self.dir.remove();
    }

    /// Returns a name that nobody takes for an object.
    pub(crate) fn pending_name(&self) -> String {
        let number = self.pending.fetch_add(1, Ordering::Relaxed);
        format!("{PENDING_PREFIX}{number}")
    }

    /// Makes an empty file that is to become an object.
    ///
    /// Without a name where the filesystem allows: that takes a quarter less system time than a
    /// name that is changed later, for which all writers compete for one directory, and a killed
    /// writer leaves nothing.
    pub(crate) fn new_pending(&self) -> Result<Pending<'_>> {
        let mode = Mode::from_raw_mode(0o600);
        if self.nameless.load(Ordering::Relaxed) {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            match rustix::fs::openat(self.shelf.fd(), ".", flags, mode) {
                Ok(fd) => return Ok(self.adopt_pending(None, Some(File::from(fd)))),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                    self.nameless.store(false, Ordering::Relaxed);
                }
                Err(e) => return Err(failed("tmp", "cannot be written")(e)),
            }
        }
        let name = self.pending_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.shelf.fd(), &name, flags, mode)
            .map_err(failed(&name, "cannot be written"))?;
        Ok(self.adopt_pending(Some(name), Some(File::from(fd))))
    }

    /// Wraps a node that was made by other means, under `name` if it has one.
    pub(crate) fn adopt_pending(&self, name: Option<String>, file: Option<File>) -> Pending<'_> {
        Pending {
            staging: self,
            name,
            file,
        }
    }

    /// Makes sure that the directory for objects whose checksum begins as this one's is there.
    pub(crate) fn make_fanout(&self, checksum: &Checksum) -> Result<()> {
        let first = checksum.as_bytes()[0];
        if self.fanouts.contains(first) {
            return Ok(());
        }
        make_fanout(self.shelf.fd(), first)?;
        self.fanouts.insert(first);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let empty = self
            .contents
            .with(|contents| contents.fate == Fate::Remove || contents.recent.is_empty());
        if empty && !self.dir.removed.load(Ordering::Relaxed) {
            drop_elsewhere(Removal(Arc::clone(&self.dir)));
        }
    }
}

impl Contents {
    fn get(&self, name: &ObjectName) -> Option<Staged> {
        let found = self.recent.get(name).or_else(|| self.older.get(name));
        found.copied()
    }

    /// Remembers an object, and returns whether it was known.
    fn note(&mut self, name: ObjectName, staged: Staged) -> bool {
        if self.get(&name).is_some() {
            return true;
        }
        if self.recent.len() >= REMEMBERED_MAX {
            self.forgotten |= !self.older.is_empty();
            // Neither table is given up: what came in its place would lie elsewhere on the heap.
            std::mem::swap(&mut self.older, &mut self.recent);
            self.recent.clear();
        }
        self.recent.insert(name, staged);
        match &mut self.due {
            _ if staged.sync == SyncState::Done => {}
            Due::Few(due) if due.len() < SYNC_EACH_MAX => due.push(name),
            due => *due = Due::Many,
        }
        false
    }
}

impl StagingDir {
    fn remove(&self) {
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        // Failing to clean up is nothing that anybody could act on: the next batch tries again.
        let _ = sys::remove_tree(self.tmp.as_fd(), &self.name);
        let _ = sys::remove_file(self.tmp.as_fd(), &lock_name(&self.name));
    }
}

/// A node in a staging directory that is not an object yet. Removed if it never becomes one.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    staging: &'a Staging,
    /// What it is called, if anything.
    name: Option<String>,
    file: Option<File>,
}

impl Pending<'_> {
    /// Returns the open file; there is none of a symbolic link.
    pub(crate) fn file(&self) -> Result<&File> {
        let file = self.file.as_ref();
        file.ok_or_else(|| Error::invalid("a symbolic link has no content"))
    }

    /// Calls it by an object's name. It must be whole and verified.
    pub(crate) fn place(self, name: &ObjectName) -> Result<Stored> {
        let path = object_path(name, self.staging.shelf.mode);
        self.place_at(&name.checksum, &path)
    }

    pub(crate) fn place_at(mut self, checksum: &Checksum, path: &str) -> Result<Stored> {
        self.staging.make_fanout(checksum)?;
        let dir = self.staging.shelf.fd();
        let placed = match (&self.name, &self.file) {
            (Some(name), _) => rustix::fs::renameat(dir, name, dir, path).map(|()| Stored::New),
            (None, Some(file)) => link_nameless(file, dir, path),
            (None, None) => Err(Errno::NOENT),
        };
        let placed = placed.map_err(failed(path, "cannot be put into the staging directory"))?;
        self.name = None;
        Ok(placed)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let dir = self.staging.shelf.fd();
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
    }
}

/// Gives a file without a name one. The kernel does so to root only, unless asked by this path.
fn link_nameless(file: &File, dir: BorrowedFd<'_>, path: &str) -> rustix::io::Result<Stored> {
    let itself = format!("{PROC_FDS}/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, itself, dir, path, AtFlags::SYMLINK_FOLLOW) {
        // Another writer staged the same object in the meantime, as well verified as this one.
        Err(Errno::EXIST) => Ok(Stored::Present),
        linked => linked.map(|()| Stored::New),
    }
}

/// Locks the staging directory `name`; `None` when its writer lives, or it is just going away.
pub(crate) fn lock_staging(tmp: BorrowedFd<'_>, name: &str) -> Result<Option<File>> {
    let lock_name = lock_name(name);
    let file = open_lock_file(tmp, &lock_name, 0o600)?;
    let locked = try_lock(&file, LockKind::Exclusive)
        .map_err(|e| Error::io("a staging directory cannot be locked", e))?;
    if !locked {
        return Ok(None);
    }
    // Whoever removed the directory removed the lock file too, maybe after we opened it.
    let ours = rustix::fs::fstat(&file).map_err(failed(&lock_name, "cannot be looked at"))?;
    let there = sys::stat(tmp, &lock_name)?;
    let same = there.is_some_and(|there| there.st_ino == ours.st_ino);
    Ok(same.then_some(file))
}

/// What the name of a staging directory's lock file ends in.
pub(crate) const LOCK_SUFFIX: &str = "-lock";

pub(crate) fn lock_name(staging: &str) -> String {
    format!("{staging}{LOCK_SUFFIX}")
}

/// Makes the directory of objects that begin with `first`; returns whether it was missing.
pub(crate) fn make_fanout(dir: BorrowedFd<'_>, first: u8) -> Result<bool> {
    let name = fanout_name(first);
    match rustix::fs::mkdirat(dir, &name, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(failed(&name, "cannot be made")(e)),
    }
}

fn boot_id_of_kernel() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        "" => "unknown".into(),
        id => id.into(),
    }
}

/// A set of first bytes of checksums.
#[derive(Debug)]
pub(crate) struct FanoutSet([AtomicBool; 256]);

impl Default for FanoutSet {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicBool::new(false)))
    }
}

impl FanoutSet {
    pub(crate) fn contains(&self, first: u8) -> bool {
        self.0[usize::from(first)].load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, first: u8) {
        self.0[usize::from(first)].store(true, Ordering::Relaxed);
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        (0..=255).filter(|first| self.contains(*first)).collect()
    }
}

mod parking {
    use std::sync::{Mutex, PoisonError};

    /// A value behind a lock that is held for short steps only.
    #[derive(Debug, Default)]
    pub(crate) struct Guarded<T>(Mutex<T>);

    impl<T> Guarded<T> {
        pub(crate) fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
            // A step that panicked left a map in order: there is nothing half-done to fear.
            step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

#[cfg(test)]
mod tests {
    use treeferry_core::format::ObjectType;
    use treeferry_core::store::{BatchOptions, Incoming, ObjectSource, ObjectStore};

    use super::*;
    use crate::repo::{CreateOptions, FsRepo};

    #[tokio::test]
    async fn what_is_not_remembered_is_found_and_published() {
        let dir = tempfile::tempdir().unwrap();
        let repo = FsRepo::create(
            dir.path().join("repo"),
            FsMode::BareUser,
            CreateOptions::default(),
        );
        let repo = repo.await.unwrap();
        let batch = repo.begin(BatchOptions::default()).await.unwrap();
        let object = |n: usize| {
            let bytes = format!("object {n}").into_bytes();
            Incoming::recorded_metadata(ObjectType::DirTree, bytes)
        };
        let count = 5 * REMEMBERED_MAX;
        let mut names = Vec::new();
        for n in 0..count {
            let put = batch.put(vec![object(n)]).await.remove(0).unwrap();
            assert_eq!(put.stored, Stored::New);
            names.push(put.name);
        }
        for (n, name) in names.iter().enumerate() {
            let put = batch.put(vec![object(n)]).await.remove(0).unwrap();
            assert_eq!((put.stored, put.name), (Stored::Present, *name));
        }
        let found = batch.stat(&names).await.unwrap();
        assert!(found.iter().all(|stat| stat.is_some()));
        assert_eq!(batch.commit().await.unwrap().metadata_written, count as u64);
        let found = repo.stat(&names).await.unwrap();
        assert!(found.iter().all(|stat| stat.is_some()));
    }
}
