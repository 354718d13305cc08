//! A repository in one file: opening, making and looking after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use treeferry_core::codec::{Codec, FlateCodec};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::CollectionId;
use treeferry_core::pool::Pool;
use treeferry_core::repo::Repo;
use treeferry_core::spill::{Spill, SpillPlace};

use crate::db::{Db, Sync};
use crate::error::Outcome;
use crate::lock::LockFile;
use crate::schema::REPOSITORY;
use crate::settings::{Settings, new_config};
use crate::state::{read_config, write_config};

/// How many pages are given back in one go, so that other writers get their turn.
const RECLAIM_PAGES: i64 = 2048;

/// A complete repository in one SQLite file. Cheap to clone: clones are handles of the same.
#[derive(Debug, Clone)]
pub struct SqliteRepo {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) db: Arc<Db>,
    pub(crate) locks: LockFile,
    pub(crate) settings: Settings,
    pub(crate) options: OpenOptions,
}

/// How to open a repository.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Where objects are verified and compressed. The database has pools of its own.
    pub pool: Pool,
    /// What compresses and decompresses.
    pub codec: Arc<dyn Codec>,
    /// What time it is, for listings and to expire what interrupted writers left.
    pub clock: fn() -> SystemTime,
    /// How long to wait for the lock between writers and prunes.
    pub lock_wait: LockWait,
    /// How long to wait, at each step, for other processes that write to the file.
    pub busy_wait: Duration,
}

impl Default for OpenOptions {
    /// As wide as the machine has cores, with the codec of core, by the system's clock, waiting as
    /// long as configured for the lock and a minute for other writers.
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            codec: Arc::new(FlateCodec),
            clock: SystemTime::now,
            lock_wait: LockWait::Configured,
            busy_wait: Duration::from_secs(60),
        }
    }
}

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// As `core.lock-timeout-secs` says; 300 seconds where it says nothing.
    Configured,
    /// This long.
    AtMost(Duration),
}

/// How to make a repository.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The collection that its refs belong to.
    pub collection_id: Option<CollectionId>,
    /// How to open it then.
    pub open: OpenOptions,
}

impl SqliteRepo {
    /// Opens the repository in the file `path`.
    ///
    /// # Errors
    /// [`Missing`](treeferry_core::error::ErrorKind::Missing) when there is no such file,
    /// [`Invalid`](treeferry_core::error::ErrorKind::Invalid) when it is another database,
    /// [`Unsupported`](treeferry_core::error::ErrorKind::Unsupported) for a version or mode that is
    /// not known, [`Corrupt`](treeferry_core::error::ErrorKind::Corrupt) when it is damaged.
    pub async fn open(path: impl Into<PathBuf>, options: OpenOptions) -> Result<Self> {
        let db = Db::open(path.into(), &REPOSITORY, &options.pool, options.busy_wait).await?;
        Self::new(db, options).await
    }

    /// Makes a repository in the file `path`, whose directory must be there, and opens it.
    ///
    /// Where there is a repository already it is opened as it is. A file of another kind is left
    /// alone: [`Invalid`](treeferry_core::error::ErrorKind::Invalid).
    pub async fn create(path: impl Into<PathBuf>, options: CreateOptions) -> Result<Self> {
        let config = new_config(options.collection_id.as_ref());
        let fill = move |connection: &Connection| write_config(connection, config.as_bytes());
        let (pool, busy_wait) = (&options.open.pool, options.open.busy_wait);
        let db = Db::create(path.into(), &REPOSITORY, fill, pool, busy_wait).await?;
        Self::new(db, options.open).await
    }

    async fn new(db: Arc<Db>, options: OpenOptions) -> Result<Self> {
        let config = db.read(read_config).await?;
        let settings = Settings::parse(&config).map_err(|e| {
            let problem = format!("{}: cannot be opened as a repository", db.path().display());
            e.context(problem)
        })?;
        let locks = LockFile::beside(db.path());
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                locks,
                settings,
                options,
            }),
        })
    }

    /// Returns where the file is, links resolved.
    pub fn path(&self) -> &Path {
        self.inner.db.path()
    }

    /// Reads the whole file and checks that it is a sound database.
    ///
    /// That objects are what their names say is another question, which `fsck` answers.
    ///
    /// # Errors
    /// [`Corrupt`](treeferry_core::error::ErrorKind::Corrupt), with the first thing that is wrong.
    pub async fn check_file(&self) -> Result<()> {
        self.inner.db.read(check_file).await
    }

    /// Gives the room of deleted objects back to the filesystem, and returns how many bytes.
    ///
    /// Without this, it is used for what is written next. Others can read and write meanwhile.
    pub async fn reclaim(&self) -> Result<u64> {
        let db = &self.inner.db;
        let mut bytes = 0;
        loop {
            let freed = db.write(Sync::Later, free_some).await?;
            if freed == 0 {
                break;
            }
            bytes += freed;
        }
        // The file shrinks when the log is written back; who reads just now may put that off.
        db.maintain(|connection| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            Ok(connection.query_row(checkpoint, [], |_| Ok(()))?)
        })
        .await?;
        Ok(bytes)
    }

    /// Closes this handle. When no handle is left in any process, the file alone is the repository.
    ///
    /// Dropping the last handle does the same in the background.
    pub async fn close(self) -> Result<()> {
        match Arc::into_inner(self.inner) {
            Some(inner) => inner.db.close().await,
            None => Ok(()),
        }
    }

    pub(crate) fn db(&self) -> &Arc<Db> {
        &self.inner.db
    }

    /// Returns the time by the given clock, milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        let since = (self.inner.options.clock)().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// Returns the time before which what interrupted writers left has expired.
    pub(crate) fn expired_ms(&self) -> i64 {
        let expiry = i64::try_from(self.inner.settings.expiry.as_millis()).unwrap_or(i64::MAX);
        self.now_ms().saturating_sub(expiry)
    }
}

impl From<SqliteRepo> for Repo {
    /// Puts the file's three parts together. Names of objects that are too many for memory go to
    /// files without a name in the directory that the file is in.
    fn from(file: SqliteRepo) -> Self {
        let beside = file.path().parent().map(SpillPlace::new);
        Self::new(Arc::new(file)).with_spill(Spill::to(beside))
    }
}

fn check_file(connection: &Connection) -> Outcome<()> {
    let check = "PRAGMA integrity_check(1)";
    let found: String = connection.query_row(check, [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(Error::corrupt(format!("the database is damaged: {found}")).into())
}

/// Gives some free pages back, and returns how many bytes that are.
fn free_some(connection: &Connection) -> Outcome<u64> {
    let pages = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let before = pages("page_count")?;
    // The statement must be stepped to its end: each step gives one page back.
    let mut statement =
        connection.prepare(&format!("PRAGMA incremental_vacuum({RECLAIM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    let freed = before.saturating_sub(pages("page_count")?);
    Ok(freed * pages("page_size")?)
}
