//! Objects that are not published yet: the statements of batches.
//!
//! A row of `staged` without a checksum is an object whose bytes are still arriving. What a dead
//! batch left is whole, verified, and as sound as the rest of the file: the next batch takes the rows
//! over. Of those, `adopted` ones are published only if somebody relied on them.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use treeferry_core::error::Result;
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{Encoding, LockKind, Stored};

use crate::error::Outcome;
use crate::lock::{Held, LockFile, Lockable};
use crate::objects::{self, Entry, delete_chunks, encoding_number};

const FIND: &str = "SELECT body, encoding, stored_bytes, unpacked_bytes FROM staged
    WHERE batch = ?1 AND kind = ?2 AND checksum = ?3";
const BATCH_BEGIN: &str = "INSERT INTO batch DEFAULT VALUES";
const BATCHES: &str = "SELECT id FROM batch";
const BATCH_DELETE: &str = "DELETE FROM batch WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM staged WHERE staged.batch = ?1)";
const ADOPT: &str = "UPDATE OR IGNORE staged SET batch = ?2, adopted = 1
    WHERE batch = ?1 AND checksum IS NOT NULL AND staged_ms >= ?3";
const DISCARD_CHUNKS: &str = "DELETE FROM chunk WHERE body IN
    (SELECT body FROM staged WHERE batch = ?1 AND (?2 OR checksum IS NULL))";
const DISCARD: &str = "DELETE FROM staged WHERE batch = ?1 AND (?2 OR checksum IS NULL)";
const STAGE: &str = "INSERT INTO staged
    (batch, kind, encoding, stored_bytes, unpacked_bytes, staged_ms, adopted)
    VALUES (?1, ?2, ?3, 0, 0, ?4, 0)";
const APPEND: &str = "INSERT INTO chunk (body, position, bytes) VALUES (?1, ?2, ?3)";
const COMPLETE: &str = "UPDATE staged SET checksum = ?2, stored_bytes = ?3, unpacked_bytes = ?4
    WHERE body = ?1";
const UNSTAGE: &str = "DELETE FROM staged WHERE body = ?1";
const RELY: &str = "UPDATE staged SET adopted = 0 WHERE body = ?1";
const PUBLISH: &str = "INSERT OR IGNORE INTO object
    (kind, checksum, body, encoding, stored_bytes, unpacked_bytes, modified_ms)
    SELECT kind, checksum, body, encoding, stored_bytes, unpacked_bytes, ?2
    FROM staged WHERE batch = ?1 AND adopted = 0 AND checksum IS NOT NULL";
// Another batch was first with the same object: its bytes stay, ours go.
const DROP_SECOND: &str = "DELETE FROM chunk WHERE body IN
    (SELECT staged.body FROM staged JOIN object USING (kind, checksum)
     WHERE staged.batch = ?1 AND object.body <> staged.body)";
const DROP_PUBLISHED: &str = "DELETE FROM staged WHERE batch = ?1 AND
    EXISTS (SELECT 1 FROM object
            WHERE object.kind = staged.kind AND object.checksum = staged.checksum)";

/// An object that was read to its end and is what it says.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    pub(crate) name: ObjectName,
    pub(crate) stored_bytes: u64,
    pub(crate) unpacked_bytes: u64,
}

/// Returns in which encoding objects of a kind are kept.
pub(crate) fn encoding_of(object_type: ObjectType) -> Encoding {
    match object_type.is_metadata() {
        true => Encoding::Canonical,
        false => Encoding::Filez,
    }
}

/// Makes a batch, whose lock is held before anybody can see it.
pub(crate) fn begin(connection: &Connection, locks: &LockFile) -> Outcome<(i64, Held)> {
    connection.prepare_cached(BATCH_BEGIN)?.execute([])?;
    let id = connection.last_insert_rowid();
    // The number is new, and numbers are not used twice: nobody else can hold it.
    let held = locks.try_lock(Lockable::Batch(id), LockKind::Exclusive)?;
    let taken = || treeferry_core::Error::corrupt("the lock of a new batch is held by somebody");
    Ok((id, held.ok_or_else(taken)?))
}

/// Takes over what dead batches left since `expired_ms`, and deletes the rest of it.
pub(crate) fn adopt(
    connection: &Connection,
    locks: &LockFile,
    batch: i64,
    expired_ms: i64,
) -> Outcome<()> {
    let mut statement = connection.prepare_cached(BATCHES)?;
    let ids = statement.query_map([], |row| row.get(0))?;
    let ids: Vec<i64> = ids.collect::<rusqlite::Result<_>>()?;
    for dead in ids.into_iter().filter(|id| *id != batch) {
        let held = dead_lock(locks, dead)?;
        if held.is_none() {
            continue;
        }
        connection
            .prepare_cached(ADOPT)?
            .execute(params![dead, batch, expired_ms])?;
        discard(connection, dead, Discard::All)?;
        connection.prepare_cached(BATCH_DELETE)?.execute([dead])?;
    }
    Ok(())
}

