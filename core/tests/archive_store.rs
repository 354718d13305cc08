//! The archive over a writable transport: the order of a push, what a cut one leaves, and races.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use support::Pile;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{Branch, Checksum, ContentLayout, DirTree, ObjectName};
use treeferry_core::ops::prune::{PruneOptions, PruneRoots, prune};
use treeferry_core::ops::replicate::{ReplicateOptions, replicate};
use treeferry_core::repo::Repo;
use treeferry_core::store::{
    BatchOptions, ExpectedRef, LockKind, ObjectSource, ObjectStore, RefAnswer, RefName, RefStore,
    RefUpdate, RefValue, RepoState, SignedSummary,
};
use treeferry_core::transport::{
    FetchOptions, Fetched, ListedFile, MemoryTransport, MemoryTransportOptions, Precondition,
    PutAnswer, PutBody, RemotePath, Retry, Transport, WritableTransport,
};

/// Files in memory; writes are noted, and fail from the `n`th on.
#[derive(Debug, Clone)]
struct Watched {
    files: MemoryTransport,
    written: Arc<Mutex<Vec<String>>>,
    listed: Arc<Mutex<Vec<String>>>,
    writes_left: Arc<AtomicUsize>,
}

impl Watched {
    fn new() -> Self {
        Self::with_clock(Some(SystemTime::now))
    }

    fn with_clock(clock: Option<fn() -> SystemTime>) -> Self {
        let options = MemoryTransportOptions {
            clock,
            ..MemoryTransportOptions::default()
        };
        Self {
            files: MemoryTransport::new(options),
            written: Arc::default(),
            listed: Arc::default(),
            writes_left: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// Returns what was written since, but for leases.
    fn take_written(&self) -> Vec<String> {
        let mut written = std::mem::take(&mut *self.written.lock().unwrap());
        written.retain(|path| !path.starts_with(".treeferry/leases/"));
        written
    }

    fn overwrite(&self, path: &str, bytes: &'static [u8]) {
        let body = PutBody::Bytes(Bytes::from_static(bytes));
        let path = RemotePath::new(path).unwrap();
        let put = self.files.put(&path, Precondition::None, body);
        futures::executor::block_on(put).unwrap();
    }
}

#[async_trait]
impl Transport for Watched {
    fn describe(&self, path: &RemotePath) -> String {
        self.files.describe(path)
    }

    fn origin(&self) -> &str {
        self.files.origin()
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        tokio::task::yield_now().await;
        self.files.fetch(path, options).await
    }
}

#[async_trait]
impl WritableTransport for Watched {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        tokio::task::yield_now().await;
        let left = self.writes_left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(Error::new(ErrorKind::Denied, "the line was cut"));
        }
        if left < usize::MAX {
            self.writes_left.store(left - 1, Ordering::SeqCst);
        }
        let answer = self.files.put(path, precondition, body).await?;
        if matches!(answer, PutAnswer::Done { .. }) {
            self.written.lock().unwrap().push(path.to_string());
        }
        Ok(answer)
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        tokio::task::yield_now().await;
        self.files.delete(paths).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        self.listed.lock().unwrap().push(prefix.to_owned());
        self.files.list(prefix)
    }
}

fn options() -> ArchiveOptions {
    static HANDLES: AtomicUsize = AtomicUsize::new(0);
    let mut options = ArchiveOptions::default();
    options.lease.seed = HANDLES.fetch_add(1, Ordering::Relaxed) as u64;
    options.retry = Retry {
        retries: 0,
        ..Retry::default()
    };
    options
}

async fn open(files: &Watched) -> ArchiveStore {
    let transport = Arc::new(files.clone());
    let store = ArchiveStore::create(transport, CreateArchive::default(), options()).await;
    store.unwrap()
}

async fn open_repo(files: &Watched) -> Repo {
    Repo::new(Arc::new(open(files).await))
}

async fn push(pile: &Arc<Pile>, repo: &Repo, commit: Checksum) -> Result<()> {
    let sources: [Arc<dyn ObjectSource>; 1] = [pile.clone()];
    let options = ReplicateOptions::default();
    replicate(&sources, repo, &[commit], &options)
        .await
        .map(|_| ())
}

fn branch(name: &str) -> RefName {
    RefName::Local(Branch::new(name).unwrap())
}

