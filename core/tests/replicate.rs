//! The engine between places in memory: what it moves, what it refuses, what it leaves.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use support::{Pile, header, memory_repo};
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::ops::fsck::{FsckOptions, fsck};
use treeferry_core::ops::replicate::{
    Depth, FilePolicy, ReplicateOptions, ReplicateReport, Retry, Scope, replicate,
};
use treeferry_core::repo::Repo;
use treeferry_core::spill::{Spill, SpillPlace};
use treeferry_core::store::{
    Body, Encoding, LocalObjects, ObjectSource, Partial, Payload, ResumableSource, Stat,
};
use treeferry_core::{Error, ErrorKind, Result, Subject};

fn options() -> ReplicateOptions {
    let mut options = ReplicateOptions::default();
    options.retry = Retry {
        wait: Duration::from_millis(1),
        ..Retry::default()
    };
    options
}

async fn run(pile: &Arc<Pile>, repo: &Repo, commit: Checksum) -> Result<ReplicateReport> {
    run_with(pile, repo, commit, &options()).await
}

async fn run_with(
    pile: &Arc<Pile>,
    repo: &Repo,
    commit: Checksum,
    options: &ReplicateOptions,
) -> Result<ReplicateReport> {
    let source: Arc<dyn ObjectSource> = pile.clone();
    replicate(&[source], repo, &[commit], options).await
}

async fn present(repo: &Repo, names: &[ObjectName]) -> usize {
    let stats = repo.objects().stat(names).await.unwrap();
    stats.iter().filter(|stat| stat.is_some()).count()
}

fn full_message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn everything_a_commit_names_arrives_once() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    let report = run(&pile, &repo, commit).await.unwrap();
    assert_eq!((report.metadata_fetched, report.content_fetched), (5, 3));
    assert_eq!(present(&repo, &pile.names()).await, 8);
    let mut fetched = pile.fetched.lock().unwrap().clone();
    fetched.sort();
    fetched.dedup();
    assert_eq!(fetched.len(), 8);
}

#[tokio::test]
async fn an_update_fetches_only_what_is_new() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let first = pile.small_commit("1", None);
    run(&pile, &repo, first).await.unwrap();
    let second = pile.small_commit("2", Some(first));
    let report = run(&pile, &repo, second).await.unwrap();
    // The commit, three dirtrees on the way to the changed files; two of three files.
    assert_eq!((report.metadata_fetched, report.content_fetched), (4, 2));
    let again = run(&pile, &repo, second).await.unwrap();
    assert_eq!((again.metadata_fetched, again.content_fetched), (0, 0));
}

#[tokio::test]
async fn a_source_that_fails_now_and_then_is_asked_again() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    pile.fail_after.store(3, Ordering::SeqCst);
    run(&pile, &repo, commit).await.unwrap();
    assert_eq!(present(&repo, &pile.names()).await, 8);
}

#[tokio::test]
async fn an_interrupted_run_leaves_nothing_visible_and_is_taken_up() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    let missing = ObjectName::file(pile.file(&header(0o755), b"b"));
    pile.remove(missing);
    let error = run(&pile, &repo, commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(error.subject(), Some(&Subject::Object(missing)));
    assert_eq!(present(&repo, &[ObjectName::commit(commit)]).await, 0);

    pile.file(&header(0o755), b"b");
    pile.fetched.lock().unwrap().clear();
    run(&pile, &repo, commit).await.unwrap();
    assert_eq!(present(&repo, &pile.names()).await, 8);
}

#[tokio::test]
async fn bytes_under_a_wrong_name_are_refused_by_name() {
    let pile = Pile::default();
    let commit = pile.small_commit("1", None);
    for name in pile.names() {
        let repo = memory_repo();
        let wrong = Arc::new(Pile::default());
        wrong.small_commit("1", None);
        let other = match name.object_type {
            ObjectType::File => {
                let mut bytes = header(0o644).to_canonical();
                bytes.extend_from_slice(b"evil");
                bytes
            }
            ObjectType::DirMeta => b"\0\0\0\0\0\0\0\0\0\0\x41\xff".to_vec(),
            _ => Vec::new(),
        };
        wrong.plant(name, other);
        let error = run(&wrong, &repo, commit).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "{name}: {}",
            full_message(&error)
        );
        assert_eq!(error.subject(), Some(&Subject::Object(name)));
        assert_eq!(present(&repo, &[ObjectName::commit(commit)]).await, 0);
    }
}

