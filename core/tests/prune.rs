//! A prune that is interrupted anywhere leaves no commit that looks whole and is not; walks are
//! bounded by the number of objects.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use support::{Pile, header};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{Branch, Checksum, ObjectName, ObjectType};
use treeferry_core::ops::diff::diff_stats;
use treeferry_core::ops::fsck::{FsckExtent, FsckOptions, fsck};
use treeferry_core::ops::prune::{PruneOptions, PruneRoots, prune};
use treeferry_core::ops::replicate::{ReplicateOptions, replicate};
use treeferry_core::ops::summary::{SummaryOptions, commit_repo_metadata, update_summary};
use treeferry_core::repo::{Depth, History, ReachOptions, ReachRoot, Repo};
use treeferry_core::spill::{Spill, SpillPlace};
use treeferry_core::store::{
    Batch, BatchOptions, Body, Condemned, Encoding, ExpectedRef, Listed, LocalObjects, LockGuard,
    LockKind, MemoryStore, ObjectSource, ObjectStore, Partial, RefName, RefUpdate, RefValue,
    ResumableSource, Scratch, Stat,
};

/// A store in which deleting stops for good after some objects, as if the power went.
#[derive(Debug)]
struct Interrupted {
    inner: MemoryStore,
    deletes_left: AtomicUsize,
    order: Order,
}

/// In which order deletions reach the disk.
#[derive(Debug, Clone, Copy)]
enum Order {
    AsAsked,
    /// As a filesystem may do it that was not told to sync in between.
    Reversed,
}

#[async_trait]
impl ObjectSource for Interrupted {
    fn encoding(&self) -> Encoding {
        self.inner.encoding()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.inner.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        self.inner.fetch(name).await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        self.inner.local()
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        self.inner.resumable()
    }
}

#[async_trait]
impl ObjectStore for Interrupted {
    async fn begin(&self, options: BatchOptions) -> Result<Box<dyn Batch>> {
        self.inner.begin(options).await
    }

    fn list(&self, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
        self.inner.list(object_type)
    }

    async fn delete(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        let mut names = names.to_vec();
        if matches!(self.order, Order::Reversed) {
            names.reverse();
        }
        let mut freed = Vec::new();
        for name in names {
            let one_less = |left: usize| left.checked_sub(1);
            let taken =
                self.deletes_left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
            if taken.is_err() {
                return Err(Error::new(ErrorKind::Indeterminate, "the power went"));
            }
            freed.extend(self.inner.delete(lock, &[name]).await?);
        }
        Ok(freed)
    }

    async fn lock(&self, kind: LockKind) -> Result<LockGuard> {
        self.inner.lock(kind).await
    }

    fn scratch(&self) -> Option<Arc<dyn Scratch>> {
        self.inner.scratch()
    }

    fn condemned(&self) -> Option<Arc<dyn Condemned>> {
        self.inner.condemned()
    }
}

/// Fills a store with three commits in a row, and a ref to the last.
async fn filled() -> (MemoryStore, Arc<Pile>, Vec<Checksum>) {
    let pile = Arc::new(Pile::default());
    let mut commits: Vec<Checksum> = Vec::new();
    for salt in ["one", "two", "three"] {
        commits.push(pile.small_commit(salt, commits.last().copied()));
    }
    let store = MemoryStore::default();
    let repo = Repo::new(Arc::new(store.clone()));
    let sources: [Arc<dyn ObjectSource>; 1] = [pile.clone()];
    let options = ReplicateOptions::default();
    replicate(&sources, &repo, &commits, &options)
        .await
        .unwrap();
    let update = RefUpdate {
        name: RefName::Local(Branch::new("main").unwrap()),
        expected: ExpectedRef::Absent,
        new: commits.last().copied().map(RefValue::Commit),
    };
    repo.refs().update_refs(&[update]).await.unwrap();
    (store, pile, commits)
}

fn last_only() -> PruneOptions {
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    options.depth = Some(Depth::Parents(0));
    options
}

