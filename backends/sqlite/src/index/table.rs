//! The tables of an index, and the statements over them.
//!
//! `known` may be wrong, as the store is elsewhere; `edge` never is, as a parent's name is the hash of
//! what it names.

use rusqlite::{Connection, OptionalExtension, params};
use treeferry_core::error::Error;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::store::{Encoding, Stat, Trust};

use crate::error::Outcome;
use crate::objects::{checksum_of, encoding_number, encoding_of_number};
use crate::schema::Schema;

/// An index of a store that is elsewhere.
///
/// `node` tells that all rows of `edge` of a parent are there, which may be none. `building` is the
/// generation that a rebuild under way writes.
pub(super) const INDEX: Schema = Schema {
    what: "a treeferry index",
    application_id: i32::from_be_bytes(*b"TFix"),
    version: 1,
    tables: "
CREATE TABLE origin (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    building INTEGER,
    doubted INTEGER NOT NULL
) STRICT;
CREATE TABLE known (
    kind INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    encoding INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (kind, checksum)
) STRICT, WITHOUT ROWID;
CREATE TABLE node (
    kind INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (kind, checksum)
) STRICT, WITHOUT ROWID;
CREATE TABLE edge (
    kind INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    child_kind INTEGER NOT NULL,
    child_checksum BLOB NOT NULL,
    PRIMARY KEY (kind, checksum, child_kind, child_checksum)
) STRICT, WITHOUT ROWID;
",
};

const ORIGIN: &str = "SELECT name, doubted FROM origin";
const BE: &str = "INSERT OR REPLACE INTO origin (id, name, generation, building, doubted)
    VALUES (1, ?1, 0, NULL, 1)";
const DOUBT: &str = "UPDATE origin SET doubted = 1";
const FIND: &str = "SELECT encoding, stored_bytes FROM known WHERE kind = ?1 AND checksum = ?2";
const RECORD: &str = "INSERT OR REPLACE INTO known
    (kind, checksum, encoding, stored_bytes, generation)
    SELECT ?1, ?2, ?3, ?4, coalesce(building, generation) FROM origin";
const FORGET: &str = "DELETE FROM known WHERE kind = ?1 AND checksum = ?2";
const SAMPLE: &str = "SELECT checksum, encoding, stored_bytes FROM known
    WHERE kind = ?1 AND checksum >= ?2 ORDER BY checksum LIMIT 1";
// Higher than what a rebuild that never ended has left.
const BUILD: &str = "UPDATE origin SET building = max(generation, coalesce(building, 0)) + 1";
const BUILT_DELETE: &str = "DELETE FROM known
    WHERE generation < (SELECT building FROM origin)";
const BUILT: &str = "UPDATE origin SET generation = building, building = NULL, doubted = 0
    WHERE building IS NOT NULL";
const ADD_NODE: &str = "INSERT OR IGNORE INTO node (kind, checksum) VALUES (?1, ?2)";
const ADD_EDGE: &str = "INSERT OR IGNORE INTO edge (kind, checksum, child_kind, child_checksum)
    VALUES (?1, ?2, ?3, ?4)";
const DELETE_NODE: &str = "DELETE FROM node WHERE kind = ?1 AND checksum = ?2";
const DELETE_EDGES: &str = "DELETE FROM edge WHERE kind = ?1 AND checksum = ?2";

/// All that is reached from an object, each once: `UNION` drops what was reached before.
macro_rules! reached {
    ($select:literal) => {
        concat!(
            "WITH RECURSIVE reached (kind, checksum) AS (
                 VALUES (?1, ?2)
                 UNION
                 SELECT edge.child_kind, edge.child_checksum FROM reached JOIN edge
                 ON edge.kind = reached.kind AND edge.checksum = reached.checksum
             ) ",
            $select
        )
    };
}

// Dirtrees and commits of which nobody has looked up what they name.
const UNPARSED: &str = reached!(
    "SELECT kind, checksum FROM reached WHERE kind IN (2, 4)
     AND NOT EXISTS (SELECT 1 FROM node
                     WHERE node.kind = reached.kind AND node.checksum = reached.checksum)"
);
const UNKNOWN: &str = reached!(
    "SELECT kind, checksum FROM reached
     WHERE NOT EXISTS (SELECT 1 FROM known
                       WHERE known.kind = reached.kind AND known.checksum = reached.checksum)"
);
const TOTALS: &str = reached!(
    "SELECT count(*), coalesce(sum(known.stored_bytes), 0) FROM reached JOIN known
     ON known.kind = reached.kind AND known.checksum = reached.checksum"
);

/// Whether what the index knows can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It agreed with the store when they were last compared.
    Good,
    /// It was never built, or was found wrong.
    Doubted,
}

/// Begins an index of the store `name`, or one anew if it was of another.
pub(super) fn settle(connection: &Connection, name: &str) -> Outcome<()> {
    let found = connection
        .query_row(ORIGIN, [], |row| row.get::<_, String>(0))
        .optional()?;
    if found.as_deref() != Some(name) {
        connection.execute_batch("DELETE FROM known; DELETE FROM node; DELETE FROM edge")?;
        connection.execute(BE, [name])?;
    }
    Ok(())
}

pub(super) fn standing(connection: &Connection) -> Outcome<Standing> {
    let mut statement = connection.prepare_cached(ORIGIN)?;
    let doubted: bool = statement.query_row([], |row| row.get(1))?;
    Ok(if doubted {
        Standing::Doubted
    } else {
        Standing::Good
    })
}

