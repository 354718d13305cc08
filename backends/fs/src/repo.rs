//! A repository in a directory: opening and making one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::codec::{Codec, FlateCodec};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::CollectionId;
use treeferry_core::pool::Pool;
use treeferry_core::store::{LockGuard, LockKind, new_config};

use crate::config::{CONFIG_BYTES_MAX, Config, LockTimeout};
use crate::inodes::InodeIndex;
use crate::lock::{
    FileLock, REPO_LOCK, STATE_LOCK, STATE_LOCK_TIMEOUT, wait_for_lock, wait_to_read,
};
use crate::mode::FsMode;
use crate::shelf::Shelf;
use crate::sys::{self, Durable, failed};

/// How many parents a repository may have above it.
const PARENTS_MAX: usize = 16;

/// The directories of a new repository, in the order in which they are made.
const DIRECTORIES: [&str; 9] = [
    "objects",
    "tmp",
    "tmp/cache",
    "extensions",
    "state",
    "refs",
    "refs/heads",
    "refs/mirrors",
    "refs/remotes",
];

/// An OSTree repository in a directory. Cheap to clone: clones are handles of the same.
#[derive(Debug, Clone)]
pub struct FsRepo {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) dir: Arc<OwnedFd>,
    pub(crate) tmp: Arc<OwnedFd>,
    pub(crate) shelf: Shelf,
    pub(crate) config: Config,
    pub(crate) parent: Option<FsRepo>,
    pub(crate) options: OpenOptions,
    pub(crate) inodes: OnceLock<InodeIndex>,
}

/// How to open a repository.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Where blocking work goes.
    pub pool: Pool,
    /// What compresses and decompresses.
    pub codec: Arc<dyn Codec>,
    /// Whether a repository of mode `bare-split-xattrs` may be written.
    pub split_xattrs: SplitXattrs,
    /// How long to wait for a lock, instead of what `core.lock-timeout-secs` says.
    pub lock_timeout: Option<Duration>,
    /// Which boot of the machine this is, where it is not the kernel that says so: leftovers of
    /// other boots are named by theirs.
    pub boot_id: Option<String>,
    /// What time it is, to expire what interrupted writers left.
    pub clock: fn() -> SystemTime,
}

impl Default for OpenOptions {
    /// As wide as the machine has cores, with the codec of core, by the system's clock.
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            codec: Arc::new(FlateCodec),
            split_xattrs: SplitXattrs::ReadOnly,
            lock_timeout: None,
            boot_id: None,
            clock: SystemTime::now,
        }
    }
}

/// Whether a repository of mode `bare-split-xattrs` may be written: the mode is experimental.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitXattrs {
    /// It may only be read.
    ReadOnly,
    /// It may be written.
    Writable,
}

/// How to make a repository.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The collection that its refs belong to.
    pub collection_id: Option<CollectionId>,
    /// How to open it then.
    pub open: OpenOptions,
}

impl FsRepo {
    /// Opens the repository at `path`; a relative one counts from the working directory.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] when there is none, [`ErrorKind::Unsupported`] for a mode or version
    /// that is not known, [`ErrorKind::Invalid`] for a setting that has no meaning.
    pub async fn open(path: impl Into<PathBuf>, options: OpenOptions) -> Result<Self> {
        let path = path.into();
        let pool = options.pool.clone();
        pool.run(move || Self::open_blocking(path, options, 0))
            .await
    }

    /// Makes a repository at `path`, and its directory if that is missing, and opens it.
    ///
    /// Where there is a repository already, it is opened as it is if its mode is `mode`, and an
    /// [`ErrorKind::Invalid`] if not.
    pub async fn create(
        path: impl Into<PathBuf>,
        mode: FsMode,
        options: CreateOptions,
    ) -> Result<Self> {
        let path = path.into();
        let pool = options.open.pool.clone();
        pool.run(move || Self::create_blocking(path, mode, options))
            .await
    }

    fn create_blocking(path: PathBuf, mode: FsMode, options: CreateOptions) -> Result<Self> {
        let about = |e: Error| e.about(path.as_path());
        std::fs::create_dir_all(&path).map_err(|e| about(Error::io("cannot be made", e)))?;
        let dir = open_top(&path)?;
        for name in DIRECTORIES {
            sys::make_dirs(dir.as_fd(), name, Durable::Yes).map_err(about)?;
        }
        // The config comes last: with it, the directory is a repository.
        let config = new_config(mode.config_value(), options.collection_id.as_ref());
        let file_mode = Mode::from_raw_mode(0o644);
        if sys::stat(dir.as_fd(), "config")?.is_none() {
            let bytes = config.as_bytes();
            sys::replace_file(dir.as_fd(), "config", bytes, file_mode, Durable::Yes)?;
        }
        let repo = Self::open_blocking(path, options.open, 0)?;
        let found = repo.mode();
        if found != mode {
            let problem = format!("is a repository of mode {found} already, not {mode}");
            return Err(Error::invalid(problem).about(repo.inner.path.as_path()));
        }
        Ok(repo)
    }