async fn set_ref(
    repo: &Repo,
    name: &RefName,
    expected: ExpectedRef,
    commit: Checksum,
) -> Result<RefAnswer> {
    let update = RefUpdate {
        name: name.clone(),
        expected,
        new: Some(RefValue::Commit(commit)),
    };
    Ok(repo.refs().update_refs(&[update]).await?.remove(0))
}

/// Checks that a commit and all it consists of can be read.
async fn assert_whole(repo: &Repo, commit: Checksum) {
    let objects = repo.objects();
    let commit = repo.load_commit(&commit).await.unwrap();
    let mut todo = vec![commit.tree];
    while let Some(tree) = todo.pop() {
        let tree: DirTree = repo.load_dirtree(&tree).await.unwrap();
        for entry in tree.dirs() {
            todo.push(entry.tree);
            repo.load_dirmeta(&entry.meta).await.unwrap();
        }
        let files: Vec<_> = tree
            .files()
            .iter()
            .map(|e| ObjectName::file(e.file))
            .collect();
        let stats = objects.stat(&files).await.unwrap();
        assert!(stats.iter().all(Option::is_some), "a file is missing");
    }
}

fn signed(number: usize) -> SignedSummary {
    SignedSummary {
        summary: Bytes::from(format!("summary {number}")),
        signature: Some(Bytes::from(format!("signature {number}"))),
    }
}

#[tokio::test(start_paused = true)]
async fn who_meets_a_writer_between_a_signature_and_its_summary_waits_for_it() {
    let files = Watched::new();
    let repo = open_repo(&files).await;
    repo.state().write_summary(Some(signed(1))).await.unwrap();
    // What belongs together and the signature are written, and the summary is not.
    files.writes_left.store(2, Ordering::SeqCst);
    repo.state()
        .write_summary(Some(signed(2)))
        .await
        .unwrap_err();
    files.writes_left.store(usize::MAX, Ordering::SeqCst);
    let reader = open_repo(&files).await;
    let read = tokio::spawn(async move { reader.state().read_summary().await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!read.is_finished());
    repo.state().write_summary(Some(signed(2))).await.unwrap();
    assert_eq!(read.await.unwrap().unwrap(), Some(signed(2)));
    // One that never comes back is not waited for for ever: whoever verifies finds out.
    files.writes_left.store(2, Ordering::SeqCst);
    repo.state()
        .write_summary(Some(signed(3)))
        .await
        .unwrap_err();
    files.writes_left.store(usize::MAX, Ordering::SeqCst);
    let read = repo.state().read_summary().await.unwrap().unwrap();
    assert_eq!(read.summary, signed(2).summary);
    assert_eq!(read.signature, signed(3).signature);
}

#[tokio::test(start_paused = true)]
async fn summaries_of_another_implementation_are_read_without_much_waiting() {
    let files = Watched::new();
    let repo = open_repo(&files).await;
    let put = async |path: &str, text: &'static str| {
        let body = PutBody::Bytes(Bytes::from_static(text.as_bytes()));
        let path = RemotePath::new(path).unwrap();
        files.put(&path, Precondition::None, body).await.unwrap();
    };
    let unsigned = SignedSummary {
        signature: None,
        ..signed(1)
    };
    repo.state().write_summary(Some(unsigned)).await.unwrap();
    put("summary", "theirs").await;
    let begun = tokio::time::Instant::now();
    let read = repo.state().read_summary().await.unwrap().unwrap();
    assert_eq!(read.summary, "theirs");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    repo.state().write_summary(Some(signed(2))).await.unwrap();
    put("summary", "theirs again").await;
    put("summary.sig", "signed by them").await;
    let read = repo.state().read_summary().await.unwrap().unwrap();
    assert_eq!(read.summary, "theirs again");
    assert_eq!(read.signature.unwrap(), "signed by them");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_push_writes_the_config_first_children_before_parents_and_refs_last() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let commit = pile.small_commit("one", None);
    let repo = open_repo(&files).await;
    push(&pile, &repo, commit).await.unwrap();
    let answer = set_ref(&repo, &branch("os"), ExpectedRef::Absent, commit)
        .await
        .unwrap();
    assert_eq!(answer, RefAnswer::Committed);
    let summary = SignedSummary {
        summary: Bytes::from_static(b"summary"),
        signature: None,
    };
    repo.state().write_summary(Some(summary)).await.unwrap();
    let written = files.take_written();
    assert_eq!(written.first().unwrap(), "config");
    assert_eq!(written.last().unwrap(), "summary");
    let at = |end: &str| written.iter().position(|path| path.ends_with(end)).unwrap();
    let last = |end: &str| {
        written
            .iter()
            .rposition(|path| path.ends_with(end))
            .unwrap()
    };
    assert!(last(".filez") < at(".dirtree") && last(".dirmeta") < at(".dirtree"));
    assert!(last(".dirtree") < at(".commit") && at(".commit") < at("refs/heads/os"));
    let trees = written.iter().filter(|path| path.ends_with(".dirtree"));
    let trees: Vec<_> = trees.map(|path| path[8..].replace('/', "")).collect();
    // The innermost directory first, the root last.
    let root = repo.load_commit(&commit).await.unwrap().tree;
    assert_eq!(trees.len(), 3);
    assert_eq!(trees[2], format!("{root}.dirtree"));
    let unique: BTreeSet<_> = written.iter().collect();
    assert_eq!(unique.len(), written.len(), "something was written twice");
}