#[tokio::test]
async fn a_dirtree_that_names_itself_is_refused() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let meta = pile.meta(0o755);
    let planted = Checksum::of(b"no hash has itself inside");
    let looping = pile.tree(&[], &[("again", planted, meta)]);
    let bytes = {
        let body = pile
            .fetch(&ObjectName::dirtree(looping))
            .await
            .unwrap()
            .unwrap();
        match body {
            Body::Metadata(Payload::Bytes(b)) => b,
            _ => unreachable!("a dirtree is metadata"),
        }
    };
    pile.plant(ObjectName::dirtree(planted), bytes.to_vec());
    let commit = pile.commit(planted, meta, None);
    let error = run(&pile, &repo, commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.subject(),
        Some(&Subject::Object(ObjectName::dirtree(planted)))
    );
}

#[tokio::test]
async fn a_tree_a_hundred_thousand_deep_is_refused_by_name() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let meta = pile.meta(0o755);
    let mut tree = pile.tree(&[], &[]);
    for _ in 0..100_000 {
        tree = pile.tree(&[], &[("d", tree, meta)]);
    }
    let commit = pile.commit(tree, meta, None);
    let error = run(&pile, &repo, commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(matches!(error.subject(), Some(Subject::Object(name)) if
        name.object_type == ObjectType::DirTree));
    assert!(error.to_string().contains("deeper than 256"), "{error}");
    assert!(pile.fetched.lock().unwrap().len() < 1000);
}

#[tokio::test]
async fn two_to_the_sixty_fourth_paths_cost_sixty_five_objects() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let meta = pile.meta(0o755);
    let mut tree = pile.tree(&[], &[]);
    for _ in 0..64 {
        tree = pile.tree(&[], &[("a", tree, meta), ("b", tree, meta)]);
    }
    let commit = pile.commit(tree, meta, None);
    let report = run(&pile, &repo, commit).await.unwrap();
    assert_eq!(report.metadata_fetched, 65 + 2);
}

#[tokio::test]
async fn history_comes_as_deep_as_asked_and_may_end() {
    let pile = Arc::new(Pile::default());
    let first = pile.small_commit("1", None);
    let second = pile.small_commit("2", Some(first));
    let third = pile.small_commit("3", Some(second));
    for (depth, expected) in [
        (Depth::Parents(0), 1),
        (Depth::Parents(1), 2),
        (Depth::All, 3),
    ] {
        let repo = memory_repo();
        let mut options = options();
        options.depth = depth;
        let report = run_with(&pile, &repo, third, &options).await.unwrap();
        assert_eq!(report.commits.len(), expected);
        let names = [first, second, third].map(ObjectName::commit);
        assert_eq!(present(&repo, &names).await, expected);
    }
    pile.remove(ObjectName::commit(first));
    let repo = memory_repo();
    let mut options = options();
    options.depth = Depth::All;
    let report = run_with(&pile, &repo, third, &options).await.unwrap();
    assert_eq!(report.commits.len(), 2);
}

#[tokio::test]
async fn a_subpath_brings_its_files_and_leaves_the_commit_partial() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    let mut part = options();
    part.scope = Scope::Subpaths(vec!["/dir/sub".into()]);
    let report = run_with(&pile, &repo, commit, &part).await.unwrap();
    assert_eq!(report.content_fetched, 1);
    assert_eq!(
        repo.state().read_partial(&commit).await.unwrap(),
        Some(Partial::Fetching)
    );

    let report = run(&pile, &repo, commit).await.unwrap();
    assert_eq!(report.content_fetched, 2);
    assert_eq!(repo.state().read_partial(&commit).await.unwrap(), None);
}

#[tokio::test]
async fn commit_metadata_only_brings_the_commit_and_marks_it() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    let mut part = options();
    part.scope = Scope::CommitMetadataOnly;
    let report = run_with(&pile, &repo, commit, &part).await.unwrap();
    assert_eq!((report.metadata_fetched, report.content_fetched), (1, 0));
    assert_eq!(
        repo.state().read_partial(&commit).await.unwrap(),
        Some(Partial::Fetching)
    );
}

#[tokio::test]
async fn a_whole_commit_is_not_marked_partial_by_pulling_a_part_of_it() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    run(&pile, &repo, commit).await.unwrap();
    let mut part = options();
    part.scope = Scope::CommitMetadataOnly;
    run_with(&pile, &repo, commit, &part).await.unwrap();
    assert_eq!(repo.state().read_partial(&commit).await.unwrap(), None);
}