fn dead_lock(locks: &LockFile, batch: i64) -> Result<Option<Held>> {
    locks.try_lock(Lockable::Batch(batch), LockKind::Exclusive)
}

/// What of a batch is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discard {
    /// All that it staged.
    All,
    /// What never became whole.
    Unfinished,
}

fn discard(connection: &Connection, batch: i64, what: Discard) -> Outcome<()> {
    let what = params![batch, what == Discard::All];
    connection.prepare_cached(DISCARD_CHUNKS)?.execute(what)?;
    connection.prepare_cached(DISCARD)?.execute(what)?;
    Ok(())
}

/// Looks an object up in a batch, then in the store.
pub(crate) fn find(
    connection: &Connection,
    batch: i64,
    name: &ObjectName,
) -> Outcome<Option<Entry>> {
    match find_staged(connection, batch, name)? {
        Some(entry) => Ok(Some(entry)),
        None => objects::find(connection, name),
    }
}

pub(crate) fn find_staged(
    connection: &Connection,
    batch: i64,
    name: &ObjectName,
) -> Outcome<Option<Entry>> {
    let mut statement = connection.prepare_cached(FIND)?;
    let key = params![batch, name.object_type.number(), name.checksum.as_bytes()];
    Ok(statement.query_row(key, Entry::of_row).optional()?)
}

/// Begins an object whose bytes follow, and returns the number of its body.
pub(crate) fn stage(
    connection: &Connection,
    batch: i64,
    object_type: ObjectType,
    now_ms: i64,
) -> Outcome<i64> {
    let encoding = encoding_number(encoding_of(object_type));
    let row = params![batch, object_type.number(), encoding, now_ms];
    connection.prepare_cached(STAGE)?.execute(row)?;
    Ok(connection.last_insert_rowid())
}

/// Adds chunks to a body, the first at `position`.
pub(crate) fn append(
    connection: &Connection,
    body: i64,
    position: usize,
    chunks: &[Bytes],
) -> Outcome<()> {
    let mut statement = connection.prepare_cached(APPEND)?;
    for (at, chunk) in (position as i64..).zip(chunks) {
        statement.execute(params![body, at, &chunk[..]])?;
    }
    Ok(())
}

/// Gives a body its name, unless there is an object of that name: then that one stays.
pub(crate) fn complete(
    connection: &Connection,
    batch: i64,
    body: i64,
    object: &Verified,
) -> Outcome<(Stored, Entry)> {
    if let Some(entry) = present(connection, batch, &object.name)? {
        abandon(connection, body)?;
        return Ok((Stored::Present, entry));
    }
    let (stored_bytes, unpacked_bytes) = (object.stored_bytes, object.unpacked_bytes);
    let checksum = object.name.checksum;
    let row = params![body, checksum.as_bytes(), stored_bytes, unpacked_bytes];
    connection.prepare_cached(COMPLETE)?.execute(row)?;
    let encoding = encoding_of(object.name.object_type);
    let entry = Entry {
        body,
        encoding,
        stored_bytes,
        unpacked_bytes,
    };
    Ok((Stored::New, entry))
}

/// Stages a whole object, unless there is one of that name.
pub(crate) fn put(
    connection: &Connection,
    batch: i64,
    object: &Verified,
    chunks: &[Bytes],
    now_ms: i64,
) -> Outcome<(Stored, Entry)> {
    if let Some(entry) = present(connection, batch, &object.name)? {
        return Ok((Stored::Present, entry));
    }
    let body = stage(connection, batch, object.name.object_type, now_ms)?;
    append(connection, body, 0, chunks)?;
    complete(connection, batch, body, object)
}

/// Looks an object up that is put: what was left over is the caller's from then on.
fn present(connection: &Connection, batch: i64, name: &ObjectName) -> Outcome<Option<Entry>> {
    if let Some(entry) = find_staged(connection, batch, name)? {
        rely(connection, entry.body)?;
        return Ok(Some(entry));
    }
    objects::find(connection, name)
}

fn rely(connection: &Connection, body: i64) -> Outcome<()> {
    connection.prepare_cached(RELY)?.execute([body])?;
    Ok(())
}

/// Forgets a body that will not become an object.
pub(crate) fn abandon(connection: &Connection, body: i64) -> Outcome<()> {
    connection.prepare_cached(UNSTAGE)?.execute([body])?;
    delete_chunks(connection, body)
}

/// Publishes what was put into a batch or relied on, and ends it. What it adopted beside that is
/// left to the next.
pub(crate) fn publish(
    connection: &Connection,
    batch: i64,
    relied: &[i64],
    now_ms: i64,
) -> Outcome<()> {
    for body in relied {
        rely(connection, *body)?;
    }
    discard(connection, batch, Discard::Unfinished)?;
    connection
        .prepare_cached(PUBLISH)?
        .execute(params![batch, now_ms])?;
    connection.prepare_cached(DROP_SECOND)?.execute([batch])?;
    connection
        .prepare_cached(DROP_PUBLISHED)?
        .execute([batch])?;
    connection.prepare_cached(BATCH_DELETE)?.execute([batch])?;
    Ok(())
}