#[tokio::test]
async fn a_push_cut_anywhere_sends_only_what_is_missing_when_it_is_run_again() {
    let pile = Arc::new(Pile::default());
    let commit = pile.small_commit("one", None);
    for writes in 0..13 {
        let files = Watched::new();
        let repo = open_repo(&files).await;
        files.take_written();
        files.writes_left.store(writes, Ordering::SeqCst);
        let cut = push(&pile, &repo, commit).await.is_err();
        let first = files.take_written();
        files.writes_left.store(usize::MAX, Ordering::SeqCst);
        let repo = open_repo(&files).await;
        push(&pile, &repo, commit).await.unwrap();
        let second = files.take_written();
        let all: BTreeSet<_> = first.iter().chain(&second).collect();
        assert_eq!(
            all.len(),
            first.len() + second.len(),
            "cut after {writes}: sent twice"
        );
        assert_eq!(all.len(), 8, "cut after {writes}");
        assert_eq!(cut, !second.is_empty());
        assert_whole(&repo, commit).await;
    }
}

#[tokio::test]
async fn what_is_there_is_found_by_few_listings() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let repo = open_repo(&files).await;
    let meta = pile.meta(0o755);
    let named: Vec<_> = (0..2000)
        .map(|i| {
            (
                format!("f{i}"),
                pile.file(&support::header(0o644), format!("{i}").as_bytes()),
            )
        })
        .collect();
    let entries: Vec<_> = named
        .iter()
        .map(|(name, file)| (name.as_str(), *file))
        .collect();
    let commit = pile.commit(pile.tree(&entries, &[]), meta, None);
    push(&pile, &repo, commit).await.unwrap();
    files.listed.lock().unwrap().clear();
    let more = pile.file(&support::header(0o644), b"more");
    let entries: Vec<_> = entries.into_iter().chain([("more", more)]).collect();
    let next = pile.commit(pile.tree(&entries, &[]), meta, Some(commit));
    files.take_written();
    push(&pile, &repo, next).await.unwrap();
    assert_eq!(files.take_written().len(), 3);
    let listed = files.listed.lock().unwrap();
    let objects = listed
        .iter()
        .filter(|prefix| prefix.starts_with("objects/"));
    assert!(objects.count() <= 8, "{listed:?}");
}

