//! An index in SQLite of what a slow store has.
//!
//! It answers which objects are there, how long they are and what a commit reaches without asking
//! the store. The store stays the truth, others write to it too, and the index is made so that being
//! behind does no harm:
//!
//! * What is put is recorded after the store has it, what is deleted is forgotten before. A crash
//!   between the two leaves the index knowing less, never more.
//! * What the index does not know is asked of the store, unless [`Misses::AreAbsent`].
//! * What a batch skipped because the index has it is looked up in the store when the batch is
//!   committed, in one go: nobody publishes a commit whose tree only the index has.
//! * When it is opened, some entries are compared with the store.
//!
//! Where the two disagree the index is doubted: it answers nothing until it has been rebuilt from a
//! listing of the store, which the next batch or [`IndexedStore::open`] does.

mod batch;
mod reach;
mod table;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use rusqlite::Connection;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::pool::Pool;
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    ObjectSource, ObjectStore, ResumableSource, Scratch, Stat,
};

use self::batch::IndexedBatch;
use self::table::{INDEX, Standing};
use crate::db::{Db, Sync};
use crate::error::Outcome;

pub use self::reach::Reachable;

/// How many entries of each kind are compared when an index is opened.
const SAMPLES: u64 = 16;
/// How many names the store is asked for in one go. A bucket answers many with few listings.
const ASK_STEP: usize = 65_536;
const FIND_STEP: usize = 4096;

/// A store, and an index of it. Cheap to clone: clones are handles of the same.
#[derive(Debug, Clone)]
pub struct IndexedStore {
    store: Arc<dyn ObjectStore>,
    db: Arc<Db>,
    options: IndexOptions,
}

/// How an index is used.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Where metadata is parsed. The database has pools of its own.
    pub pool: Pool,
    /// What it means that the index does not know an object.
    pub misses: Misses,
    /// How long to wait, at each step, for other processes that write to the index.
    pub busy_wait: Duration,
    /// Picks the entries that are compared with the store when the index is opened.
    pub seed: u64,
}

impl Default for IndexOptions {
    /// Asks the store for what the index does not know.
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            misses: Misses::AreAsked,
            busy_wait: Duration::from_secs(60),
            seed: 0,
        }
    }
}

/// What it means that an index does not know an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misses {
    /// Nothing: the store is asked.
    AreAsked,
    /// That it is not in the store, for stores that nobody writes to without this index. What others
    /// put all the same is put once more, which does no harm.
    AreAbsent,
}

/// What a comparison of an index with its store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// They agree, as far as was looked.
    Agreed,
    /// They did not, or the index was new: it was rebuilt.
    Rebuilt,
}

