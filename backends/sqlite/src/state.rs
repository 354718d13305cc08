//! What a repository holds besides objects and refs. Each change is a transaction of its own.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::Checksum;
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::store::{ExtraName, ListedDeltaFile, Partial, RepoState, SignedSummary, Swap};
use treeferry_core::transport::{FetchedFile, PutBody};

use crate::deltas;
use crate::error::Outcome;
use crate::objects::checksum_of;
use crate::repo::SqliteRepo;

const DETACHED: Table = Table {
    read: "SELECT bytes FROM detached WHERE checksum = ?1",
    write: "INSERT OR REPLACE INTO detached (checksum, bytes) VALUES (?1, ?2)",
    delete: "DELETE FROM detached WHERE checksum = ?1",
};
const TOMBSTONE: Table = Table {
    read: "SELECT bytes FROM tombstone WHERE checksum = ?1",
    write: "INSERT OR REPLACE INTO tombstone (checksum, bytes) VALUES (?1, ?2)",
    delete: "DELETE FROM tombstone WHERE checksum = ?1",
};
const EXTRA: Table = Table {
    read: "SELECT bytes FROM extra WHERE name = ?1",
    write: "INSERT OR REPLACE INTO extra (name, bytes) VALUES (?1, ?2)",
    delete: "DELETE FROM extra WHERE name = ?1",
};
const PARTIAL_READ: &str = "SELECT reason FROM partial WHERE checksum = ?1";
const PARTIAL_WRITE: &str = "INSERT OR REPLACE INTO partial (checksum, reason) VALUES (?1, ?2)";
const PARTIAL_DELETE: &str = "DELETE FROM partial WHERE checksum = ?1";
const PARTIAL_LIST: &str = "SELECT checksum FROM partial ORDER BY checksum";
const SUMMARY_READ: &str = "SELECT summary, signature FROM summary";
const SUMMARY_WRITE: &str = "INSERT OR REPLACE INTO summary (id, summary, signature)
    VALUES (1, ?1, ?2)";
const SUMMARY_DELETE: &str = "DELETE FROM summary";
const CONFIG_READ: &str = "SELECT bytes FROM config";
const CONFIG_WRITE: &str = "INSERT OR REPLACE INTO config (id, bytes) VALUES (1, ?1)";

const FETCHING: i64 = 0;
const DAMAGED: i64 = 1;

/// The statements of a table of byte strings.
#[derive(Debug, Clone, Copy)]
struct Table {
    read: &'static str,
    write: &'static str,
    delete: &'static str,
}

impl Table {
    fn read(&self, connection: &Connection, key: &dyn ToSql) -> Outcome<Option<Bytes>> {
        let mut statement = connection.prepare_cached(self.read)?;
        let bytes = statement.query_row([key], |row| row.get::<_, Vec<u8>>(0));
        Ok(bytes.optional()?.map(Bytes::from))
    }

    fn write(
        &self,
        connection: &Connection,
        key: &dyn ToSql,
        bytes: Option<&Bytes>,
    ) -> Outcome<()> {
        match bytes {
            Some(bytes) => connection
                .prepare_cached(self.write)?
                .execute(params![key, &bytes[..]])?,
            None => connection.prepare_cached(self.delete)?.execute([key])?,
        };
        Ok(())
    }
}

