//! Commits into memory: what goes wrong, and that nothing is lost or half done then.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::error::Error as _;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::TryStreamExt;
use treeferry_core::format::{Branch, Checksum, ObjectName, ObjectType};
use treeferry_core::ops::commit::{
    CommitOptions, CommitOutcome, CommitReport, Parent, SourceUse, StatOverrides, TreeInput,
    Unchanged, commit,
};
use treeferry_core::ops::summary::{SummaryOptions, commit_repo_metadata};
use treeferry_core::repo::{Repo, TreeEntry};
use treeferry_core::store::{
    ExpectedRef, LockKind, MemoryOptions, MemoryStore, ObjectSource, ObjectStore, Partial,
    RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue, RepoState, Swap,
};
use treeferry_core::{ErrorKind, Result, Subject};

fn new_repo() -> (Repo, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::default());
    (Repo::new(Arc::clone(&store)), store)
}

fn branch() -> RefName {
    RefName::Local(Branch::new("os/main").unwrap())
}

async fn record(repo: &Repo, trees: &[&Path]) -> Result<CommitReport> {
    record_with(repo, trees, |_| {}).await
}

async fn record_with(
    repo: &Repo,
    trees: &[&Path],
    set: impl FnOnce(&mut CommitOptions),
) -> Result<CommitReport> {
    let mut options = CommitOptions::default();
    options.timestamp = 1;
    options.target = Some("os/main".parse().unwrap());
    let input = |path: &&Path| TreeInput::Dir(path.to_path_buf());
    options.trees = trees.iter().map(input).collect();
    set(&mut options);
    commit(repo, options).await
}

async fn count(store: &MemoryStore, object_type: ObjectType) -> usize {
    let listed: Vec<_> = store.list(object_type).try_collect().await.unwrap();
    listed.len()
}

/// Returns the path that an error names.
fn named(error: &treeferry_core::Error) -> PathBuf {
    match error.subject() {
        Some(Subject::Path(path)) => path.clone(),
        other => panic!("names {other:?}: {error}"),
    }
}

#[tokio::test]
async fn a_directory_can_be_found_in_its_commit() {
    let (repo, _) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    std::fs::write(dir.path().join("a/b/c"), "content").unwrap();
    let report = record(&repo, &[dir.path()]).await.unwrap();
    assert_eq!(report.outcome, CommitOutcome::Committed);
    assert_eq!(repo.resolve("os/main").await.unwrap(), report.commit);
    let found = repo.find_path(report.root, "/a/b/c").await.unwrap();
    assert!(matches!(found, Some(TreeEntry::File(_))));
}

