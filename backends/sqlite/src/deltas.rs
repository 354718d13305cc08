//! Files of deltas: rows of `delta_piece`, by path and offset.
//!
//! What arrives in pieces is gathered as an interrupted download is, and expires like one if it
//! never becomes whole.

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use rusqlite::{Connection, OptionalExtension, params};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::store::{ListedDeltaFile, ScratchFile};
use treeferry_core::transport::{FetchedFile, PutBody, RemotePath, check_offset};

use crate::error::Outcome;
use crate::repo::SqliteRepo;
use crate::scratch::Downloads;

const LIST: &str = "SELECT path, sum(length(bytes)) FROM delta_piece GROUP BY path";
const LENGTH: &str = "SELECT sum(length(bytes)) FROM delta_piece WHERE path = ?1";
const READ: &str = "SELECT position, bytes FROM delta_piece WHERE path = ?1 AND position <= ?2
    ORDER BY position DESC LIMIT 1";
const DELETE: &str = "DELETE FROM delta_piece WHERE path = ?1";
const PUT: &str = "INSERT INTO delta_piece (path, position, bytes) VALUES (?1, ?2, ?3)";
const PUBLISH: &str = "INSERT INTO delta_piece (path, position, bytes)
    SELECT ?1, position, bytes FROM download_piece WHERE download = ?2";

/// How long the pieces are at most, bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// Whose downloads these are, in the table of downloads: no remote is called so.
const ORIGIN: &str = "delta:";

/// Lists all files of deltas.
pub(crate) fn list(connection: &Connection) -> Outcome<Vec<ListedDeltaFile>> {
    let mut statement = connection.prepare_cached(LIST)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let path: String = row.get(0)?;
        let file = DeltaFile::from_path(&path).ok_or_else(|| {
            Error::corrupt(format!("'{path}' is not the name of a file of a delta"))
        })?;
        let bytes = row.get(1)?;
        found.push(ListedDeltaFile { file, bytes });
    }
    Ok(found)
}

/// Opens a file of a delta from a byte on.
pub(crate) async fn open(
    repo: &SqliteRepo,
    file: DeltaFile,
    offset: u64,
) -> Result<Option<FetchedFile>> {
    let path = file.path();
    let length = move |connection: &Connection| {
        let mut statement = connection.prepare_cached(LENGTH)?;
        Ok(statement.query_row([&path], |row| row.get::<_, Option<u64>>(0))?)
    };
    let Some(total_bytes) = repo.db().read(length).await? else {
        return Ok(None);
    };
    check_offset(offset, total_bytes)?;
    let repo = repo.clone();
    let bytes = stream::try_unfold(offset, move |at| {
        let (repo, path) = (repo.clone(), file.path());
        async move {
            if at >= total_bytes {
                return Ok(None);
            }
            let piece = repo
                .db()
                .read(move |connection| read_piece(connection, &path, at));
            let piece = piece.await?;
            let next = at + piece.len() as u64;
            Ok(Some((piece, next)))
        }
    });
    Ok(Some(FetchedFile {
        offset,
        total_bytes: Some(total_bytes),
        validator: None,
        bytes: bytes.boxed(),
    }))
}

/// Reads what is left, from byte `at` on, of the piece that holds it.
fn read_piece(connection: &Connection, path: &str, at: u64) -> Outcome<Bytes> {
    let mut statement = connection.prepare_cached(READ)?;
    let found = statement.query_row(params![path, at], |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let gone = || Error::missing(format!("{path}: was deleted or replaced while it was read"));
    let (position, bytes) = found.optional()?.ok_or_else(gone)?;
    let skip = usize::try_from(at - position).unwrap_or(usize::MAX);
    if skip >= bytes.len() {
        return Err(gone().into());
    }
    Ok(Bytes::from(bytes).slice(skip..))
}

/// Writes a file of a delta whole.
pub(crate) async fn write(repo: &SqliteRepo, file: DeltaFile, body: PutBody) -> Result<()> {
    let sync = repo.inner.settings.sync;
    let bytes = match body {
        PutBody::Bytes(bytes) => bytes,
        stream => return write_stream(repo, file, stream).await,
    };
    let path = file.path();
    let put = move |connection: &Connection| {
        connection.prepare_cached(DELETE)?.execute([&path])?;
        let mut statement = connection.prepare_cached(PUT)?;
        if bytes.is_empty() {
            statement.execute(params![path, 0, &[][..] as &[u8]])?;
        }
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            statement.execute(params![path, number * PIECE_BYTES, piece])?;
        }
        Ok(())
    };
    repo.db().write(sync, put).await
}

async fn write_stream(repo: &SqliteRepo, file: DeltaFile, body: PutBody) -> Result<()> {
    let downloads = Downloads::new(repo.clone());
    let remote_path = RemotePath::new(&file.path())?;
    let total_bytes = body.total_bytes();
    let download = downloads.create_one(ORIGIN, &remote_path, None, Some(total_bytes));
    let mut download = download.await?;
    let gathered = gather(&mut download, body).await;
    let id = download.id();
    let published = match gathered {
        Err(error) => Err(error),
        Ok(()) => {
            let path = file.path();
            let publish = move |connection: &Connection| {
                connection.prepare_cached(DELETE)?.execute([&path])?;
                let copied = connection
                    .prepare_cached(PUBLISH)?
                    .execute(params![path, id])?;
                if copied == 0 {
                    let row = params![path, 0, &[][..] as &[u8]];
                    connection.prepare_cached(PUT)?.execute(row)?;
                }
                Ok(())
            };
            repo.db().write(repo.inner.settings.sync, publish).await
        }
    };
    Box::new(download).discard().await?;
    published
}

async fn gather(download: &mut impl ScratchFile, body: PutBody) -> Result<()> {
    let mut stream = body.into_stream();
    while let Some(chunk) = stream.next().await {
        let mut chunk = chunk?;
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(PIECE_BYTES));
            download.append(piece).await?;
        }
    }
    Ok(())
}

/// Deletes files of deltas.
pub(crate) fn delete(connection: &Connection, files: &[DeltaFile]) -> Outcome<()> {
    for file in files {
        connection.prepare_cached(DELETE)?.execute([file.path()])?;
    }
    Ok(())
}
