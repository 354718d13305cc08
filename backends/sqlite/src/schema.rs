//! What tables there are, and how a file is recognised.

use rusqlite::{Connection, Transaction, TransactionBehavior};
use treeferry_core::error::Error;

use crate::error::Outcome;

/// The kind of database that a file is.
#[derive(Debug)]
pub(crate) struct Schema {
    /// What it is, in messages.
    pub(crate) what: &'static str,
    /// The number that stands in the file's header.
    pub(crate) application_id: i32,
    /// The version, which stands there too.
    pub(crate) version: i32,
    /// The statements that make its tables.
    pub(crate) tables: &'static str,
}

/// A repository.
pub(crate) const REPOSITORY: Schema = Schema {
    what: "a treeferry repository",
    application_id: i32::from_be_bytes(*b"TFry"),
    version: 2,
    tables: REPOSITORY_TABLES,
};

/// Objects are few bytes each; their bytes are in `chunk`, so that publishing a batch moves names
/// and not content. The numbers of `staged` become those of bodies, and are never used twice.
const REPOSITORY_TABLES: &str = "
CREATE TABLE object (
    kind INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    body INTEGER NOT NULL,
    encoding INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    unpacked_bytes INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, checksum)
) STRICT, WITHOUT ROWID;
CREATE TABLE chunk (
    body INTEGER NOT NULL,
    position INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (body, position)
) STRICT;
CREATE TABLE batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT
) STRICT;
CREATE TABLE staged (
    body INTEGER PRIMARY KEY AUTOINCREMENT,
    batch INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    checksum BLOB,
    encoding INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    unpacked_bytes INTEGER NOT NULL,
    staged_ms INTEGER NOT NULL,
    adopted INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX staged_name ON staged (batch, kind, checksum);
CREATE TABLE ref (
    space INTEGER NOT NULL,
    owner TEXT NOT NULL,
    branch TEXT NOT NULL,
    target BLOB,
    alias TEXT,
    PRIMARY KEY (space, owner, branch)
) STRICT, WITHOUT ROWID;
CREATE TABLE detached (checksum BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE partial (checksum BLOB PRIMARY KEY, reason INTEGER NOT NULL) STRICT;
CREATE TABLE tombstone (checksum BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE extra (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE summary (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    summary BLOB NOT NULL,
    signature BLOB
) STRICT;
CREATE TABLE config (id INTEGER PRIMARY KEY CHECK (id = 1), bytes BLOB NOT NULL) STRICT;
CREATE TABLE delta_piece (
    path TEXT NOT NULL,
    position INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (path, position)
) STRICT;
CREATE TABLE download (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    path TEXT NOT NULL,
    validator_kind INTEGER,
    validator TEXT,
    total_bytes INTEGER,
    touched_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX download_path ON download (origin, path);
CREATE TABLE download_piece (
    download INTEGER NOT NULL,
    position INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (download, position)
) STRICT;
";

impl Schema {
    /// Makes the tables in a file that has none. A file that is of this kind already stays.
    pub(crate) fn create(
        &self,
        connection: &Connection,
        fill: &dyn Fn(&Connection) -> Outcome<()>,
    ) -> Outcome<()> {
        // Without effect on a file that has pages already.
        connection.pragma_update(None, "page_size", 8192)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        let behavior = TransactionBehavior::Immediate;
        let transaction = Transaction::new_unchecked(connection, behavior)?;
        let id: i32 = transaction.pragma_query_value(None, "application_id", |r| r.get(0))?;
        if id != self.application_id {
            let count = "SELECT count(*) FROM sqlite_schema";
            let tables: i64 = transaction.query_row(count, [], |row| row.get(0))?;
            if id != 0 || tables != 0 {
                return Err(self.foreign().into());
            }
            transaction.execute_batch(self.tables)?;
            fill(&transaction)?;
            transaction.pragma_update(None, "application_id", self.application_id)?;
            transaction.pragma_update(None, "user_version", self.version)?;
        }
        transaction.commit()?;
        self.check(connection)
    }

    /// Checks that a file is of this kind and version, and sets its log up.
    pub(crate) fn check(&self, connection: &Connection) -> Outcome<()> {
        let id: i32 = connection.pragma_query_value(None, "application_id", |r| r.get(0))?;
        let version: i32 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
        if id != self.application_id {
            return Err(self.foreign().into());
        }
        if version != self.version {
            let (what, known) = (self.what, self.version);
            let problem = format!(
                "is {what} of version {version}, and this program knows version {known}: use the \
                 release that made it"
            );
            return Err(Error::unsupported(problem).into());
        }
        // Each table and index must be there, and nothing that runs: triggers, views.
        let list = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'";
        let mut statement = connection.prepare(list)?;
        let mut rows = statement.query([])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
            let is_ours = kind != "trigger" && kind != "view" && self.tables.contains(&name);
            if !is_ours {
                let problem = format!("holds the {kind} '{name}', which is not treeferry's");
                return Err(Error::corrupt(problem).into());
            }
            found += 1;
        }
        if found != self.tables.matches("CREATE ").count() {
            return Err(Error::corrupt("lacks some of its tables").into());
        }
        drop(rows);
        drop(statement);
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0))?;
        if mode != "wal" {
            let problem = format!(
                "SQLite cannot keep a write-ahead log here (its journal is '{mode}'): use a \
                 filesystem of this machine"
            );
            return Err(Error::unsupported(problem).into());
        }
        Ok(())
    }

    fn foreign(&self) -> Error {
        let what = self.what;
        Error::invalid(format!(
            "is not {what}: its header names another application"
        ))
    }
}
