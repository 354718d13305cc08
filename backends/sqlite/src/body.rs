//! The bytes of an object, read chunk by chunk.
//!
//! Each chunk is a short transaction of its own. One long one would show the same bytes, and would
//! keep the log from being written back for as long as somebody reads slowly. Objects do not change:
//! all that can happen meanwhile is that this one is deleted, which is told as that.

use std::fmt::{self, Debug};
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rusqlite::{Connection, OptionalExtension, params};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::ObjectName;
use treeferry_core::store::{Body, Encoding, Payload};

use crate::db::Db;
use crate::error::Outcome;
use crate::objects::Entry;

const READ: &str = "SELECT bytes FROM chunk WHERE body = ?1 AND position = ?2";

/// How long the chunks are that objects are cut into.
///
/// Long enough that a row costs nothing beside its bytes, short enough to hold one for each stream.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Opens an object that `find` finds.
pub(crate) async fn fetch<F>(db: &Arc<Db>, name: ObjectName, find: F) -> Result<Option<Body>>
where
    F: Fn(&Connection, &ObjectName) -> Outcome<Option<Entry>> + Clone + Send + Sync + 'static,
{
    let first = find.clone();
    let found = db.read(move |connection| {
        let Some(entry) = first(connection, &name)? else {
            return Ok(None);
        };
        let chunk = match entry.stored_bytes {
            0 => Some(Bytes::new()),
            _ => read_chunk(connection, entry.body, 0)?,
        };
        Ok(Some((entry, chunk)))
    });
    let Some((entry, chunk)) = found.await? else {
        return Ok(None);
    };
    let chunk = chunk.ok_or_else(|| lacking(db, name, 0))?;
    let mut reader = ChunkReader {
        db: Arc::clone(db),
        name,
        find: Box::new(find),
        body: entry.body,
        position: 0,
        left_bytes: entry.stored_bytes,
        chunk: Bytes::new(),
    };
    reader.hold(chunk)?;
    let payload = match reader.left_bytes {
        0 => Payload::Bytes(reader.chunk),
        _ => Payload::Reader(Box::new(reader)),
    };
    Ok(Some(match entry.encoding {
        Encoding::Canonical => Body::Metadata(payload),
        Encoding::Filez => Body::Filez {
            stored_bytes: Some(entry.stored_bytes),
            payload,
        },
    }))
}

fn read_chunk(connection: &Connection, body: i64, position: i64) -> Outcome<Option<Bytes>> {
    let mut statement = connection.prepare_cached(READ)?;
    let chunk = statement.query_row(params![body, position], |row| row.get::<_, Vec<u8>>(0));
    Ok(chunk.optional()?.map(Bytes::from))
}

type AnyFind = dyn Fn(&Connection, &ObjectName) -> Outcome<Option<Entry>> + Send + Sync;

/// Reads the chunks of one body. **Blocking.**
struct ChunkReader {
    db: Arc<Db>,
    name: ObjectName,
    find: Box<AnyFind>,
    body: i64,
    position: i64,
    left_bytes: u64,
    chunk: Bytes,
}

impl ChunkReader {
    fn hold(&mut self, chunk: Bytes) -> Result<()> {
        let length = chunk.len() as u64;
        let left = self.left_bytes.checked_sub(length);
        self.left_bytes = left.ok_or_else(|| {
            let problem = "has more bytes in the database than were recorded";
            Error::corrupt(format!("{}: {problem}", self.db.path().display())).about(self.name)
        })?;
        self.position += 1;
        self.chunk = chunk;
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        let (body, position, name) = (self.body, self.position, self.name);
        let chunk = self.db.read_blocking(|connection| {
            let chunk = read_chunk(connection, body, position)?;
            let still = match chunk {
                Some(_) => true,
                None => (self.find)(connection, &name)?.is_some_and(|e| e.body == body),
            };
            Ok((chunk, still))
        })?;
        match chunk {
            (Some(chunk), _) if !chunk.is_empty() => self.hold(chunk),
            (_, true) => Err(lacking(&self.db, name, position)),
            (_, false) => Err(Error::missing("was deleted while it was read").about(name)),
        }
    }
}

fn lacking(db: &Db, name: ObjectName, position: i64) -> Error {
    let path = db.path().display();
    Error::corrupt(format!(
        "{path}: its chunk {position} is not in the database"
    ))
    .about(name)
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && self.left_bytes > 0 {
            self.next()?;
        }
        let n = self.chunk.len().min(out.len());
        self.chunk.copy_to_slice(&mut out[..n]);
        Ok(n)
    }
}

impl Debug for ChunkReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkReader")
            .field("name", &self.name)
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}