#[tokio::test]
async fn what_a_cut_upload_left_is_replaced() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let commit = pile.small_commit("one", None);
    let repo = open_repo(&files).await;
    push(&pile, &repo, commit).await.unwrap();
    let written = files.take_written();
    // One server keeps an empty object of an upload that was cut; metadata may be cut anywhere.
    for (end, bytes) in [
        (".filez", &b""[..]),
        (".dirmeta", b""),
        (".dirtree", b"half"),
    ] {
        let path = written.iter().find(|path| path.ends_with(end)).unwrap();
        files.overwrite(path, bytes);
        // The commit is not: it is what makes a walk stop.
        let path = written
            .iter()
            .find(|path| path.ends_with(".commit"))
            .unwrap();
        let path = RemotePath::new(path).unwrap();
        files.files.delete(&[path]).await.unwrap();
        let repo = open_repo(&files).await;
        push(&pile, &repo, commit).await.unwrap();
        assert_eq!(files.take_written().len(), 2, "{end}, and the commit");
        assert_whole(&repo, commit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_move_a_ref_one_is_told_what_it_holds() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let name = branch("os");
    let repos = [open_repo(&files).await, open_repo(&files).await];
    let mut before = pile.small_commit("start", None);
    push(&pile, &repos[0], before).await.unwrap();
    set_ref(&repos[0], &name, ExpectedRef::Absent, before)
        .await
        .unwrap();
    for round in 0..200 {
        let pushes = repos.iter().enumerate().map(|(who, repo)| {
            let commit = pile.small_commit(&format!("{round} {who}"), Some(before));
            let (pile, repo, name) = (pile.clone(), repo.clone(), name.clone());
            tokio::spawn(async move {
                push(&pile, &repo, commit).await.unwrap();
                let expected = ExpectedRef::Value(RefValue::Commit(before));
                (
                    commit,
                    set_ref(&repo, &name, expected, commit).await.unwrap(),
                )
            })
        });
        let mut answers = Vec::new();
        for push in pushes.collect::<Vec<_>>() {
            answers.push(push.await.unwrap());
        }
        let won: Vec<_> = answers
            .iter()
            .filter(|(_, a)| *a == RefAnswer::Committed)
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:?}");
        let current = Some(RefValue::Commit(won[0].0));
        let lost = answers
            .iter()
            .find(|(_, a)| *a != RefAnswer::Committed)
            .unwrap();
        assert_eq!(
            lost.1,
            RefAnswer::Conflict {
                current: current.clone()
            }
        );
        assert_eq!(repos[1].refs().read_ref(&name).await.unwrap(), current);
        before = won[0].0;
        assert_whole(&repos[0], before).await;
    }
}

fn prune_options() -> PruneOptions {
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    options.grace = Some(Duration::ZERO);
    options
}

/// Counts the notes of what is to be deleted later.
fn notes(files: &Watched) -> usize {
    let listed = files.files.list(".treeferry/condemned/");
    let listed: Vec<_> = futures::executor::block_on_stream(listed).collect();
    listed.len()
}

async fn pruned(repo: &Repo, grace: Duration) -> (u64, u64) {
    let mut options = prune_options();
    options.grace = Some(grace);
    let report = prune(repo, &options).await.unwrap();
    (report.objects_pruned, report.objects_waiting)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MOMENT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn what_is_not_needed_any_more_is_kept_for_those_who_read_it() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let repo = open_repo(&files).await;
    let [old, new] = ["old", "new"].map(|text| pile.small_commit(text, None));
    for commit in [old, new] {
        push(&pile, &repo, commit).await.unwrap();
        let moved = set_ref(&repo, &branch("os"), ExpectedRef::Any, commit).await;
        moved.unwrap();
    }
    // As a bucket is set up.
    let mut options = prune_options();
    options.grace = None;
    let report = prune(&repo, &options).await.unwrap();
    assert_eq!((report.objects_pruned, report.freed_bytes), (0, 0));
    assert!(report.objects_waiting > 2 && report.waiting_bytes > 0);
    let waiting = report.objects_waiting;
    assert_whole(&repo, old).await;
    // It is noted once.
    assert_eq!(pruned(&repo, DAY).await, (0, waiting));
    assert_eq!(notes(&files), 1);
    assert_whole(&repo, old).await;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(pruned(&repo, MOMENT).await, (waiting, 0));
    assert_eq!(notes(&files), 0);
    assert_whole(&repo, new).await;
    let commit = ObjectName::commit(old);
    assert_eq!(repo.objects().stat(&[commit]).await.unwrap(), [None]);
}

#[tokio::test]
async fn what_comes_to_be_needed_again_waits_anew_when_it_is_not() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let repo = open_repo(&files).await;
    let commit = pile.small_commit("one", None);
    for again in ["pushed again", "only named again"] {
        push(&pile, &repo, commit).await.unwrap();
        let (pruned_now, waiting) = pruned(&repo, DAY).await;
        assert_eq!((pruned_now, notes(&files)), (0, 1), "{again}");
        assert!(waiting > 2, "{again}");
        if again == "pushed again" {
            push(&pile, &repo, commit).await.unwrap();
        }
        let named = set_ref(&repo, &branch("os"), ExpectedRef::Absent, commit).await;
        named.unwrap();
        assert_eq!(notes(&files), 0, "{again}");
        let gone = RefUpdate {
            name: branch("os"),
            expected: ExpectedRef::Any,
            new: None,
        };
        repo.refs().update_refs(&[gone]).await.unwrap();
        // Long after it was first noted, and at once after it was last needed.
        tokio::time::sleep(MOMENT).await;
        assert_eq!(pruned(&repo, MOMENT).await, (0, waiting), "{again}");
        assert_whole(&repo, commit).await;
        assert_eq!(pruned(&repo, Duration::ZERO).await, (waiting, 0), "{again}");
    }
}