#[tokio::test]
async fn nesting_too_deep_is_refused_by_its_path() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join(["d"; 256].join("/"))).unwrap();
    record(&repo, &[dir.path()]).await.unwrap();
    let before = count(&store, ObjectType::Commit).await;
    let deeper = dir.path().join(["d"; 257].join("/"));
    std::fs::create_dir_all(&deeper).unwrap();
    let error = record(&repo, &[dir.path()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(named(&error), deeper);
    assert_eq!(count(&store, ObjectType::Commit).await, before);
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_refused_by_its_directory() {
    let (repo, _) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub").join(OsStr::from_bytes(b"\xff")), "").unwrap();
    let error = record(&repo, &[dir.path()]).await.unwrap_err();
    assert_eq!(named(&error), dir.path().join("sub"));
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[tokio::test]
async fn a_link_target_that_is_not_utf8_is_refused() {
    let (repo, _) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(OsStr::from_bytes(b"\xff"), &link).unwrap();
    let error = record(&repo, &[dir.path()]).await.unwrap_err();
    assert_eq!(named(&error), link);
}

#[tokio::test]
async fn links_that_lead_in_circles_are_recorded_and_not_followed() {
    let (repo, _) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(".", dir.path().join("here")).unwrap();
    std::os::unix::fs::symlink("b", dir.path().join("a")).unwrap();
    std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
    let report = record(&repo, &[dir.path()]).await.unwrap();
    assert_eq!(report.stats.content_total, 3);
}

#[tokio::test]
async fn a_socket_is_refused_by_its_path() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = record(&repo, &[dir.path()]).await.unwrap_err();
    assert_eq!(named(&error), socket);
    let problem = error.to_string();
    assert!(
        problem.ends_with("Not a regular file or symlink: socket"),
        "{problem}"
    );
    assert_eq!(count(&store, ObjectType::Commit).await, 0);
    assert_eq!(repo.resolve_optional("os/main").await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs to run without root, who may read everything"]
async fn a_file_that_cannot_be_read_is_named() {
    let (repo, _) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "secret").unwrap();
    let nobody = std::os::unix::fs::PermissionsExt::from_mode(0o0);
    std::fs::set_permissions(&file, nobody).unwrap();
    let error = record(&repo, &[dir.path()]).await.unwrap_err();
    assert_eq!(named(&error), file);
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.source().is_some());
}

#[tokio::test]
async fn a_file_that_is_longer_than_it_was_is_named() {
    let (repo, store) = new_repo();
    // These announce no length and have content, as a file that grows while it is read.
    let growing = Path::new("/proc/self/fdinfo");
    let error = record(&repo, &[growing]).await.unwrap_err();
    assert!(named(&error).starts_with(growing), "{error}");
    assert_eq!(count(&store, ObjectType::Commit).await, 0);
}

/// Refs of which a prune tries to get at the objects whenever one moves.
#[derive(Debug)]
struct PruneMeanwhile {
    store: Arc<MemoryStore>,
    refused: Mutex<Vec<Option<ErrorKind>>>,
}

#[async_trait]
impl RefStore for PruneMeanwhile {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        self.store.read_ref(name).await
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        self.store.list_refs(space).await
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let lock = self.store.lock(LockKind::Exclusive).await;
        let refused = lock.err().map(|error| error.kind());
        self.refused.lock().unwrap().push(refused);
        self.store.update_refs(updates).await
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        self.store.ref_atomicity()
    }
}

#[tokio::test]
async fn nobody_prunes_between_the_objects_and_the_ref() {
    let options = MemoryOptions {
        lock_wait: std::time::Duration::from_millis(5),
        ..MemoryOptions::default()
    };
    let store = Arc::new(MemoryStore::new(options));
    let refs = Arc::new(PruneMeanwhile {
        store: Arc::clone(&store),
        refused: Mutex::default(),
    });
    let repo = Repo::from_parts(store.clone(), refs.clone(), store.clone());
    let dir = tempfile::tempdir().unwrap();
    record(&repo, &[dir.path()]).await.unwrap();
    let config = store.read_config().await.unwrap();
    let mut with_collection = config.to_vec();
    with_collection.extend_from_slice(b"\n[core]\ncollection-id=org.example.Os\n");
    let swap = store.swap_config(&config, with_collection.into()).await;
    assert_eq!(swap.unwrap(), Swap::Done);
    let options = SummaryOptions::default();
    assert!(
        commit_repo_metadata(&repo, &options)
            .await
            .unwrap()
            .is_some()
    );
    let refused = refs.refused.lock().unwrap().clone();
    assert_eq!(refused, [Some(ErrorKind::Locked), Some(ErrorKind::Locked)]);
    assert!(store.lock(LockKind::Exclusive).await.is_ok());
}

#[tokio::test]
async fn whoever_moves_the_ref_meanwhile_wins() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let first = record(&repo, &[dir.path()]).await.unwrap();
    let lost = race(&store, dir.path()).await;
    let CommitOutcome::RefMoved { current } = lost.outcome else {
        panic!("{lost:?}");
    };
    assert_ne!(current, Some(RefValue::Commit(first.commit)));
    assert_eq!(repo.refs().read_ref(&branch()).await.unwrap(), current);
    // What was recorded is there all the same.
    assert!(repo.load_commit(&lost.commit).await.is_ok());
}

#[tokio::test]
async fn sources_outlive_a_lost_race_until_somebody_has_won_it() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "1").unwrap();
    record(&repo, &[&tree]).await.unwrap();
    let lost = race(&store, &tree).await;
    assert!(matches!(lost.outcome, CommitOutcome::RefMoved { .. }));
    assert!(tree.join("file").exists());
    std::fs::write(tree.join("added since"), "").unwrap();
    lost.unconsumed.clone().consume(&repo).await.unwrap();
    assert!(!tree.join("file").exists());
    assert!(tree.join("added since").exists());
}

/// Refs of which another moves one just before it is moved here.
#[derive(Debug)]
struct Overtaken(Arc<MemoryStore>);

#[async_trait]
impl RefStore for Overtaken {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        self.0.read_ref(name).await
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        self.0.list_refs(space).await
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let other = RefUpdate {
            name: branch(),
            expected: ExpectedRef::Any,
            new: Some(RefValue::Commit(Checksum::of(b"somebody else's"))),
        };
        self.0.update_refs(&[other]).await?;
        self.0.update_refs(updates).await
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        self.0.ref_atomicity()
    }
}