/// Reads the configuration.
pub(crate) fn read_config(connection: &Connection) -> Outcome<Bytes> {
    let mut statement = connection.prepare_cached(CONFIG_READ)?;
    let config = statement
        .query_row([], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    let missing = || Error::corrupt("the database holds no configuration");
    Ok(config.map(Bytes::from).ok_or_else(missing)?)
}

/// Replaces the configuration.
pub(crate) fn write_config(connection: &Connection, config: &[u8]) -> Outcome<()> {
    connection.prepare_cached(CONFIG_WRITE)?.execute([config])?;
    Ok(())
}

fn read_partial(connection: &Connection, commit: &Checksum) -> Outcome<Option<Partial>> {
    let mut statement = connection.prepare_cached(PARTIAL_READ)?;
    let reason = statement.query_row([commit.as_bytes()], |row| row.get::<_, i64>(0));
    Ok(match reason.optional()? {
        None => None,
        Some(FETCHING) => Some(Partial::Fetching),
        // A reason that is not known says the same: do not rely on it.
        Some(_) => Some(Partial::Damaged),
    })
}

fn list_partial(connection: &Connection) -> Outcome<Vec<Checksum>> {
    let mut statement = connection.prepare_cached(PARTIAL_LIST)?;
    let mut rows = statement.query([])?;
    let mut commits = Vec::new();
    while let Some(row) = rows.next()? {
        commits.push(checksum_of(row, 0)?);
    }
    Ok(commits)
}

fn read_summary(connection: &Connection) -> Outcome<Option<SignedSummary>> {
    let mut statement = connection.prepare_cached(SUMMARY_READ)?;
    let summary = statement.query_row([], |row| {
        Ok(SignedSummary {
            summary: row.get::<_, Vec<u8>>(0)?.into(),
            signature: row.get::<_, Option<Vec<u8>>>(1)?.map(Bytes::from),
        })
    });
    Ok(summary.optional()?)
}

impl SqliteRepo {
    async fn read_table(
        &self,
        table: Table,
        key: impl ToSql + Send + Sync + 'static,
    ) -> Result<Option<Bytes>> {
        self.db()
            .read(move |connection| table.read(connection, &key))
            .await
    }

    async fn write_state(
        &self,
        job: impl Fn(&Connection) -> Outcome<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.db().write(self.inner.settings.sync, job).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RepoState for SqliteRepo {
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.read_table(DETACHED, *commit.as_bytes()).await
    }

    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        let (key, expected) = (*commit.as_bytes(), expected.cloned());
        let swap = move |connection: &Connection| {
            let current = DETACHED.read(connection, &key)?;
            if current != expected {
                return Ok(Swap::Conflict { current });
            }
            DETACHED.write(connection, &key, new.as_ref())?;
            Ok(Swap::Done)
        };
        self.db().write(self.inner.settings.sync, swap).await
    }

    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>> {
        let commit = *commit;
        self.db()
            .read(move |connection| read_partial(connection, &commit))
            .await
    }

    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        let key = *commit.as_bytes();
        let reason = partial.map(|partial| match partial {
            Partial::Fetching => FETCHING,
            Partial::Damaged => DAMAGED,
        });
        let write = move |connection: &Connection| {
            match reason {
                Some(reason) => connection
                    .prepare_cached(PARTIAL_WRITE)?
                    .execute(params![key, reason])?,
                None => connection.prepare_cached(PARTIAL_DELETE)?.execute([key])?,
            };
            Ok(())
        };
        self.write_state(write).await
    }

    async fn list_partial(&self) -> Result<Vec<Checksum>> {
        self.db().read(list_partial).await
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        self.read_table(TOMBSTONE, *commit.as_bytes()).await
    }

    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()> {
        let key = *commit.as_bytes();
        self.write_state(move |c| TOMBSTONE.write(c, &key, tombstone.as_ref()))
            .await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        self.db().read(read_summary).await
    }

    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        let write = move |connection: &Connection| {
            match &summary {
                Some(SignedSummary { summary, signature }) => {
                    let row = params![&summary[..], signature.as_deref()];
                    connection.prepare_cached(SUMMARY_WRITE)?.execute(row)?
                }
                None => connection.prepare_cached(SUMMARY_DELETE)?.execute([])?,
            };
            Ok(())
        };
        self.write_state(write).await
    }

    async fn read_config(&self) -> Result<Bytes> {
        self.db().read(read_config).await
    }

    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap> {
        let expected = expected.clone();
        let swap = move |connection: &Connection| {
            let current = read_config(connection)?;
            if current != expected {
                return Ok(Swap::Conflict {
                    current: Some(current),
                });
            }
            write_config(connection, &new)?;
            Ok(Swap::Done)
        };
        // A configuration may say that nothing is synced: that it is said is durable.
        self.db().write(crate::db::Sync::Now, swap).await
    }

    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>> {
        self.read_table(EXTRA, name.file_name()).await
    }

    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()> {
        let key = name.file_name();
        self.write_state(move |c| EXTRA.write(c, &key, bytes.as_ref()))
            .await
    }

    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>> {
        self.db().read(deltas::list).await
    }

    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>> {
        deltas::open(self, *file, offset).await
    }

    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        deltas::write(self, *file, body).await
    }

    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()> {
        let files = files.to_vec();
        self.write_state(move |connection| deltas::delete(connection, &files))
            .await
    }
}