#[tokio::test]
async fn a_commit_that_is_shown_anew_is_not_of_parts_that_are_about_to_go() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let repo = open_repo(&files).await;
    let commit = pile.small_commit("one", None);
    push(&pile, &repo, commit).await.unwrap();
    // Of a push that was cut before its commit was sent, the rest is there.
    let name = ObjectName::commit(commit).loose_path(ContentLayout::Archive);
    let path = RemotePath::new(&format!("objects/{name}")).unwrap();
    files.files.delete(&[path]).await.unwrap();
    let (_, waiting) = pruned(&repo, DAY).await;
    assert!(waiting > 1 && notes(&files) == 1);
    push(&pile, &repo, commit).await.unwrap();
    assert_eq!(notes(&files), 0);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(pruned(&repo, MOMENT).await, (0, waiting + 1));
    assert_whole(&repo, commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_beside_a_push_takes_nothing_that_it_relies_on() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let (pusher, pruner) = (open_repo(&files).await, open_repo(&files).await);
    let name = branch("os");
    let mut pruned = 0;
    for round in 0..200 {
        // What is about to be pushed is there already, and no ref names it: a prune takes it.
        let commit = pile.small_commit(&format!("{round}"), None);
        push(&pile, &pusher, commit).await.unwrap();
        let pushing = {
            let (pile, pusher, name) = (pile.clone(), pusher.clone(), name.clone());
            tokio::spawn(async move {
                let _held = pusher.objects().lock(LockKind::Shared).await.unwrap();
                push(&pile, &pusher, commit).await.unwrap();
                set_ref(&pusher, &name, ExpectedRef::Any, commit)
                    .await
                    .unwrap()
            })
        };
        let pruning = {
            let pruner = pruner.clone();
            tokio::spawn(async move { prune(&pruner, &prune_options()).await.unwrap() })
        };
        let (answer, report) = (pushing.await.unwrap(), pruning.await.unwrap());
        assert_eq!(answer, RefAnswer::Committed);
        pruned += report.objects_pruned;
        assert_whole(&pusher, commit).await;
    }
    assert!(pruned > 0, "no prune had anything to do");
}

#[tokio::test]
async fn who_lost_its_lease_looks_again_before_a_ref_moves() {
    let files = Watched::new();
    let pile = Arc::new(Pile::default());
    let commit = pile.small_commit("one", None);
    let store = open(&files).await;
    let repo = Repo::new(Arc::new(store.clone()));
    push(&pile, &repo, commit).await.unwrap();
    let held = repo.objects().lock(LockKind::Shared).await.unwrap();
    // It relies on what is there.
    push(&pile, &repo, commit).await.unwrap();
    let leases = store.leases().await.unwrap();
    assert_eq!(leases.len(), 1);
    store.break_lease(&leases[0]).await.unwrap();
    prune(&open_repo(&files).await, &prune_options())
        .await
        .unwrap();
    let moved = set_ref(&repo, &branch("os"), ExpectedRef::Absent, commit).await;
    // What was walked is only that the commit is whole, and it is gone.
    let error = moved.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error}"
    );
    assert_eq!(repo.refs().read_ref(&branch("os")).await.unwrap(), None);
    drop(held);
    push(&pile, &repo, commit).await.unwrap();
    set_ref(&repo, &branch("os"), ExpectedRef::Absent, commit)
        .await
        .unwrap();
    assert_whole(&repo, commit).await;
    store.settle().await;
    assert_eq!(store.leases().await.unwrap(), []);
}