impl IndexedStore {
    /// Opens the index of `store` in the file `path`, or makes it, and compares the two.
    ///
    /// `origin` tells stores apart, such as by the address: an index of another one is emptied.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        origin: &str,
        path: impl Into<PathBuf>,
        options: IndexOptions,
    ) -> Result<Self> {
        let name = origin.to_owned();
        let fill = move |connection: &Connection| table::settle(connection, &name);
        let db = Db::create(path.into(), &INDEX, fill, &options.pool, options.busy_wait).await?;
        let name = origin.to_owned();
        db.write(Sync::Now, move |connection| {
            table::settle(connection, &name)
        })
        .await?;
        let seed = options.seed;
        let indexed = Self { store, db, options };
        indexed.compare(seed).await?;
        Ok(indexed)
    }

    /// Returns the store itself.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Compares some entries with the store, other ones for each `seed`, and rebuilds the index if
    /// they do not agree.
    pub async fn compare(&self, seed: u64) -> Result<Compared> {
        if self.standing().await? == Standing::Good {
            let sampled = self
                .db
                .read(move |c| table::sample(c, SAMPLES, seed))
                .await?;
            let names: Vec<_> = sampled.iter().map(|(name, _)| *name).collect();
            let found = self.store.stat(&names).await?;
            let agree = |((_, known), found): (&(_, Stat), &Option<Stat>)| Some(*known) == *found;
            if sampled.iter().zip(&found).all(agree) {
                return Ok(Compared::Agreed);
            }
            self.db.write(Sync::Now, table::doubt).await?;
        }
        match self.store.lock(LockKind::Shared).await {
            Ok(_guard) => self.rebuild_locked().await?,
            // Somebody deletes just now. Until it is rebuilt the index answers nothing.
            Err(error) if error.kind() == ErrorKind::Locked => {}
            Err(error) => return Err(error),
        }
        Ok(Compared::Rebuilt)
    }

    /// Makes the index anew from a listing of the store, while nobody deletes.
    pub async fn rebuild(&self) -> Result<()> {
        let _guard = self.store.lock(LockKind::Shared).await?;
        self.rebuild_locked().await
    }

    async fn rebuild_locked(&self) -> Result<()> {
        self.db.write(Sync::Later, table::build).await?;
        for kind in ObjectType::ALL {
            let mut pages = self.store.list(kind).ready_chunks(ASK_STEP);
            let mut names = Vec::new();
            while let Some(page) = pages.next().await {
                for listed in page {
                    names.push(listed?.name);
                }
                if names.len() >= ASK_STEP {
                    self.ask(&std::mem::take(&mut names)).await?;
                }
            }
            self.ask(&names).await?;
        }
        self.db.write(Sync::Now, table::built).await
    }

    /// Returns which of `names` are not in the store, in the same order.
    pub async fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>> {
        let stats = self.stat(names).await?;
        let absent = names.iter().zip(stats).filter(|(_, stat)| stat.is_none());
        Ok(absent.map(|(name, _)| *name).collect())
    }

    async fn standing(&self) -> Result<Standing> {
        self.db.read(table::standing).await
    }

    /// Looks names up in the index alone; while it is doubted it knows none.
    async fn known(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut stats = Vec::with_capacity(names.len());
        for step in names.chunks(FIND_STEP) {
            let step = step.to_vec();
            let found = self.db.read(move |connection| {
                if table::standing(connection)? == Standing::Doubted {
                    return Ok(vec![None; step.len()]);
                }
                let find = |name| table::find(connection, name);
                step.iter().map(find).collect::<Outcome<Vec<_>>>()
            });
            stats.extend(found.await?);
        }
        Ok(stats)
    }

    /// Returns whether what the index does not know has to be asked for.
    async fn asks(&self) -> Result<bool> {
        let trusted = self.options.misses == Misses::AreAbsent;
        Ok(!trusted || self.standing().await? == Standing::Doubted)
    }

    /// Asks the store, and records what it has.
    async fn ask(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let stats = self.store.stat(names).await?;
        let pairs = names.iter().zip(&stats);
        let found: Vec<_> = pairs
            .filter_map(|(name, stat)| Some((*name, (*stat)?)))
            .collect();
        self.record(found).await?;
        Ok(stats)
    }

    async fn record(&self, found: Vec<(ObjectName, Stat)>) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        self.db
            .write(Sync::Later, move |connection| {
                table::record(connection, &found)
            })
            .await
    }

    /// Forgets what the store turned out not to have, and doubts the rest.
    async fn disagree(&self, absent: Vec<ObjectName>) -> Result<()> {
        let correct = move |connection: &Connection| {
            table::forget(connection, &absent)?;
            table::doubt(connection)
        };
        self.db.write(Sync::Now, correct).await
    }
}

/// Puts the answers for those that were unknown into the places that are `None`.
fn fill_in(stats: &mut [Option<Stat>], unknown: &HashSet<usize>, answers: Vec<Option<Stat>>) {
    let places = stats
        .iter_mut()
        .enumerate()
        .filter(|(i, _)| unknown.contains(i));
    for ((_, place), answer) in places.zip(answers) {
        *place = answer;
    }
}

/// Returns the places of those that are not known, and their names.
fn unknown(names: &[ObjectName], stats: &[Option<Stat>]) -> (HashSet<usize>, Vec<ObjectName>) {
    let unknown = stats.iter().enumerate().filter(|(_, stat)| stat.is_none());
    unknown.map(|(i, _)| (i, names[i])).unzip()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for IndexedStore {
    fn encoding(&self) -> Encoding {
        self.store.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let mut stats = self.known(names).await?;
        let (places, absent) = unknown(names, &stats);
        if !absent.is_empty() && self.asks().await? {
            fill_in(&mut stats, &places, self.ask(&absent).await?);
        }
        Ok(stats)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let body = self.store.fetch(name).await?;
        if body.is_none() && self.known(&[*name]).await? != [None] {
            self.disagree(vec![*name]).await?;
        }
        Ok(body)
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        self.store.local()
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.store.resumable()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for IndexedStore {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        let batch = self.store.begin(options).await?;
        // The batch holds the shared lock: nobody deletes meanwhile.
        if self.standing().await? == Standing::Doubted {
            self.rebuild_locked().await?;
        }
        Ok(Box::new(IndexedBatch::new(self.clone(), batch)))
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        // Who lists wants to know what is there, not what is thought to be.
        self.store.list(object_type)
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        if lock.kind() != LockKind::Exclusive {
            return Err(Error::invalid(
                "objects are deleted under the exclusive lock alone",
            ));
        }
        let forgotten = names.to_vec();
        self.db
            .write(Sync::Now, move |c| table::forget(c, &forgotten))
            .await?;
        self.store.delete(lock, names).await
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        self.store.lock(kind).await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        self.store.scratch()
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        self.store.condemned()
    }
}