#[tokio::test]
async fn marks_of_partial_commits_stay_as_long_as_the_commits() {
    let (store, pile, commits) = filled().await;
    let repo = Repo::new(Arc::new(store));
    let never_there = Checksum::of(b"a commit that nobody has");
    // What is marked for another reason, and stays, keeps its mark.
    let marks = [
        (commits[0], Partial::Fetching),
        (commits[2], Partial::Damaged),
        (never_there, Partial::Fetching),
    ];
    for (commit, partial) in marks {
        let state = repo.state();
        state.write_partial(&commit, Some(partial)).await.unwrap();
    }
    prune(&repo, &PruneOptions::default()).await.unwrap();
    let read = async |commit: &Checksum| repo.state().read_partial(commit).await.unwrap();
    assert_eq!(read(&commits[0]).await, Some(Partial::Fetching));
    assert_eq!(read(&commits[2]).await, Some(Partial::Damaged));
    assert_eq!(read(&never_there).await, None);

    prune(&repo, &last_only()).await.unwrap();
    assert_eq!(repo.state().list_partial().await.unwrap(), [commits[2]]);
    // A commit that comes back whole is not called partial.
    let sources: [Arc<dyn ObjectSource>; 1] = [pile];
    let options = ReplicateOptions::default();
    replicate(&sources, &repo, &commits[..1], &options)
        .await
        .unwrap();
    assert_eq!(read(&commits[0]).await, None);
}

#[tokio::test]
async fn a_prune_interrupted_anywhere_leaves_no_false_commit() {
    interrupt_anywhere(Order::AsAsked).await;
}

#[tokio::test]
async fn a_prune_whose_deletions_reach_the_disk_in_any_order_leaves_no_false_commit() {
    interrupt_anywhere(Order::Reversed).await;
}

async fn interrupt_anywhere(order: Order) {
    let mut interruptions = 0;
    for deletes in 0.. {
        let (store, pile, commits) = filled().await;
        let state = Arc::new(store.clone());
        let objects = Arc::new(Interrupted {
            inner: store.clone(),
            deletes_left: AtomicUsize::new(deletes),
            order,
        });
        let broken = Repo::from_parts(objects, state.clone(), state);
        let result = prune(&broken, &last_only()).await;

        // Whatever is left is sound, and a walk over all commits can be made.
        let repo = Repo::new(Arc::new(store));
        let mut check = FsckOptions::default();
        check.extent = FsckExtent::All;
        let report = fsck(&repo, &check).await.unwrap();
        assert!(report.is_sound(), "after {deletes}: {:?}", report.findings);
        prune(&repo, &PruneOptions::default()).await.unwrap();
        // A commit that was being deleted is completed by a pull, which does not take it for whole.
        let sources: [Arc<dyn ObjectSource>; 1] = [pile];
        let options = ReplicateOptions::default();
        replicate(&sources, &repo, &commits, &options)
            .await
            .unwrap();
        let report = fsck(&repo, &check).await.unwrap();
        assert!(report.is_sound(), "after {deletes} and a pull");
        assert_eq!((report.commits, report.commits_partial), (3, 0));
        if result.is_ok() {
            break;
        }
        interruptions += 1;
    }
    assert!(
        interruptions > 8,
        "only {interruptions} objects were deleted"
    );
}

#[tokio::test]
async fn a_tree_of_very_many_paths_is_walked_once_an_object() {
    // 200 directories, each holding the next one twice: 2^200 paths.
    let pile = Arc::new(Pile::default());
    let meta = pile.meta(0o755);
    let mut tree = pile.tree(&[("file", pile.file(&header(0o644), b"x"))], &[]);
    for _ in 0..200 {
        tree = pile.tree(&[], &[("a", tree, meta), ("b", tree, meta)]);
    }
    let commit = pile.commit(tree, meta, None);
    let store = MemoryStore::default();
    let repo = Repo::new(Arc::new(store));
    let sources: [Arc<dyn ObjectSource>; 1] = [pile];
    let options = ReplicateOptions::default();
    replicate(&sources, &repo, &[commit], &options)
        .await
        .unwrap();
    let root = ReachRoot {
        commit,
        history: History::Depth(Depth::All),
    };
    let reachable = repo.reach(&[root], &ReachOptions::default()).await.unwrap();
    assert_eq!(reachable.count(ObjectType::DirTree), 201);
    assert_eq!(reachable.count(ObjectType::File), 1);
    assert!(reachable.problems().is_empty() && reachable.too_deep().is_none());
    assert!(
        fsck(&repo, &FsckOptions::default())
            .await
            .unwrap()
            .is_sound()
    );
}