/// Commits while another moves the ref.
async fn race(store: &Arc<MemoryStore>, dir: &Path) -> CommitReport {
    let refs = Arc::new(Overtaken(Arc::clone(store)));
    let repo = Repo::from_parts(store.clone(), refs, store.clone());
    let trees = [dir];
    let ours = record_with(&repo, &trees, |options| {
        options.parent = Parent::None;
        options.sources = SourceUse::Consume;
    });
    ours.await.unwrap()
}

#[tokio::test]
async fn a_commit_that_was_partial_is_whole_once_recorded() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let first = record(&repo, &[dir.path()]).await.unwrap();
    let mark = Some(Partial::Fetching);
    store.write_partial(&first.commit, mark).await.unwrap();
    let parentless = |options: &mut CommitOptions| options.parent = Parent::None;
    let again = record_with(&repo, &[dir.path()], parentless).await;
    assert_eq!(again.unwrap().commit, first.commit);
    assert_eq!(store.read_partial(&first.commit).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_made_of_a_partial_commit_is_partial() {
    type Attach = fn(&mut CommitOptions, Checksum);
    let cases: [(Partial, Attach); 2] = [
        (Partial::Fetching, |options, part| options.base = Some(part)),
        (Partial::Damaged, |options, part| {
            options.trees.push(TreeInput::Commit(part));
        }),
    ];
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("file"), "1").unwrap();
    let trees = [other.path()];
    for (mark, attach) in cases {
        let (repo, store) = new_repo();
        let part = record(&repo, &[dir.path()]).await.unwrap().commit;
        store.write_partial(&part, Some(mark)).await.unwrap();
        // The second time it is there already, and nothing is known of it that was not before.
        for _again in 0..2 {
            let made = record_with(&repo, &trees, |options| {
                options.parent = Parent::None;
                attach(options, part);
            });
            let made = made.await.unwrap().commit;
            assert_ne!(made, part);
            let inherited = store.read_partial(&made).await.unwrap();
            assert_eq!(inherited, Some(mark));
        }
        let child = record_with(&repo, &trees, |options| {
            options.parent = Parent::Commit(part);
        });
        let child = child.await.unwrap().commit;
        assert_eq!(store.read_partial(&child).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_whole_commit_stays_whole_whatever_it_is_made_of_again() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let base = record(&repo, &[dir.path()]).await.unwrap().commit;
    let on_base = |options: &mut CommitOptions| {
        options.base = Some(base);
        options.parent = Parent::Commit(base);
    };
    let made = record_with(&repo, &[], on_base).await.unwrap().commit;
    let mark = Some(Partial::Fetching);
    store.write_partial(&base, mark).await.unwrap();
    let again = record_with(&repo, &[], on_base).await.unwrap().commit;
    assert_eq!(again, made);
    assert_eq!(store.read_partial(&made).await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_consumed_when_the_commit_fails() {
    let (repo, _) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "1").unwrap();
    let result = record_with(&repo, &[dir.path()], |options| {
        options.sources = SourceUse::Consume;
        options.modifier.skip_list = "/nowhere".parse().unwrap();
    })
    .await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(dir.path().join("file").exists());
}

#[tokio::test]
async fn what_the_parent_lost_is_stored_again_before_it_is_consumed() {
    let (repo, store) = new_repo();
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "1").unwrap();
    let first = record(&repo, &[&tree]).await.unwrap();
    let found = repo.find_path(first.root, "/file").await.unwrap();
    let Some(TreeEntry::File(file)) = found else {
        panic!("{found:?}");
    };
    let file = [ObjectName::file(file)];
    let lock = store.lock(LockKind::Exclusive).await.unwrap();
    assert!(store.delete(&lock, &file).await.unwrap()[0].is_some());
    drop(lock);
    let trees = [&*tree];
    let again = record_with(&repo, &trees, |options| {
        options.unchanged = Unchanged::Skip;
        options.sources = SourceUse::Consume;
    });
    assert_eq!(again.await.unwrap().outcome, CommitOutcome::Unchanged);
    assert!(!tree.exists());
    assert!(store.stat(&file).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn nothing_to_commit_is_an_error() {
    let (repo, _) = new_repo();
    let error = record(&repo, &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("Can't commit an empty tree"),
        "{error}"
    );
}

#[test]
fn lines_of_a_statoverride_that_mean_nothing_are_refused() {
    for text in [
        "2048",
        "x /file",
        "0x10 /file",
        "-1 /file",
        "4096 /file",
        " 1 /file",
    ] {
        let error = text.parse::<StatOverrides>().unwrap_err();
        assert!(
            error.to_string().contains("Malformed statoverride file"),
            "{text}: {error}"
        );
    }
    assert!("\n\n".parse::<StatOverrides>().unwrap().is_empty());
}