#[tokio::test]
async fn a_lease_that_was_left_behind_expires() {
    let files = Watched::new();
    let mut short = options();
    short.lease.ttl = Duration::from_millis(150);
    short.lease.holder = "a machine that lost its power".into();
    let transport = Arc::new(files.clone());
    let store = ArchiveStore::create(transport, CreateArchive::default(), short)
        .await
        .unwrap();
    let guard = store.lock(LockKind::Shared).await.unwrap();
    let shown = store.leases().await.unwrap();
    assert_eq!(shown[0].holder, "a machine that lost its power");
    // From now on nothing is written there any more, and nothing deleted.
    let path = shown[0].path.clone();
    drop(guard);
    store.settle().await;
    let begun = SystemTime::now();
    files.overwrite(path.as_str(), b"left behind");
    let mut patient = options();
    patient.lease.wait = Duration::from_secs(5);
    let other = ArchiveStore::open(Arc::new(files.clone()), patient)
        .await
        .unwrap();
    let _lock = other.lock(LockKind::Exclusive).await.unwrap();
    assert!(begun.elapsed().unwrap() >= Duration::from_millis(100));
}

/// Opens a handle whose leases hold for three seconds, and that waits for others for ten.
async fn open_patient(files: &Watched) -> ArchiveStore {
    let mut patient = options();
    patient.lease.ttl = Duration::from_secs(3);
    patient.lease.wait = Duration::from_secs(10);
    let transport = Arc::new(files.clone());
    let store = ArchiveStore::create(transport, CreateArchive::default(), patient).await;
    store.unwrap()
}

#[tokio::test(start_paused = true)]
async fn where_no_times_are_told_a_lease_expires_that_nobody_renews() {
    let files = Watched::with_clock(None);
    let store = open_patient(&files).await;
    files.overwrite(
        ".treeferry/leases/00000000000000aa-0.write.200",
        b"left behind\n7\n",
    );
    assert_eq!(store.leases().await.unwrap().len(), 1);
    let begun = tokio::time::Instant::now();
    let lock = store.lock(LockKind::Exclusive).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    // Its own is what is left.
    assert_eq!(store.leases().await.unwrap().len(), 1);
    drop(lock);
    store.settle().await;
    assert_eq!(store.leases().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn where_no_times_are_told_a_lease_that_is_renewed_holds() {
    let files = Watched::with_clock(None);
    let (holder, other) = (open_patient(&files).await, open_patient(&files).await);
    let held = holder.lock(LockKind::Shared).await.unwrap();
    let refused = other.lock(LockKind::Exclusive).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked, "{refused}");
    // Beside each other writers need not look.
    let beside = other.lock(LockKind::Shared).await.unwrap();
    drop((held, beside));
    holder.settle().await;
    other.settle().await;
    let _lock = other.lock(LockKind::Exclusive).await.unwrap();
}

#[tokio::test]
async fn a_batch_needs_no_lease_of_its_own_beside_a_held_one() {
    let files = Watched::new();
    let store = open(&files).await;
    let _held = store.lock(LockKind::Shared).await.unwrap();
    let batch = store.begin(BatchOptions::default()).await.unwrap();
    assert_eq!(store.leases().await.unwrap().len(), 1);
    batch.commit().await.unwrap();
    assert_eq!(store.leases().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_alias_shows_the_commit_that_it_means_to_who_cannot_follow() {
    let files = Watched::new();
    let store = open(&files).await;
    let (os, stable) = (branch("os/41"), branch("stable"));
    let update = |name: &RefName, new| RefUpdate {
        name: name.clone(),
        expected: ExpectedRef::Any,
        new: Some(new),
    };
    let shown = || {
        let bytes = files
            .files
            .bytes(&RemotePath::new("refs/heads/stable").unwrap())
            .unwrap();
        String::from_utf8(bytes.trim_ascii_end().to_vec()).unwrap()
    };
    let commits = [Checksum::of(b"one"), Checksum::of(b"two")];
    for commit in commits {
        let alias = update(&stable, RefValue::Alias(os.clone()));
        store
            .update_refs(&[update(&os, RefValue::Commit(commit)), alias])
            .await
            .unwrap();
        assert_eq!(shown(), commit.to_string());
    }
    store
        .update_refs(&[update(&os, RefValue::Commit(commits[0]))])
        .await
        .unwrap();
    assert_eq!(shown(), commits[0].to_string());
    assert_eq!(
        store.read_ref(&stable).await.unwrap(),
        Some(RefValue::Alias(os))
    );
    let read = store.remote().read_ref(&stable).await.unwrap();
    assert_eq!(read, Some(commits[0]));
    let _: &dyn RepoState = &store;
}
