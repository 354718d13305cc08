//! An index over a store in memory: under the suite, and where the two do not agree.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::stream::BoxStream;
use rusqlite::Connection;
use tempfile::TempDir;
use treeferry_backend_sqlite::{Compared, IndexOptions, IndexedStore, Misses};
use treeferry_conformance::samples::{self, Sample, TreeSample};
use treeferry_conformance::{Fixture, Holds, Profile};
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchOptions, BatchStats, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard,
    LockKind, MemoryOptions, MemoryStore, ObjectSource, ObjectStore, RefAtomicity, ResumableSource,
    Scratch, Stat,
};
use treeferry_core::{ErrorKind, Result};

treeferry_conformance::object_store_suite!(plain, Indexed::new(MemoryOptions::default()));
treeferry_conformance::object_store_suite!(archive, Indexed::new(MemoryOptions::archive()));

struct Indexed {
    options: MemoryOptions,
    store: Arc<Counting>,
    directory: TempDir,
}

impl Indexed {
    fn new(options: MemoryOptions) -> Self {
        let options = MemoryOptions {
            lock_wait: Duration::from_millis(100),
            clock: Some(SystemTime::now),
            ..options
        };
        let store = MemoryStore::new(options.clone());
        let store = Arc::new(Counting {
            store,
            asked: AtomicU64::new(0),
        });
        let directory = tempfile::tempdir().expect("a directory can be made");
        Self {
            options,
            store,
            directory,
        }
    }

    async fn open_with(&self, options: IndexOptions) -> IndexedStore {
        let path = self.directory.path().join("index.sqlite");
        let opened = IndexedStore::open(self.store.clone(), "memory:", path, options);
        opened.await.expect("it opens")
    }

    async fn open_trusting(&self) -> IndexedStore {
        let misses = Misses::AreAbsent;
        self.open_with(IndexOptions {
            misses,
            ..IndexOptions::default()
        })
        .await
    }

    /// Returns how many names the store itself was asked for since this was last called.
    fn asked(&self) -> u64 {
        self.store.asked.swap(0, Ordering::Relaxed)
    }
}

impl Fixture for Indexed {
    type Store = IndexedStore;

    async fn open(&self) -> Result<IndexedStore> {
        Ok(self.open_with(IndexOptions::default()).await)
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new(self.options.clone()))
    }

    fn profile(&self) -> Profile {
        Profile {
            encoding: self.options.encoding,
            ref_atomicity: RefAtomicity::Set,
            ..Profile::default()
        }
    }
}

/// A store that counts what it is asked for.
#[derive(Debug)]
struct Counting {
    store: MemoryStore,
    asked: AtomicU64,
}

#[async_trait]
impl ObjectSource for Counting {
    fn encoding(&self) -> Encoding {
        self.store.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.asked.fetch_add(names.len() as u64, Ordering::Relaxed);
        self.store.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.store.fetch(name).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        self.store.local()
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.store.resumable()
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        self.store.begin(options).await
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        self.store.list(object_type)
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
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

fn tree() -> TreeSample {
    samples::tree(Holds::EVERYTHING, "indexed", 6)
}

async fn put(store: &dyn ObjectStore, samples: &[Sample]) -> Result<BatchStats> {
    let batch = store.begin(BatchOptions::default()).await?;
    for put in batch
        .put(samples.iter().map(Sample::incoming).collect())
        .await
    {
        put?;
    }
    batch.commit().await
}

async fn delete_behind_its_back(place: &Indexed, names: &[ObjectName]) {
    let store = &place.store.store;
    let lock = store
        .lock(LockKind::Exclusive)
        .await
        .expect("nobody holds it");
    let freed = store.delete(&lock, names).await.expect("it deletes");
    assert!(
        freed.iter().all(Option::is_some),
        "it was not there: {freed:?}"
    );
}

fn present(stats: &[Option<Stat>]) -> usize {
    stats.iter().flatten().count()
}

#[tokio::test]
async fn what_is_known_is_answered_without_the_store() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_with(IndexOptions::default()).await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    place.asked();
    let names = tree.names();
    let stats = index.stat(&names).await.expect("it answers");
    assert_eq!(place.asked(), 0, "names asked of the store");
    assert_eq!(
        stats,
        place.store.store.stat(&names).await.expect("it answers")
    );
    assert_eq!(index.missing(&names).await.expect("it answers"), []);
}

#[tokio::test]
async fn what_others_put_is_found_and_then_known() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_with(IndexOptions::default()).await, tree());
    put(&place.store.store, &tree.objects)
        .await
        .expect("it is put");
    let names = tree.names();
    for asked in [names.len() as u64, 0] {
        place.asked();
        let stats = index.stat(&names).await.expect("it answers");
        assert_eq!(present(&stats), names.len());
        assert_eq!(place.asked(), asked, "names asked of the store");
    }
}