    fn open_blocking(path: PathBuf, options: OpenOptions, depth: usize) -> Result<Self> {
        if depth > PARENTS_MAX {
            let problem = format!("core.parent: more than {PARENTS_MAX} parents, or a circle");
            return Err(Error::invalid(problem).about(path));
        }
        let about = |e: Error| {
            let problem = format!("{}: cannot be opened as a repository", path.display());
            e.context(problem)
        };
        let dir = open_top(&path)?;
        let bytes = sys::read_file(dir.as_fd(), "config", CONFIG_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| {
            Error::missing("is not an OSTree repository: it has no config").about(path.as_path())
        })?;
        let mut config = Config::parse(&bytes).map_err(about)?;
        if let Some(limit) = options.lock_timeout {
            config.lock_timeout = LockTimeout::After(limit);
        }
        let open = |name: &str| {
            sys::open_dir(&dir, name)
                .map(Arc::new)
                .map_err(failed(name, "cannot be opened"))
        };
        let objects = open("objects").map_err(about)?;
        // Archives of a repository may have lost its empty directories; on read-only media that is
        // as good, for nothing will be written there.
        if open("tmp").is_err() {
            let _ = sys::make_dirs(dir.as_fd(), "tmp", Durable::No);
        }
        let tmp = open("tmp").or_else(|_| open(".")).map_err(about)?;
        let parent = match &config.parent {
            Some(parent) => {
                let opened = Self::open_blocking(parent.clone(), options.clone(), depth + 1);
                Some(opened.map_err(|e| e.context("core.parent: cannot be opened"))?)
            }
            None => None,
        };
        let shelf = Shelf::new(objects, config.mode);
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                dir: Arc::new(dir),
                tmp,
                shelf,
                config,
                parent,
                options,
                inodes: OnceLock::new(),
            }),
        })
    }

    /// Returns the directory of the repository, as it was given.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns how it keeps file objects.
    pub fn mode(&self) -> FsMode {
        self.inner.config.mode
    }

    /// Returns the repository that missing objects and refs are read from, if there is one.
    pub fn parent(&self) -> Option<&FsRepo> {
        self.inner.parent.as_ref()
    }

    /// Returns whether what is answered for survives a power cut: `core.fsync`.
    pub(crate) fn durable(&self) -> Durable {
        self.inner.config.durable
    }

    /// Returns the same repository, in which nothing that is written is synced, refs and state
    /// included: fast, for what can be made again.
    #[must_use]
    pub fn unsynced(&self) -> Self {
        let inner = &*self.inner;
        let mut config = inner.config.clone();
        config.durable = Durable::No;
        Self {
            inner: Arc::new(Inner {
                path: inner.path.clone(),
                dir: Arc::clone(&inner.dir),
                tmp: Arc::clone(&inner.tmp),
                shelf: inner.shelf.clone(),
                config,
                parent: inner.parent.clone(),
                options: inner.options.clone(),
                inodes: OnceLock::new(),
            }),
        }
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.inner.dir.as_fd()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.options.pool
    }

    /// Runs `job` on the blocking pool.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&FsRepo) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let repo = self.clone();
        self.pool().run(move || job(&repo)).await
    }

    pub(crate) async fn lock_repo(&self, kind: LockKind) -> Result<LockGuard> {
        let inner = &self.inner;
        if !inner.config.locking {
            return Ok(LockGuard::new(kind, ()));
        }
        let (pool, dir) = (self.pool(), Arc::clone(&inner.dir));
        let timeout = inner.config.lock_timeout;
        let lock = wait_for_lock(pool, dir, REPO_LOCK, kind, timeout, &inner.path).await?;
        Ok(LockGuard::new(kind, lock))
    }

    /// Takes the lock under which refs, state and config are swapped. Taken even where
    /// `core.locking` is off: without it a comparison means nothing.
    pub(crate) async fn lock_state(&self) -> Result<FileLock> {
        let inner = &self.inner;
        let (pool, dir) = (self.pool(), Arc::clone(&inner.dir));
        let (timeout, kind) = (STATE_LOCK_TIMEOUT, LockKind::Exclusive);
        wait_for_lock(pool, dir, STATE_LOCK, kind, timeout, &inner.path).await
    }

    /// Keeps treeferry's writers of refs and state out while something is read.
    pub(crate) async fn lock_state_to_read(&self) -> Result<Option<FileLock>> {
        let inner = &self.inner;
        let (pool, dir) = (self.pool(), Arc::clone(&inner.dir));
        wait_to_read(pool, dir, STATE_LOCK, STATE_LOCK_TIMEOUT, &inner.path).await
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        let split = self.mode() == FsMode::BareSplitXattrs;
        if split && self.inner.options.split_xattrs == SplitXattrs::ReadOnly {
            let problem = "repositories of mode bare-split-xattrs are written only when asked \
                           for: the mode is experimental";
            return Err(Error::new(ErrorKind::Unsupported, problem).about(self.path()));
        }
        Ok(())
    }
}

fn open_top(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Error::missing("there is no such directory").about(path),
        errno => Error::io("cannot be opened", errno).about(path),
    })
}