pub(super) fn doubt(connection: &Connection) -> Outcome<()> {
    connection.prepare_cached(DOUBT)?.execute([])?;
    Ok(())
}

fn stat(encoding: i64, stored_bytes: u64) -> rusqlite::Result<Stat> {
    // Only what is whole is recorded.
    Ok(Stat {
        encoding: encoding_of_number(encoding)?,
        stored_bytes,
        trust: Trust::Whole,
    })
}

pub(super) fn find(connection: &Connection, name: &ObjectName) -> Outcome<Option<Stat>> {
    let mut statement = connection.prepare_cached(FIND)?;
    let key = params![name.object_type.number(), name.checksum.as_bytes()];
    Ok(statement
        .query_row(key, |row| stat(row.get(0)?, row.get(1)?))
        .optional()?)
}

/// Records what the store says it has; what may be torn is not recorded.
pub(super) fn record(connection: &Connection, found: &[(ObjectName, Stat)]) -> Outcome<()> {
    let mut statement = connection.prepare_cached(RECORD)?;
    for (name, stat) in found.iter().filter(|(_, stat)| stat.trust == Trust::Whole) {
        let (kind, checksum) = (name.object_type.number(), name.checksum.as_bytes());
        let encoding = encoding_number(stat.encoding);
        statement.execute(params![kind, checksum, encoding, stat.stored_bytes])?;
    }
    Ok(())
}

/// Forgets that objects are there, and what they name.
pub(super) fn forget(connection: &Connection, names: &[ObjectName]) -> Outcome<()> {
    for name in names {
        for sql in [FORGET, DELETE_NODE, DELETE_EDGES] {
            let key = params![name.object_type.number(), name.checksum.as_bytes()];
            connection.prepare_cached(sql)?.execute(key)?;
        }
    }
    Ok(())
}

/// Picks up to `count` objects of each kind, spread by `seed` over all there are.
pub(super) fn sample(
    connection: &Connection,
    count: u64,
    seed: u64,
) -> Outcome<Vec<(ObjectName, Stat)>> {
    let mut picked = Vec::new();
    let mut statement = connection.prepare_cached(SAMPLE)?;
    let stride = u64::MAX / count.max(1);
    for kind in ObjectType::ALL {
        for i in 0..count {
            let from = seed.wrapping_add(stride.wrapping_mul(i)).to_be_bytes();
            let mut rows = statement.query(params![kind.number(), &from[..]])?;
            if let Some(row) = rows.next()? {
                let name = ObjectName::new(kind, checksum_of(row, 0)?);
                picked.push((name, stat(row.get(1)?, row.get(2)?)?));
            }
        }
    }
    picked.sort_unstable_by_key(|(name, _)| *name);
    picked.dedup_by_key(|(name, _)| *name);
    Ok(picked)
}

/// Begins a rebuild: what is recorded from here on survives its end.
pub(super) fn build(connection: &Connection) -> Outcome<()> {
    connection.execute(BUILD, [])?;
    Ok(())
}

/// Ends a rebuild: what was not found again is forgotten.
pub(super) fn built(connection: &Connection) -> Outcome<()> {
    connection.execute(BUILT_DELETE, [])?;
    connection.execute(BUILT, [])?;
    Ok(())
}

/// Records what a dirtree or commit names.
pub(super) fn add_children(
    connection: &Connection,
    parent: &ObjectName,
    children: &[ObjectName],
) -> Outcome<()> {
    let (kind, checksum) = (parent.object_type.number(), parent.checksum.as_bytes());
    connection
        .prepare_cached(ADD_NODE)?
        .execute(params![kind, checksum])?;
    let mut statement = connection.prepare_cached(ADD_EDGE)?;
    for child in children {
        let (child_kind, child) = (child.object_type.number(), child.checksum.as_bytes());
        statement.execute(params![kind, checksum, child_kind, child])?;
    }
    Ok(())
}

fn names(connection: &Connection, sql: &str, root: &Checksum) -> Outcome<Vec<ObjectName>> {
    let mut statement = connection.prepare_cached(sql)?;
    let kind = ObjectType::Commit.number();
    let mut rows = statement.query(params![kind, root.as_bytes()])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let kind = ObjectType::from_number(row.get(0)?);
        let kind = kind.ok_or_else(|| Error::corrupt("holds a kind of object that is none"))?;
        names.push(ObjectName::new(kind, checksum_of(row, 1)?));
    }
    Ok(names)
}

/// Returns the dirtrees and commits below `root` of which it is not known what they name.
pub(super) fn unparsed(connection: &Connection, root: &Checksum) -> Outcome<Vec<ObjectName>> {
    names(connection, UNPARSED, root)
}

/// Returns the objects below `root`, itself included, that are not known to be in the store.
pub(super) fn unknown(connection: &Connection, root: &Checksum) -> Outcome<Vec<ObjectName>> {
    names(connection, UNKNOWN, root)
}

/// Returns the number of objects below `root` that the store has, and how many bytes they take.
pub(super) fn totals(connection: &Connection, root: &Checksum) -> Outcome<(u64, u64)> {
    let mut statement = connection.prepare_cached(TOTALS)?;
    let key = params![ObjectType::Commit.number(), root.as_bytes()];
    Ok(statement.query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Returns how a store whose content lies in `encoding` keeps an object of a kind.
pub(super) fn kept_as(kind: ObjectType, encoding: Encoding) -> Encoding {
    match kind.is_metadata() {
        true => Encoding::Canonical,
        false => encoding,
    }
}