#[tokio::test]
async fn an_index_of_a_store_that_is_full_is_built_when_it_is_made() {
    let place = Indexed::new(MemoryOptions::default());
    let tree = tree();
    put(&place.store.store, &tree.objects)
        .await
        .expect("it is put");
    let index = place.open_trusting().await;
    place.asked();
    let stats = index.stat(&tree.names()).await.expect("it answers");
    assert_eq!(present(&stats), tree.objects.len());
    assert_eq!(place.asked(), 0, "names asked of the store");
}

#[tokio::test]
async fn an_index_that_is_trusted_never_asks() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_trusting().await, tree());
    place.asked();
    let batch = index
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let names = tree.names();
    assert_eq!(present(&batch.stat(&names).await.expect("it answers")), 0);
    for put in batch
        .put(tree.objects.iter().map(Sample::incoming).collect())
        .await
    {
        put.expect("it is taken");
    }
    let stats = batch.stat(&names).await.expect("it answers");
    assert_eq!(present(&stats), names.len(), "what the batch itself put");
    batch.commit().await.expect("it is committed");
    assert_eq!(index.stat(&names).await.expect("it answers"), stats);
    assert_eq!(place.asked(), 0, "names asked of the store");
}

#[tokio::test]
async fn a_batch_that_skipped_what_is_gone_is_refused_and_the_next_is_right() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_trusting().await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    let gone = [tree.objects[0].name, tree.commit.name];
    delete_behind_its_back(&place, &gone).await;
    let batch = index
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let names = tree.names();
    let stats = batch.stat(&names).await.expect("it answers");
    assert_eq!(present(&stats), names.len(), "the index cannot know yet");
    let error = batch.commit().await.expect_err("it is refused");
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error}"
    );
    let batch = index
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let stats = batch.stat(&names).await.expect("it answers");
    assert_eq!(present(&stats), names.len() - 2, "after it was rebuilt");
    let again = tree
        .objects
        .iter()
        .filter(|sample| gone.contains(&sample.name));
    for put in batch.put(again.map(Sample::incoming).collect()).await {
        put.expect("it is taken");
    }
    batch.commit().await.expect("it is committed");
    assert_eq!(index.missing(&names).await.expect("it answers"), []);
}

#[tokio::test]
async fn an_index_that_is_wrong_is_rebuilt_when_it_is_opened() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_trusting().await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    assert_eq!(
        index.compare(1).await.expect("it compares"),
        Compared::Agreed
    );
    drop(index);
    delete_behind_its_back(&place, &[tree.commit.name]).await;
    let index = place.open_trusting().await;
    let missing = index.missing(&tree.names()).await.expect("it answers");
    assert_eq!(missing, [tree.commit.name]);
    assert_eq!(
        index.compare(1).await.expect("it compares"),
        Compared::Agreed
    );
}

