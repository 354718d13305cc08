//! The connections to one database: many that read, one that writes.
//!
//! Jobs run on pools of their own, so that a network stream that stalls a job of the caller's pool
//! never holds up the database. Nobody waits inside SQLite: a job that finds the database busy is
//! taken back and tried again later.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::pool::Pool;

use crate::error::{Access, Fault, Outcome};
use crate::schema::Schema;

/// How many pages the log grows to before it is written back: 32 MiB of it.
const CHECKPOINT_PAGES: i64 = 4096;
const LOG_BYTES_KEPT: i64 = 32 << 20;
/// What a connection may keep of the database in memory, KiB.
const CACHE_KIB_WRITER: i64 = 4096;
const CACHE_KIB_READER: i64 = 1024;
/// More statements than there are: each is prepared once a connection.
const STATEMENTS_MAX: usize = 128;
/// The longest value that is read or written: a file from elsewhere may hold others. The longest of
/// ours are detached metadata and summaries.
const VALUE_BYTES_MAX: i32 = 256 << 20;
/// The longest pause between two attempts at a busy database.
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// A database, opened.
#[derive(Debug)]
pub(crate) struct Db {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Writer>,
    reads: Pool,
    writes: Pool,
    busy_wait: Duration,
    // Set when the disk failed: the system may have dropped what it could not write.
    failed: AtomicBool,
}

#[derive(Debug)]
struct Writer {
    // Gone once the database is closed.
    connection: Option<Connection>,
    sync: Sync,
}

/// What a commit of a transaction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// For the disk: it, and all that was written before it, survives a power cut.
    Now,
    /// For nothing: a power cut may undo it, but never tear it.
    Later,
}

impl Db {
    /// Opens the database at `path`, which has `schema`.
    pub(crate) async fn open(
        path: PathBuf,
        schema: &'static Schema,
        pool: &Pool,
        busy_wait: Duration,
    ) -> Result<Arc<Self>> {
        let at = path.clone();
        let opened = retry(pool, busy_wait, move || {
            if !at
                .try_exists()
                .map_err(|e| Error::io("cannot be looked at", e))?
            {
                return Err(Error::missing("there is no such file").into());
            }
            let writer = connect(&at, OpenFlags::empty(), CACHE_KIB_WRITER)?;
            schema.check(&writer)?;
            Ok((std::fs::canonicalize(&at).map_err(resolve)?, writer))
        });
        let (path, writer) = opened
            .await
            .map_err(|e| e.into_error(&path, Access::Read))?;
        Ok(Self::new(path, writer, pool, busy_wait))
    }

    /// Makes a database at `path` with what `fill` puts into it, or opens the one that is there.
    pub(crate) async fn create(
        path: PathBuf,
        schema: &'static Schema,
        fill: impl Fn(&Connection) -> Outcome<()> + Send + std::marker::Sync + 'static,
        pool: &Pool,
        busy_wait: Duration,
    ) -> Result<Arc<Self>> {
        let at = path.clone();
        let created = retry(pool, busy_wait, move || {
            let writer = connect(&at, OpenFlags::SQLITE_OPEN_CREATE, CACHE_KIB_WRITER)?;
            schema.create(&writer, &fill)?;
            let path = std::fs::canonicalize(&at).map_err(resolve)?;
            sync_directory(&path)?;
            Ok((path, writer))
        });
        let (path, writer) = created
            .await
            .map_err(|e| e.into_error(&path, Access::Write))?;
        Ok(Self::new(path, writer, pool, busy_wait))
    }

