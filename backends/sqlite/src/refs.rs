//! The refs: a set of updates moves as one, in one transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use treeferry_core::error::{Error, Result, Subject};
use treeferry_core::format::{Branch, CollectionId, FormatError, RemoteName};
use treeferry_core::store::{
    RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue,
};

use crate::error::{Fault, Outcome};
use crate::objects::checksum_of;
use crate::repo::SqliteRepo;

const READ: &str = "SELECT space, owner, branch, target, alias FROM ref
    WHERE space = ?1 AND owner = ?2 AND branch = ?3";
// Texts compare byte by byte, as names do.
const LIST: &str = "SELECT space, owner, branch, target, alias FROM ref
    WHERE (?1 IS NULL OR space = ?1) AND (?2 IS NULL OR owner = ?2)
    ORDER BY space, owner, branch";
const SET: &str = "INSERT INTO ref (space, owner, branch, target, alias)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET target = excluded.target, alias = excluded.alias";
const DELETE: &str = "DELETE FROM ref WHERE space = ?1 AND owner = ?2 AND branch = ?3";
// All that begins with 'BRANCH/': '0' is the character after '/'.
const BELOW: &str = "SELECT space, owner, branch, target, alias FROM ref
    WHERE space = ?1 AND owner = ?2 AND branch > ?3 || '/' AND branch < ?3 || '0' LIMIT 1";

const LOCAL: i64 = 0;
const REMOTE: i64 = 1;
const MIRROR: i64 = 2;

/// Returns the key under which a ref is kept.
fn key(name: &RefName) -> (i64, &str, &str) {
    match name {
        RefName::Local(branch) => (LOCAL, "", branch.as_str()),
        RefName::Remote(remote, branch) => (REMOTE, remote.as_str(), branch.as_str()),
        RefName::Mirror(collection, branch) => (MIRROR, collection.as_str(), branch.as_str()),
    }
}

fn named(space: i64, owner: &str, branch: &str) -> std::result::Result<RefName, FormatError> {
    let branch = Branch::new(branch)?;
    Ok(match space {
        LOCAL => RefName::Local(branch),
        REMOTE => RefName::Remote(RemoteName::new(owner)?, branch),
        MIRROR => RefName::Mirror(CollectionId::new(owner)?, branch),
        _ => {
            return Err(FormatError::new(
                "ref",
                "is in a name space that is not known",
            ));
        }
    })
}

fn of_row(row: &Row<'_>) -> Outcome<(RefName, RefValue)> {
    let (space, owner, branch): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let wrong = |e: FormatError| {
        let problem = format!("the database holds '{branch}', which is no ref");
        Fault::from(Error::corrupt(problem).because(e))
    };
    let name = named(space, &owner, &branch).map_err(wrong)?;
    let value = match row.get::<_, Option<String>>(4)? {
        Some(alias) => RefValue::Alias(named(space, &owner, &alias).map_err(wrong)?),
        None => RefValue::Commit(checksum_of(row, 3)?),
    };
    Ok((name, value))
}

fn read(connection: &Connection, name: &RefName) -> Outcome<Option<RefValue>> {
    let mut statement = connection.prepare_cached(READ)?;
    let value = statement
        .query_row(key(name), |row| Ok(of_row(row)))
        .optional()?;
    Ok(value.transpose()?.map(|(_, value)| value))
}

fn list(connection: &Connection, space: &RefSpace) -> Outcome<Vec<(RefName, RefValue)>> {
    let (number, owner) = match space {
        RefSpace::All => (None, None),
        RefSpace::Local => (Some(LOCAL), None),
        RefSpace::Remote(remote) => (Some(REMOTE), Some(remote.as_str())),
        RefSpace::Mirrors => (Some(MIRROR), None),
    };
    let mut statement = connection.prepare_cached(LIST)?;
    let mut rows = statement.query(params![number, owner])?;
    let mut refs = Vec::new();
    while let Some(row) = rows.next()? {
        refs.push(of_row(row)?);
    }
    Ok(refs)
}

fn update(connection: &Connection, updates: &[RefUpdate]) -> Outcome<Vec<RefAnswer>> {
    let read = |u: &RefUpdate| read(connection, &u.name);
    let current = updates.iter().map(read).collect::<Outcome<Vec<_>>>()?;
    let holds = |(u, current): (&RefUpdate, &Option<_>)| u.expected.matches(current.as_ref());
    if !updates.iter().zip(&current).all(holds) {
        let conflict = |current| RefAnswer::Conflict { current };
        return Ok(current.into_iter().map(conflict).collect());
    }
    for update in updates {
        let (space, owner, branch) = key(&update.name);
        let (target, alias) = match &update.new {
            None => {
                connection
                    .prepare_cached(DELETE)?
                    .execute((space, owner, branch))?;
                continue;
            }
            Some(RefValue::Commit(commit)) => (Some(commit.as_bytes()), None),
            Some(RefValue::Alias(alias)) => (None, Some(alias.branch().as_str())),
        };
        let row = params![space, owner, branch, target, alias];
        connection.prepare_cached(SET)?.execute(row)?;
    }
    for update in updates.iter().filter(|u| u.new.is_some()) {
        check_nesting(connection, &update.name)?;
    }
    Ok(vec![RefAnswer::Committed; updates.len()])
}

/// Refuses a ref that is a directory of another: a repository of plain files, to which this one may
/// be copied, cannot hold both.
fn check_nesting(connection: &Connection, name: &RefName) -> Outcome<()> {
    let (space, owner, branch) = key(name);
    let look = |sql, branch: &str| -> Outcome<Option<RefName>> {
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_row(params![space, owner, branch], |row| Ok(of_row(row)));
        Ok(found.optional()?.transpose()?.map(|(name, _)| name))
    };
    let mut other = look(BELOW, branch)?;
    for (slash, _) in branch.match_indices('/') {
        if other.is_none() {
            other = look(READ, &branch[..slash])?;
        }
    }
    match other {
        None => Ok(()),
        Some(other) => {
            let problem = format!("stands in the way of the ref '{other}': delete that one first");
            Err(Error::invalid(problem)
                .about(Subject::Ref(name.to_string()))
                .into())
        }
    }
}

fn check_set(updates: &[RefUpdate]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for update in updates {
        let fail = |problem: &'static str| {
            Err(Error::invalid(problem).about(Subject::Ref(update.name.to_string())))
        };
        if !seen.insert(&update.name) {
            return fail("is updated twice in one set");
        }
        if let Some(RefValue::Alias(target)) = &update.new {
            let (space, owner, _) = key(&update.name);
            let (target_space, target_owner, _) = key(target);
            if (space, owner) != (target_space, target_owner) {
                return fail("cannot be an alias of a ref in another name space");
            }
            if *target == update.name {
                return fail("cannot be an alias of itself");
            }
        }
    }
    Ok(())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RefStore for SqliteRepo {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        let name = name.clone();
        self.db()
            .read(move |connection| read(connection, &name))
            .await
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        let space = space.clone();
        self.db()
            .read(move |connection| list(connection, &space))
            .await
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        check_set(updates)?;
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        let updates = updates.to_vec();
        let sync = self.inner.settings.sync;
        self.db()
            .write(sync, move |connection| update(connection, &updates))
            .await
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        RefAtomicity::Set
    }
}