#[tokio::test]
async fn files_with_unusual_modes_are_refused_where_asked() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let meta = pile.meta(0o755);
    let file = pile.file(&header(0o4755), b"set-user-id");
    let tree = pile.tree(&[("su", file)], &[]);
    let commit = pile.commit(tree, meta, None);
    let mut strict = options();
    strict.files = FilePolicy::BareUserOnly;
    let error = run_with(&pile, &repo, commit, &strict).await.unwrap_err();
    assert_eq!(
        error.subject(),
        Some(&Subject::Object(ObjectName::file(file)))
    );
    assert!(error.to_string().contains("4755"), "{error}");
    run(&pile, &repo, commit).await.unwrap();
}

#[tokio::test]
async fn metadata_above_the_limit_is_refused_by_name() {
    let (pile, repo) = (Arc::new(Pile::default()), memory_repo());
    let commit = pile.small_commit("1", None);
    let mut tight = options();
    tight.limits.metadata_bytes_max = 40;
    let error = run_with(&pile, &repo, commit, &tight).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.subject(),
        Some(&Subject::Object(ObjectName::commit(commit)))
    );
}

#[tokio::test]
async fn what_one_source_has_damaged_is_taken_from_the_next() {
    let sound = Arc::new(Pile::default());
    let commit = sound.small_commit("1", None);
    for name in sound.names() {
        let damaged = Arc::new(Pile::default());
        damaged.small_commit("1", None);
        let mut bytes = header(0o600).to_canonical();
        bytes.extend_from_slice(b"not what it was");
        damaged.plant(name, bytes);
        let repo = memory_repo();
        let sources: [Arc<dyn ObjectSource>; 2] = [damaged, sound.clone()];
        replicate(&sources, &repo, &[commit], &options())
            .await
            .unwrap_or_else(|error| panic!("{name}: {}", full_message(&error)));
        assert_eq!(present(&repo, &sound.names()).await, 8, "{name}");
    }
}

/// Sends endless metadata to whoever asks, on as many lines as there are.
#[derive(Debug, Default)]
struct Flood {
    pile: Pile,
    sent_bytes: Arc<AtomicU64>,
}

const CHUNK: &[u8] = &[0; 64 * 1024];

