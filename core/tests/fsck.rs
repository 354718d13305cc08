//! What a check changes is still so when it changes it.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::ops::commit::{CommitOptions, TreeInput, commit};
use treeferry_core::ops::fsck::{FsckOptions, FsckRepair, fsck};
use treeferry_core::repo::{Repo, TreeEntry};
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, Listed, LocalObjects, LockGuard, LockKind,
    MemoryOptions, MemoryStore, ObjectSource, ObjectStore, Partial, RepoState, ResumableSource,
    Scratch, Stat,
};
use treeferry_core::{ErrorKind, Result};

/// A commit of one file, which is deleted then. Returns both.
async fn without_a_file(store: &Arc<MemoryStore>) -> (Checksum, ObjectName) {
    let repo = Repo::new(Arc::clone(store));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "content").unwrap();
    let mut options = CommitOptions::default();
    options.trees = vec![TreeInput::Dir(dir.path().to_owned())];
    let report = commit(&repo, options).await.unwrap();
    let found = repo.find_path(report.root, "/file").await.unwrap();
    let Some(TreeEntry::File(file)) = found else {
        panic!("{found:?}");
    };
    let name = ObjectName::file(file);
    let lock = store.lock(LockKind::Exclusive).await.unwrap();
    assert!(store.delete(&lock, &[name]).await.unwrap()[0].is_some());
    (report.commit, name)
}

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(MemoryOptions {
        lock_wait: Duration::from_millis(5),
        ..MemoryOptions::default()
    }))
}

fn marking() -> FsckOptions {
    let mut options = FsckOptions::default();
    options.repair = FsckRepair::MarkPartial;
    options
}

#[tokio::test]
async fn no_commit_is_marked_while_a_writer_is_at_work() {
    let store = store();
    let (commit, _) = without_a_file(&store).await;
    let repo = Repo::new(Arc::clone(&store));
    let writer = store.begin(BatchOptions::default()).await.unwrap();
    let error = fsck(&repo, &marking()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert_eq!(store.read_partial(&commit).await.unwrap(), None);
    drop(writer);
    let report = fsck(&repo, &marking()).await.unwrap();
    assert_eq!(report.marked_partial, [commit]);
    // There is nothing more to mark: nobody has to go.
    let _writer = store.begin(BatchOptions::default()).await.unwrap();
    let report = fsck(&repo, &marking()).await.unwrap();
    assert!(report.marked_partial.is_empty());
}

/// A store to which a writer brings back what was deleted, just before it is locked for repairs.
#[derive(Debug)]
struct BroughtBack {
    store: Arc<MemoryStore>,
    dir: tempfile::TempDir,
}

#[async_trait]
impl ObjectSource for BroughtBack {
    fn encoding(&self) -> Encoding {
        self.store.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.store.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
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
impl ObjectStore for BroughtBack {
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
        if kind == LockKind::Exclusive {
            // The same content as the one file's, so the same object.
            let mut options = CommitOptions::default();
            options.trees = vec![TreeInput::Dir(self.dir.path().to_owned())];
            commit(&Repo::new(Arc::clone(&self.store)), options).await?;
        }
        self.store.lock(kind).await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        self.store.scratch()
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        None
    }
}

#[tokio::test]
async fn what_a_writer_brought_meanwhile_is_not_missing() {
    let store = store();
    let (commit, file) = without_a_file(&store).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "content").unwrap();
    std::fs::write(dir.path().join("other"), "content").unwrap();
    let objects = Arc::new(BroughtBack {
        store: Arc::clone(&store),
        dir,
    });
    let repo = Repo::from_parts(objects, store.clone(), store.clone());
    for repair in [FsckRepair::MarkPartial, FsckRepair::DeleteDamaged] {
        let lock = store.lock(LockKind::Exclusive).await.unwrap();
        store.delete(&lock, &[file]).await.unwrap();
        drop(lock);
        let mut options = marking();
        options.repair = repair;
        let report = fsck(&repo, &options).await.unwrap();
        assert!(!report.findings.is_empty());
        assert!(report.marked_partial.is_empty());
        assert_eq!(store.read_partial(&commit).await.unwrap(), None::<Partial>);
        assert!(store.stat(&[file]).await.unwrap()[0].is_some());
    }
}
