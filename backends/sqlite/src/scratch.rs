//! Interrupted downloads: rows of `download`, their bytes in `download_piece` by offset.
//!
//! Who works on one holds its lock. Nothing here waits for the disk: after a power cut less may be
//! left, never something else.

use std::fmt::{self, Debug};
use std::io::{self, Read};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use rusqlite::{Connection, OptionalExtension, params};
use treeferry_core::error::{Error, Result, Subject};
use treeferry_core::store::{LockKind, Scratch, ScratchContent, ScratchFile};
use treeferry_core::transport::{RemotePath, Validator};

use crate::db::Sync;
use crate::error::Outcome;
use crate::lock::{Held, LockFile, Lockable};
use crate::repo::SqliteRepo;

const KEPT: &str = "SELECT DISTINCT path FROM download WHERE origin = ?1";
const OF_PATH: &str = "SELECT id, validator_kind, validator, total_bytes FROM download
    WHERE origin = ?1 AND path = ?2 ORDER BY id DESC";
const OLD: &str = "SELECT id FROM download WHERE touched_ms < ?1 LIMIT 64";
const CREATE: &str = "INSERT INTO download
    (origin, path, validator_kind, validator, total_bytes, touched_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const TOUCH: &str = "UPDATE download SET touched_ms = ?2 WHERE id = ?1";
const DELETE: &str = "DELETE FROM download WHERE id = ?1";
const DELETE_PIECES: &str = "DELETE FROM download_piece WHERE download = ?1";
const APPEND: &str = "INSERT INTO download_piece (download, position, bytes) VALUES (?1, ?2, ?3)";
const RECEIVED: &str = "SELECT coalesce(max(position + length(bytes)), 0) FROM download_piece
    WHERE download = ?1";
const READ: &str = "SELECT bytes FROM download_piece WHERE download = ?1 AND position = ?2";

const ETAG: i64 = 0;
const LAST_MODIFIED: i64 = 1;

/// The interrupted downloads of a repository.
#[derive(Debug)]
pub(crate) struct Downloads {
    repo: SqliteRepo,
}

/// One of them, held.
pub(crate) struct Download {
    repo: SqliteRepo,
    id: i64,
    received_bytes: u64,
    total_bytes: Option<u64>,
    validator: Option<Validator>,
    _held: Held,
}

/// What the table says of one.
struct Known {
    id: i64,
    received_bytes: u64,
    total_bytes: Option<u64>,
    validator: Option<Validator>,
}

impl Downloads {
    pub(crate) fn new(repo: SqliteRepo) -> Self {
        Self { repo }
    }

    fn held(&self, known: Known, held: Held) -> Download {
        Download {
            repo: self.repo.clone(),
            id: known.id,
            received_bytes: known.received_bytes,
            total_bytes: known.total_bytes,
            validator: known.validator,
            _held: held,
        }
    }

    /// Begins a download, as [`Scratch::create`].
    pub(crate) async fn create_one(
        &self,
        origin: &str,
        path: &RemotePath,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<Download> {
        let (origin, path) = (origin.to_owned(), path.clone());
        let locks = self.repo.inner.locks.clone();
        let (now_ms, expired_ms) = (self.repo.now_ms(), self.repo.expired_ms());
        let kept = validator.clone();
        let create = move |connection: &Connection| {
            clear(connection, &locks, (&origin, path.as_str()), expired_ms)?;
            let (kind, text) = match &kept {
                Some(Validator::ETag(text)) => (Some(ETAG), Some(text)),
                Some(Validator::LastModified(text)) => (Some(LAST_MODIFIED), Some(text)),
                None => (None, None),
            };
            let row = params![origin, path.as_str(), kind, text, total_bytes, now_ms];
            connection.prepare_cached(CREATE)?.execute(row)?;
            let id = connection.last_insert_rowid();
            let taken = || Error::corrupt("the lock of a new download is held by somebody");
            Ok((id, try_hold(&locks, id)?.ok_or_else(taken)?))
        };
        let (id, held) = self.repo.db().write(Sync::Later, create).await?;
        let known = Known {
            id,
            received_bytes: 0,
            total_bytes,
            validator,
        };
        Ok(self.held(known, held))
    }
}

impl Download {
    /// Returns the number of its row.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }
}

fn of_path(connection: &Connection, origin: &str, path: &str) -> Outcome<Vec<Known>> {
    let mut statement = connection.prepare_cached(OF_PATH)?;
    let known = statement.query_map([origin, path], |row| {
        let text: Option<String> = row.get(2)?;
        let validator = text.and_then(|text| match row.get(1) {
            Ok(ETAG) => Some(Validator::ETag(text)),
            Ok(LAST_MODIFIED) => Some(Validator::LastModified(text)),
            // Without a validator it is started over.
            _ => None,
        });
        Ok(Known {
            id: row.get(0)?,
            received_bytes: 0,
            total_bytes: row.get(3)?,
            validator,
        })
    })?;
    Ok(known.collect::<rusqlite::Result<_>>()?)
}

fn try_hold(locks: &LockFile, id: i64) -> Result<Option<Held>> {
    locks.try_lock(Lockable::Download(id), LockKind::Exclusive)
}

fn take(
    connection: &Connection,
    locks: &LockFile,
    (origin, path): (&str, &str),
    now_ms: i64,
) -> Outcome<Option<(Known, Held)>> {
    for mut known in of_path(connection, origin, path)? {
        if let Some(held) = try_hold(locks, known.id)? {
            connection
                .prepare_cached(TOUCH)?
                .execute([known.id, now_ms])?;
            let mut received = connection.prepare_cached(RECEIVED)?;
            known.received_bytes = received.query_row([known.id], |row| row.get(0))?;
            return Ok(Some((known, held)));
        }
    }
    Ok(None)
}

fn delete(connection: &Connection, id: i64) -> Outcome<()> {
    connection.prepare_cached(DELETE_PIECES)?.execute([id])?;
    connection.prepare_cached(DELETE)?.execute([id])?;
    Ok(())
}

/// Deletes those that have expired, and those of one path, unless somebody holds them.
fn clear(
    connection: &Connection,
    locks: &LockFile,
    (origin, path): (&str, &str),
    expired_ms: i64,
) -> Outcome<()> {
    let mut statement = connection.prepare_cached(OLD)?;
    let old = statement.query_map([expired_ms], |row| row.get(0))?;
    let mut ids = old.collect::<rusqlite::Result<Vec<i64>>>()?;
    ids.extend(
        of_path(connection, origin, path)?
            .iter()
            .map(|known| known.id),
    );
    for id in ids {
        if let Some(_held) = try_hold(locks, id)? {
            delete(connection, id)?;
        }
    }
    Ok(())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scratch for Downloads {
    async fn kept(&self, origin: &str) -> Result<Vec<RemotePath>> {
        let origin = origin.to_owned();
        let list = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(KEPT)?;
            let paths = statement.query_map([&origin], |row| row.get::<_, String>(0))?;
            Ok(paths.collect::<rusqlite::Result<Vec<_>>>()?)
        };
        let paths = self.repo.db().read(list).await?;
        // What is no path cannot be asked for: it expires.
        Ok(paths
            .iter()
            .filter_map(|path| RemotePath::new(path).ok())
            .collect())
    }

    async fn take(&self, origin: &str, path: &RemotePath) -> Result<Option<Box<dyn ScratchFile>>> {
        let (origin, path) = (origin.to_owned(), path.clone());
        let (locks, now_ms) = (self.repo.inner.locks.clone(), self.repo.now_ms());
        let take = move |c: &Connection| take(c, &locks, (&origin, path.as_str()), now_ms);
        let taken = self.repo.db().write(Sync::Later, take).await?;
        Ok(taken.map(|(known, held)| Box::new(self.held(known, held)) as _))
    }

    async fn create(
        &self,
        origin: &str,
        path: &RemotePath,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<Box<dyn ScratchFile>> {
        let created = self.create_one(origin, path, validator, total_bytes);
        Ok(Box::new(created.await?))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ScratchFile for Download {
    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    fn validator(&self) -> Option<&Validator> {
        self.validator.as_ref()
    }

    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = bytes.len() as u64;
        let (id, position, now_ms) = (self.id, self.received_bytes, self.repo.now_ms());
        let append = move |connection: &Connection| {
            let row = params![id, position, &bytes[..]];
            connection.prepare_cached(APPEND)?.execute(row)?;
            connection.prepare_cached(TOUCH)?.execute([id, now_ms])?;
            Ok(())
        };
        self.repo.db().write(Sync::Later, append).await?;
        self.received_bytes += length;
        Ok(())
    }

    fn open(&self) -> Result<ScratchContent> {
        let reader = PieceReader {
            repo: self.repo.clone(),
            id: self.id,
            position: 0,
            received_bytes: self.received_bytes,
            piece: Bytes::new(),
        };
        Ok(ScratchContent::Reader(Box::new(reader)))
    }

    async fn discard(self: Box<Self>) -> Result<()> {
        let id = self.id;
        self.repo
            .db()
            .write(Sync::Later, move |connection| delete(connection, id))
            .await
    }
}

/// Reads what was received. **Blocking.**
struct PieceReader {
    repo: SqliteRepo,
    id: i64,
    position: u64,
    received_bytes: u64,
    piece: Bytes,
}

impl PieceReader {
    fn next(&mut self) -> Result<()> {
        let (id, position) = (self.id, self.position);
        let piece = self.repo.db().read_blocking(|connection| {
            let mut statement = connection.prepare_cached(READ)?;
            let piece = statement.query_row(params![id, position], |row| row.get::<_, Vec<u8>>(0));
            Ok(piece.optional()?)
        })?;
        let piece = piece.filter(|piece| !piece.is_empty()).ok_or_else(|| {
            let subject = Subject::Path(self.repo.path().into());
            Error::corrupt("lacks a piece of an interrupted download").about(subject)
        })?;
        self.position += piece.len() as u64;
        self.piece = piece.into();
        Ok(())
    }
}

impl Read for PieceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.position < self.received_bytes {
            self.next()?;
        }
        let n = self.piece.len().min(out.len());
        self.piece.copy_to_slice(&mut out[..n]);
        Ok(n)
    }
}

impl Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("id", &self.id)
            .field("received_bytes", &self.received_bytes)
            .finish_non_exhaustive()
    }
}