#[async_trait]
impl ObjectSource for Flood {
    fn encoding(&self) -> Encoding {
        Encoding::Canonical
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.pile.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        if let Some(known) = self.pile.fetch(name).await? {
            return Ok(Some(known));
        }
        let sent_bytes = Arc::clone(&self.sent_bytes);
        let chunks = futures::stream::repeat(()).then(move |()| {
            let sent_bytes = Arc::clone(&sent_bytes);
            async move {
                tokio::task::yield_now().await;
                sent_bytes.fetch_add(CHUNK.len() as u64, Ordering::SeqCst);
                Ok(Bytes::from_static(CHUNK))
            }
        });
        Ok(Some(Body::Metadata(Payload::Stream(chunks.boxed()))))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

#[tokio::test]
async fn many_endless_metadata_objects_are_not_held_at_once() {
    let flood = Flood::default();
    let meta = flood.pile.meta(0o755);
    let names: Vec<_> = (0..200).map(|n| format!("{n}")).collect();
    let dirs: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Checksum::of(name.as_bytes()), meta))
        .collect();
    let tree = flood.pile.tree(&[], &dirs);
    let commit = flood.pile.commit(tree, meta, None);
    let sent_bytes = Arc::clone(&flood.sent_bytes);
    let source: Arc<dyn ObjectSource> = Arc::new(flood);
    let mut options = options();
    options.limits.metadata_bytes_max = 16 << 20;
    let error = replicate(&[source], &memory_repo(), &[commit], &options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // One up to the limit; of each other no more than needs no leave, and the chunk after it.
    let requests = options.requests_max as u64;
    let most = (16 << 20) + requests * (256 * 1024 + 2 * CHUNK.len() as u64);
    let sent_bytes = sent_bytes.load(Ordering::SeqCst);
    assert!(sent_bytes > 16 << 20, "{sent_bytes}");
    assert!(sent_bytes <= most, "{sent_bytes} of {most}");
}

/// A source whose metadata comes in pieces, as over a line.
#[derive(Debug)]
struct InPieces(Arc<Pile>);

#[async_trait]
impl ObjectSource for InPieces {
    fn encoding(&self) -> Encoding {
        Encoding::Canonical
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        self.0.stat(names).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let body = self.0.fetch(name).await?;
        let Some(Body::Metadata(Payload::Bytes(bytes))) = body else {
            return Ok(body);
        };
        let at = (0..bytes.len()).step_by(CHUNK.len());
        let chunks = at.map(move |at| bytes.slice(at..bytes.len().min(at + CHUNK.len())));
        let chunks = futures::stream::iter(chunks).then(async |chunk| {
            tokio::task::yield_now().await;
            Ok(chunk)
        });
        Ok(Some(Body::Metadata(Payload::Stream(chunks.boxed()))))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

#[tokio::test]
async fn many_long_metadata_objects_arrive_one_after_the_other() {
    let pile = Pile::default();
    let meta = pile.meta(0o755);
    let names: Vec<_> = (0..40).map(|n| format!("{n}")).collect();
    let file = pile.file(&header(0o644), b"the same");
    let mut dirs = Vec::new();
    for name in &names {
        let files: Vec<_> = (0..20_000).map(|n| format!("{name}-{n}")).collect();
        let files: Vec<_> = files.iter().map(|name| (name.as_str(), file)).collect();
        dirs.push((name.as_str(), pile.tree(&files, &[]), meta));
    }
    let tree = pile.tree(&[], &dirs);
    let commit = pile.commit(tree, meta, None);
    let repo = memory_repo();
    let source: Arc<dyn ObjectSource> = Arc::new(InPieces(Arc::new(pile)));
    let report = replicate(&[source], &repo, &[commit], &options())
        .await
        .unwrap();
    assert_eq!(report.metadata_fetched, 43);
    assert!(report.transferred_bytes > 40 * 20_000 * 40);
}

#[tokio::test]
async fn what_was_seen_may_be_too_much_for_memory() {
    let pile = Arc::new(Pile::default());
    let meta = pile.meta(0o755);
    let mut dirs = Vec::new();
    for dir in 0..30 {
        let files: Vec<_> = (0..20)
            .map(|n| {
                let content = format!("{}", (dir * 13 + n) % 200);
                (
                    format!("f{n}"),
                    pile.file(&header(0o644), content.as_bytes()),
                )
            })
            .collect();
        let files: Vec<_> = files.iter().map(|(n, f)| (n.as_str(), *f)).collect();
        let shared = pile.tree(&files[..3], &[]);
        let meta = pile.meta(0o700 + dir % 5);
        dirs.push((
            format!("d{dir}"),
            pile.tree(&files, &[("s", shared, meta)]),
            meta,
        ));
    }
    let dirs: Vec<_> = dirs.iter().map(|(n, t, m)| (n.as_str(), *t, *m)).collect();
    let root = pile.tree(&[], &dirs);
    let commit = pile.commit(root, meta, None);
    let dir = tempfile::tempdir().unwrap();
    for subpaths in [&[][..], &["/d3", "/d4/s", "/d5/f1"][..]] {
        let mut options = options();
        if !subpaths.is_empty() {
            options.scope = Scope::Subpaths(subpaths.iter().map(|p| (*p).to_owned()).collect());
        }
        let whole = memory_repo();
        let expected = run_with(&pile, &whole, commit, &options).await.unwrap();
        for max in [1, 10, 100] {
            let mut spill = Spill::to(Some(SpillPlace::new(dir.path())));
            spill.names_in_memory_max = max;
            let repo = memory_repo().with_spill(spill);
            pile.fetched.lock().unwrap().clear();
            let report = run_with(&pile, &repo, commit, &options).await.unwrap();
            assert_eq!(report, expected);
            let mut fetched = pile.fetched.lock().unwrap().clone();
            let asked = fetched.len();
            fetched.sort();
            fetched.dedup();
            assert_eq!(fetched.len(), asked, "nothing is asked for twice");
            let found = fsck(&repo, &FsckOptions::default()).await.unwrap();
            assert!(found.is_sound());
            let in_memory = repo.clone().with_spill(Spill::to(None));
            let same = fsck(&in_memory, &FsckOptions::default()).await.unwrap();
            assert_eq!(
                (found.metadata_objects, found.content_objects),
                (same.metadata_objects, same.content_objects)
            );
        }
    }
}