#[tokio::test]
async fn a_wrong_length_is_a_disagreement() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_with(IndexOptions::default()).await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    let database = Connection::open(place.directory.path().join("index.sqlite"));
    let longer = "UPDATE known SET stored_bytes = stored_bytes + 1 WHERE kind = 4";
    database
        .expect("it opens")
        .execute(longer, [])
        .expect("it is changed");
    assert_eq!(
        index.compare(0).await.expect("it compares"),
        Compared::Rebuilt
    );
    let names = tree.names();
    let (ours, theirs) = (
        index.stat(&names).await,
        place.store.store.stat(&names).await,
    );
    assert_eq!(ours.expect("it answers"), theirs.expect("it answers"));
}

#[tokio::test]
async fn a_fetch_that_finds_nothing_puts_the_index_in_doubt() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_trusting().await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    let gone = [tree.objects[0].name, tree.objects[1].name];
    delete_behind_its_back(&place, &gone).await;
    assert!(index.fetch(&gone[0]).await.expect("it answers").is_none());
    // In doubt, the store is asked also for what the index has.
    assert_eq!(index.missing(&gone).await.expect("it answers"), gone);
    index.rebuild().await.expect("it is rebuilt");
    place.asked();
    assert_eq!(index.missing(&gone).await.expect("it answers"), gone);
    assert_eq!(
        place.asked(),
        0,
        "names asked of the store after the rebuild"
    );
}

#[tokio::test]
async fn an_index_of_another_store_is_emptied() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_trusting().await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    drop(index);
    let other: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
    let path = place.directory.path().join("index.sqlite");
    let options = IndexOptions {
        misses: Misses::AreAbsent,
        ..IndexOptions::default()
    };
    let index = IndexedStore::open(other, "other:", path, options)
        .await
        .expect("it opens");
    let names = tree.names();
    assert_eq!(index.missing(&names).await.expect("it answers"), names);
}

#[tokio::test]
async fn what_a_commit_reaches_is_counted_without_the_store() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_with(IndexOptions::default()).await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    place.asked();
    let reachable = index
        .reachable(&tree.commit.name.checksum)
        .await
        .expect("it answers");
    assert_eq!(place.asked(), 0, "names asked of the store");
    assert_eq!(reachable.absent, []);
    assert_eq!(reachable.objects, tree.objects.len() as u64);
    let stats = place
        .store
        .store
        .stat(&tree.names())
        .await
        .expect("it answers");
    let bytes: u64 = stats.iter().flatten().map(|stat| stat.stored_bytes).sum();
    assert_eq!(reachable.stored_bytes, bytes);
}

#[tokio::test]
async fn what_a_commit_of_others_reaches_is_read_once() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_with(IndexOptions::default()).await, tree());
    put(&place.store.store, &tree.objects)
        .await
        .expect("it is put");
    let first = index
        .reachable(&tree.commit.name.checksum)
        .await
        .expect("it answers");
    assert_eq!(first.objects, tree.objects.len() as u64);
    assert!(place.asked() > 0, "it cannot know without asking");
    let second = index
        .reachable(&tree.commit.name.checksum)
        .await
        .expect("it answers");
    assert_eq!(second, first);
    assert_eq!(place.asked(), 0, "names asked of the store");
}

#[tokio::test]
async fn what_a_commit_reaches_and_is_gone_is_named() {
    let place = Indexed::new(MemoryOptions::default());
    let (index, tree) = (place.open_with(IndexOptions::default()).await, tree());
    put(&index, &tree.objects).await.expect("it is put");
    let file = tree
        .objects
        .iter()
        .find(|s| s.name.object_type == ObjectType::File);
    let gone = file.expect("a tree has files").name;
    let lock = index
        .lock(LockKind::Exclusive)
        .await
        .expect("nobody holds it");
    index.delete(&lock, &[gone]).await.expect("it deletes");
    drop(lock);
    let reachable = index
        .reachable(&tree.commit.name.checksum)
        .await
        .expect("it answers");
    assert_eq!(reachable.absent, [gone]);
    assert_eq!(reachable.objects, tree.objects.len() as u64 - 1);
}
