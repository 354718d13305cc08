//! Where objects live: the contract with those who implement a place.
//!
//! These traits have no default methods: a wrapper that forgets to forward one does not compile.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{Body, Condemned, Incoming, LocalObjects, ResumableSource, Scratch};
use crate::error::Result;
use crate::format::{ObjectName, ObjectType};

/// A place that objects can be read from: a store, or a remote.
///
/// Bytes that a source hands out are **not verified**. Whoever receives them wraps them in an
/// [`Incoming`], which is the only thing a store accepts and which checks them.
#[async_trait]
pub trait ObjectSource: Debug + Send + Sync + 'static {
    /// Returns how content lies here: whoever has a choice asks for and sends this encoding.
    fn encoding(&self) -> Encoding;

    /// Looks `names` up in one go, answering in the same order.
    ///
    /// A store answers from few listings or one query, never with one request per name; a remote
    /// that cannot list answers [`Unsupported`](crate::error::ErrorKind::Unsupported).
    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>>;

    /// Opens one object. `None` when it is not here.
    ///
    /// The body may be lazy: an error can also come when it is read.
    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>>;

    /// Returns the view of this source as plain files on this machine, if it is one.
    fn local(&self) -> Option<Arc<dyn LocalObjects>>;

    /// Returns the view of this source that can continue an interrupted transfer, if it can.
    fn resumable(&self) -> Option<Arc<dyn ResumableSource>>;
}

/// A place that objects live in: immutable, named by their hash.
#[async_trait]
pub trait ObjectStore: ObjectSource {
    /// Begins to add objects. Holds the shared lock until the batch is committed or dropped.
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>>;

    /// Lists the objects of one kind, in no particular order.
    ///
    /// An entry may be gone by the time it is looked at.
    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>>;

    /// Deletes objects, and says of each how many bytes that freed; `None` if it was not there.
    ///
    /// The caller holds `lock`, taken [exclusively](LockKind::Exclusive) from this store.
    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>>;

    /// Takes the lock that keeps writers and prunes apart, waiting as long as the store is set to.
    ///
    /// Many may hold it shared; whoever deletes holds it exclusively. It is released when the
    /// guard, and whatever clones of it running jobs hold, are dropped.
    async fn lock(&self, kind: LockKind) -> Result<LockGuard>;

    /// Returns the place for half-done downloads, if there is one.
    fn scratch(&self) -> Option<Arc<dyn Scratch>>;

    /// Returns where it is noted what is not needed any more, if readers hold no lock here.
    fn condemned(&self) -> Option<Arc<dyn Condemned>>;
}

/// Objects on their way into a store.
///
/// As a source it shows the store together with what this batch holds so far, which includes
/// verified objects that an interrupted batch left behind. Others see nothing of it before
/// [`commit`](Self::commit), or see each object only after its children.
///
/// Dropped without commit: nothing, or whole objects, are left.
#[async_trait]
pub trait Batch: ObjectSource {
    /// Adds objects, in any order, each answered on its own in the same order.
    ///
    /// Verifies each while storing it: one that does not hash to its name leaves nothing. Several
    /// calls may run at once; a call with many small objects costs one hop to the blocking pool.
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>>;

    /// Makes all of it durable, then visible: content, then dirmeta and dirtree, then commits.
    ///
    /// When it returns, the objects survive a power cut. After an error the batch is abandoned:
    /// a failed sync is never tried again and believed.
    async fn commit(self: Box<Self>) -> Result<BatchStats>;
}

/// In which bytes the content of a file travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Header and content as they are hashed.
    Canonical,
    /// The framing of archives: a header with the size, then the deflated content.
    Filez,
}

/// What a place knows of an object without reading it. Existence is not trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// In which encoding the object lies here.
    pub encoding: Encoding,
    /// How many bytes it takes here.
    pub stored_bytes: u64,
    /// Whether it may be taken for whole without being read.
    pub trust: Trust,
}

/// Whether an object that is there may be taken for whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It was verified before it got its name, and its length is possible.
    Whole,
    /// Its writer may have left it torn: read it once before relying on it.
    Unread,
}

/// One entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The object.
    pub name: ObjectName,
    /// How many bytes it takes.
    pub stored_bytes: u64,
    /// When it was put there, where the place knows (object files have their time zeroed).
    pub modified: Option<SystemTime>,
}

/// How a batch is to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchOptions {
    /// How durability is bought.
    pub durability: Durability,
    /// Whether verified leftovers of interrupted batches are taken up.
    pub leftovers: Leftovers,
}

/// How durability is bought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// As the store is configured.
    #[default]
    Configured,
    /// Each object is synced on its own, so that no other writer of the disk is stalled.
    PerObject,
    /// Nothing is synced: fast, for throw-away repositories; a power cut may damage it.
    None,
}

/// What becomes of objects that an interrupted batch left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// Taken up, so that what was transferred is not transferred again.
    #[default]
    Adopt,
    /// Left alone.
    Ignore,
}

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Its name: what it was announced as, or what its bytes hash to.
    pub name: ObjectName,
    /// Whether it was new.
    pub stored: Stored,
    /// The length of the content of a file, or of the bytes of anything else.
    pub unpacked_bytes: u64,
    /// How many bytes it takes in the store.
    pub stored_bytes: u64,
}

/// Whether an object was new to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was written.
    New,
    /// It was there already.
    Present,
}

/// What a batch did, in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// Metadata objects handed in.
    pub metadata_total: u64,
    /// Metadata objects that were new.
    pub metadata_written: u64,
    /// Files handed in.
    pub content_total: u64,
    /// Files that were new.
    pub content_written: u64,
    /// Content bytes of the files that were new, before any compression.
    pub content_bytes_written: u64,
}

/// Which lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// For writers: any number at once.
    Shared,
    /// For whoever deletes: alone.
    Exclusive,
}

/// A held lock. Clones keep it held; the last one to go releases it.
#[derive(Clone)]
pub struct LockGuard {
    kind: LockKind,
    _held: Arc<dyn Any + Send + Sync>,
}

impl LockGuard {
    /// Wraps whatever releases the lock when dropped.
    pub fn new(kind: LockKind, held: impl Any + Send + Sync) -> Self {
        Self {
            kind,
            _held: Arc::new(held),
        }
    }

    /// Returns which lock is held.
    pub fn kind(&self) -> LockKind {
        self.kind
    }
}

impl Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockGuard")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