    fn new(path: PathBuf, connection: Connection, pool: &Pool, busy_wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            path,
            readers: Mutex::default(),
            writer: Mutex::new(Writer {
                connection: Some(connection),
                sync: Sync::Now,
            }),
            reads: Pool::new(pool.width().max(2)),
            writes: Pool::new(1),
            busy_wait,
            failed: AtomicBool::new(false),
        })
    }

    /// Returns where the database is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the pool for short jobs that no network can stall.
    pub(crate) fn pool(&self) -> &Pool {
        &self.reads
    }

    /// Runs a job that reads. All of one job sees one state of the database.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl Fn(&Connection) -> Outcome<T> + Send + std::marker::Sync + 'static,
    ) -> Result<T> {
        let db = Arc::clone(self);
        let read = retry(&self.reads, self.busy_wait, move || db.attempt_read(&job));
        read.await
            .map_err(|e| e.into_error(&self.path, Access::Read))
    }

    /// Runs a job that reads. **Blocking**: for readers of bodies, on the blocking pool.
    pub(crate) fn read_blocking<T>(&self, job: impl Fn(&Connection) -> Outcome<T>) -> Result<T> {
        let mut pauses = Pauses::new(self.busy_wait);
        loop {
            match self.attempt_read(&job) {
                Err(fault) if fault.is_busy() => match pauses.next() {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(fault.into_error(&self.path, Access::Read)),
                },
                result => return result.map_err(|e| e.into_error(&self.path, Access::Read)),
            }
        }
    }

    /// Runs a job in a transaction of its own, which is rolled back when it fails.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        sync: Sync,
        job: impl Fn(&Connection) -> Outcome<T> + Send + std::marker::Sync + 'static,
    ) -> Result<T> {
        let db = Arc::clone(self);
        let write = retry(&self.writes, self.busy_wait, move || {
            db.attempt_write(sync, &job)
        });
        write
            .await
            .map_err(|e| e.into_error(&self.path, Access::Write))
    }

    /// Runs a job on the connection that writes, outside of any transaction.
    pub(crate) async fn maintain<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl Fn(&Connection) -> Outcome<T> + Send + std::marker::Sync + 'static,
    ) -> Result<T> {
        let db = Arc::clone(self);
        let run = retry(&self.writes, self.busy_wait, move || {
            let writer = db.writer.lock().unwrap_or_else(PoisonError::into_inner);
            job(writer.connection()?)
        });
        run.await
            .map_err(|e| e.into_error(&self.path, Access::Write))
    }

    /// Closes the database; the last to close it in all processes writes its log back.
    ///
    /// Without this, that happens in the background.
    pub(crate) async fn close(self: Arc<Self>) -> Result<()> {
        let Some(mut db) = Arc::into_inner(self) else {
            return Ok(());
        };
        let (readers, writer) = db.take_connections();
        let close = move || {
            drop((readers, writer));
            Ok(())
        };
        db.writes.run(close).await
    }

    fn take_connections(&mut self) -> (Vec<Connection>, Option<Connection>) {
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let readers = self
            .readers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(readers), writer.connection.take())
    }

    fn attempt_read<T>(&self, job: &dyn Fn(&Connection) -> Outcome<T>) -> Outcome<T> {
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = connect(&self.path, OpenFlags::empty(), CACHE_KIB_READER)?;
                connection.pragma_update(None, "query_only", true)?;
                connection
            }
        };
        let transaction = connection.unchecked_transaction()?;
        let result = job(&transaction)?;
        transaction.finish()?;
        // A connection that met an error is not kept: it is closed on the way out.
        lock(&self.readers).push(connection);
        Ok(result)
    }

    fn attempt_write<T>(&self, sync: Sync, job: &dyn Fn(&Connection) -> Outcome<T>) -> Outcome<T> {
        if self.failed.load(Ordering::Acquire) {
            let problem = "the disk failed in an earlier write: check it, then open the repository \
                           again";
            let kind = ErrorKind::Unavailable { retry_after: None };
            return Err(Error::new(kind, problem).into());
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let result = writer.transact(sync, job);
        if result.as_ref().is_err_and(Fault::is_io) {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // Who closes last writes the log back, which waits for the disk.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (readers, writer) = self.take_connections();
            if writer.is_some() {
                runtime.spawn_blocking(move || drop((readers, writer)));
            }
        }
    }
}

impl Writer {
    fn connection(&self) -> Result<&Connection> {
        let closed = || Error::new(ErrorKind::Cancelled, "the database was closed");
        self.connection.as_ref().ok_or_else(closed)
    }

    fn transact<T>(&mut self, sync: Sync, job: &dyn Fn(&Connection) -> Outcome<T>) -> Outcome<T> {
        if self.sync != sync {
            // In WAL mode, FULL syncs the log at each commit, and with it what was committed
            // before; NORMAL syncs it only before it is written back.
            let level = match sync {
                Sync::Now => "FULL",
                Sync::Later => "NORMAL",
            };
            self.connection()?
                .pragma_update(None, "synchronous", level)?;
            self.sync = sync;
        }
        let behavior = TransactionBehavior::Immediate;
        let transaction = Transaction::new_unchecked(self.connection()?, behavior)?;
        let result = job(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What a panic can leave behind here is a list of idle connections: still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path, more: OpenFlags, cache_kib: i64) -> Outcome<Connection> {
    // Each connection stays inside the pools' jobs, one at a time: SQLite need not lock it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The file may come from elsewhere: nothing in its schema is to run, nothing is to be believed.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    Ok(connection)
}

fn sync_directory(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    std::fs::File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("cannot be synced", e).about(parent))
}

fn resolve(error: std::io::Error) -> Error {
    Error::io("its path cannot be resolved", error)
}

/// The pauses between attempts, until the wait is over.
struct Pauses {
    left: Duration,
    next: Duration,
}

impl Pauses {
    fn new(wait: Duration) -> Self {
        Self {
            left: wait,
            next: Duration::from_millis(1),
        }
    }

    fn next(&mut self) -> Option<Duration> {
        if self.left.is_zero() {
            return None;
        }
        let pause = self.next.min(self.left);
        self.left -= pause;
        self.next = (self.next * 2).min(PAUSE_MAX);
        Some(pause)
    }
}

/// Runs `job` on `pool` until the database is not busy, at most for `wait`.
async fn retry<T: Send + 'static>(
    pool: &Pool,
    wait: Duration,
    job: impl Fn() -> Outcome<T> + Send + std::marker::Sync + 'static,
) -> Outcome<T> {
    let job = Arc::new(job);
    let mut pauses = Pauses::new(wait);
    loop {
        let attempt = Arc::clone(&job);
        let result = pool.run(move || Ok(attempt())).await?;
        match result {
            Err(fault) if fault.is_busy() => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(fault),
            },
            result => return result,
        }
    }
}