#[tokio::test]
async fn nothing_is_reachable_from_what_is_not_there() {
    let (store, _, commits) = filled().await;
    let repo = Repo::new(Arc::new(store));
    let root = |commit| ReachRoot {
        commit,
        history: History::Depth(Depth::All),
    };
    let missing = [root(Checksum::of(b"nothing"))];
    let reachable = repo
        .reach(&missing, &ReachOptions::default())
        .await
        .unwrap();
    assert_eq!(reachable.count(ObjectType::Commit), 0);
    assert!(reachable.problems().is_empty());
    assert_eq!(reachable.absent_roots(), [missing[0].commit]);
    // A commit that is taken for absent ends the history before it.
    let options = ReachOptions {
        absent: HashSet::from([commits[1]]),
        ..ReachOptions::default()
    };
    let reachable = repo.reach(&[root(commits[2])], &options).await.unwrap();
    let names = [commits[2], commits[0]].map(ObjectName::commit);
    assert_eq!(reachable.contains(&names).await.unwrap(), [true, false]);
    assert_eq!(reachable.count(ObjectType::Commit), 1);
    assert_eq!(reachable.absent_roots(), []);
}

#[tokio::test]
async fn a_ref_whose_commit_is_not_there_stops_a_prune() {
    let (store, _, commits) = filled().await;
    let repo = Repo::new(Arc::new(store));
    let lost = Checksum::of(b"lost");
    let name = RefName::Local(Branch::new("main").unwrap());
    let update = RefUpdate {
        name,
        expected: ExpectedRef::Any,
        new: Some(RefValue::Commit(lost)),
    };
    repo.refs().update_refs(&[update]).await.unwrap();
    let error = prune(&repo, &last_only()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    let said = format!("{error:?}");
    assert!(
        said.contains("main") && said.contains(&lost.to_string()),
        "{said}"
    );
    let names: Vec<_> = commits.iter().copied().map(ObjectName::commit).collect();
    let found = repo.objects().stat(&names).await.unwrap();
    assert!(found.iter().all(Option::is_some), "something was pruned");
    // What is known not to be whole is as it is.
    let mark = Some(Partial::Damaged);
    repo.state().write_partial(&lost, mark).await.unwrap();
    prune(&repo, &last_only()).await.unwrap();
}

#[tokio::test]
async fn a_prune_waits_for_writers() {
    let (store, ..) = filled().await;
    let repo = Repo::new(Arc::new(store.clone()));
    let writer = store.lock(LockKind::Shared).await.unwrap();
    let task = tokio::spawn(async move { prune(&repo, &last_only()).await });
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    drop(writer);
    assert!(task.await.unwrap().unwrap().objects_pruned > 0);
}

/// Runtimes of many threads need that.
#[test]
fn all_verbs_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let repo = support::memory_repo();
    is_send(prune(&repo, &PruneOptions::default()));
    is_send(fsck(&repo, &FsckOptions::default()));
    is_send(repo.reach(&[], &ReachOptions::default()));
    is_send(update_summary(&repo, &SummaryOptions::default()));
    is_send(commit_repo_metadata(&repo, &SummaryOptions::default()));
}

#[tokio::test]
async fn what_is_kept_and_what_goes_may_be_too_much_for_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, commits) = filled().await;
    let in_memory = Repo::new(Arc::new(store));
    let expected_stats = diff_stats(&in_memory, &commits[0], &commits[2])
        .await
        .unwrap();
    assert!(expected_stats.common_objects > 0);
    let expected = prune(&in_memory, &last_only()).await.unwrap();
    assert!(expected.objects_pruned > 4);
    for max in [1, 2, 5] {
        let mut spill = Spill::to(Some(SpillPlace::new(dir.path())));
        spill.names_in_memory_max = max;
        let (store, _, _) = filled().await;
        let repo = Repo::new(Arc::new(store)).with_spill(spill);
        let stats = diff_stats(&repo, &commits[0], &commits[2]).await.unwrap();
        assert_eq!(stats, expected_stats);
        let mut report = prune(&repo, &last_only()).await.unwrap();
        report.commits_pruned.sort();
        let mut same = expected.clone();
        same.commits_pruned.sort();
        assert_eq!(report, same);
        let found = fsck(&repo, &FsckOptions::default()).await.unwrap();
        assert!(found.is_sound());
        let again = prune(&repo, &last_only()).await.unwrap();
        assert_eq!(again.objects_pruned, 0);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
