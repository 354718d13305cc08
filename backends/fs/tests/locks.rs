//! The lock, against the C `ostree` and among handles; staging directories of dead writers.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::*;
use treeferry_backend_fs::{FsMode, FsRepo, OpenOptions};
use treeferry_core::error::ErrorKind;
use treeferry_core::format::{DirMeta, FileHeader, ObjectName, ObjectType, Xattrs};
use treeferry_core::store::{
    BatchOptions, Durability, Incoming, Leftovers, LockKind, ObjectSource, ObjectStore, Payload,
    RefStore, Stored,
};

fn prune(repo: &Path) -> Child {
    Command::new("ostree")
        .args(["prune", &format!("--repo={}", repo.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn open_impatient(path: &Path) -> FsRepo {
    let options = OpenOptions {
        lock_timeout: Some(Duration::ZERO),
        ..OpenOptions::default()
    };
    FsRepo::open(path, options).await.unwrap()
}

fn dirmeta(number: u32) -> Incoming {
    let meta = DirMeta {
        uid: number,
        gid: 0,
        mode: 0o040_755,
        xattrs: Xattrs::default(),
    };
    Incoming::recorded_metadata(ObjectType::DirMeta, meta.to_bytes())
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_prune_of_c_waits_for_our_batch() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::Archive).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let mut prune = prune(dir.path());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(prune.try_wait().unwrap().is_none(), "it did not wait");
    // Closing another descriptor of the lock file must not release the lock.
    drop(std::fs::File::open(dir.path().join(".lock")).unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        prune.try_wait().unwrap().is_none(),
        "an unrelated close released the lock"
    );
    batch.commit().await.unwrap();
    assert!(prune.wait().unwrap().success());
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn our_exclusive_lock_waits_for_a_commit_of_c() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::Archive).await;
    // It reads its tree from a pipe that stays open: it holds its lock until that ends.
    let mut commit = Command::new("ostree")
        .args(["commit", &format!("--repo={}", path.display())])
        .args(["-b", "x", "--tree=tar=/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !path.join(".lock").exists() && started.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let impatient = open_impatient(&path).await;
    let error = impatient.lock(LockKind::Exclusive).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("lock-timeout-secs"), "{error}");
    assert!(
        impatient.lock(LockKind::Shared).await.is_ok(),
        "writers share it"
    );
    commit.kill().unwrap();
    commit.wait().unwrap();
    repo.lock(LockKind::Exclusive).await.unwrap();
}

#[tokio::test]
async fn two_handles_in_one_process_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let one = create(dir.path(), FsMode::Archive).await;
    let two = open_impatient(dir.path()).await;
    let held = one.lock(LockKind::Exclusive).await.unwrap();
    let error = two.begin(BatchOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    drop(held);
    two.begin(BatchOptions::default()).await.unwrap();
}

#[tokio::test]
async fn without_locking_nothing_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), FsMode::Archive).await;
    let config = "[core]\nrepo_version=1\nmode=archive-z2\nlocking=false\n";
    std::fs::write(dir.path().join("config"), config).unwrap();
    let repo = open_impatient(dir.path()).await;
    let _one = repo.lock(LockKind::Exclusive).await.unwrap();
    let _two = repo.lock(LockKind::Exclusive).await.unwrap();
    assert!(!dir.path().join(".lock").exists());
}

#[tokio::test]
async fn a_timeout_of_the_config_counts() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), FsMode::Archive).await;
    let config = "[core]\nrepo_version=1\nmode=archive-z2\nlock-timeout-secs=1\n";
    std::fs::write(dir.path().join("config"), config).unwrap();
    let repo = open(dir.path()).await;
    let _held = repo.lock(LockKind::Shared).await.unwrap();
    let started = Instant::now();
    let error = repo.lock(LockKind::Exclusive).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(5));
}

fn staging_dirs(repo: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(repo.join("tmp")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("staging-")).collect()
}

/// Kills a commit of the C `ostree` when it begins to publish.
fn kill_c_commit(repo: &Path, tree: &Path) {
    let log = repo.join("strace.log");
    let status = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            log.to_str().unwrap(),
            "-e",
            "trace=syncfs",
        ])
        .args(["-e", "inject=syncfs:signal=SIGKILL:when=1"])
        .args([
            "ostree",
            "commit",
            &format!("--repo={}", repo.display()),
            "-b",
            "x",
        ])
        .arg(tree)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!status.unwrap().success());
    std::fs::remove_file(log).unwrap();
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, has_strace)), ignore = "needs ostree and strace")]
async fn what_a_killed_commit_of_c_left_is_taken_up_if_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, path) = (dir.path().join("tree"), dir.path().join("repo"));
    odd_tree(&tree);
    let repo = create(&path, FsMode::BareUser).await;
    kill_c_commit(&path, &tree);
    let left = staging_dirs(&path);
    assert_eq!(left.len(), 2, "a directory and its lock: {left:?}");
    // The same tree, committed whole elsewhere, tells what must be there.
    let whole = dir.path().join("whole");
    let whole_arg = format!("--repo={}", whole.display());
    ostree(&[&whole_arg, "init", "--mode=bare-user"]);
    ostree(&[&whole_arg, "commit", "-b", "x", tree.to_str().unwrap()]);
    let whole = open(&whole).await;
    let mut names = all_objects(&whole).await;
    names.retain(|name| name.object_type != ObjectType::Commit);
    // One of them is torn.
    let torn = names
        .iter()
        .find(|name| name.object_type == ObjectType::DirTree)
        .unwrap();
    let staged = left.iter().find(|name| !name.ends_with("-lock")).unwrap();
    let layout = treeferry_core::format::ContentLayout::Bare;
    let torn_path = path.join("tmp").join(staged).join(torn.loose_path(layout));
    std::fs::write(torn_path, b"torn").unwrap();

    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let found = batch.stat(&names).await.unwrap();
    for (name, found) in names.iter().zip(found) {
        assert_eq!(found.is_some(), name != torn, "{name}");
    }
    let body = whole.fetch(torn).await.unwrap().unwrap();
    let put = batch
        .put(vec![Incoming::named(*torn, body)])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(put.stored, Stored::New);
    batch.commit().await.unwrap();
    let mut found = all_objects(&repo).await;
    found.sort();
    names.sort();
    assert_eq!(found, names);
}

#[tokio::test]
async fn a_dropped_batch_is_taken_up_by_the_next_and_leaves_nothing_then() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::Archive).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let name = batch.put(vec![dirmeta(7)]).await.remove(0).unwrap().name;
    drop(batch);
    assert!(repo.stat(&[name]).await.unwrap()[0].is_none());
    assert_eq!(staging_dirs(dir.path()).len(), 2);
    let ignoring = BatchOptions {
        leftovers: Leftovers::Ignore,
        ..BatchOptions::default()
    };
    let batch = repo.begin(ignoring).await.unwrap();
    assert!(batch.stat(&[name]).await.unwrap()[0].is_none());
    drop(batch);
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    assert!(batch.stat(&[name]).await.unwrap()[0].is_some());
    batch.commit().await.unwrap();
    assert!(repo.stat(&[name]).await.unwrap()[0].is_some());
    assert!(staging_dirs(dir.path()).is_empty());
}

#[tokio::test]
async fn a_symbolic_link_that_was_left_is_taken_up_and_published() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::BareUserOnly).await;
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o120_777,
        symlink_target: "to/nowhere".into(),
        xattrs: Xattrs::default(),
    };
    let link = Incoming::recorded_file(header, 0, Payload::Bytes(Bytes::new()));
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let name = batch.put(vec![link]).await.remove(0).unwrap().name;
    drop(batch);
    let durable = BatchOptions {
        durability: Durability::Configured,
        ..BatchOptions::default()
    };
    let batch = repo.begin(durable).await.unwrap();
    assert!(batch.stat(&[name]).await.unwrap()[0].is_some());
    batch.commit().await.unwrap();
    assert_eq!(all_objects(&repo).await, [name]);
    assert!(staging_dirs(dir.path()).is_empty());
}

#[tokio::test]
async fn leftovers_expire() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::Archive).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let name = batch.put(vec![dirmeta(7)]).await.remove(0).unwrap().name;
    drop(batch);
    let options = OpenOptions {
        clock: || std::time::SystemTime::now() + Duration::from_secs(2 * 86_400),
        ..OpenOptions::default()
    };
    let later = FsRepo::open(dir.path(), options).await.unwrap();
    let batch = later.begin(BatchOptions::default()).await.unwrap();
    assert!(batch.stat(&[name]).await.unwrap()[0].is_none());
    drop(batch);
    wait_until_empty(dir.path()).await;
}

/// Waits for what a batch removes after it was dropped.
async fn wait_until_empty(repo: &Path) {
    let started = Instant::now();
    while !staging_dirs(repo).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "it stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_dropped_batch_is_cleaned_up_by_a_thread_that_may_block() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let repo = create(dir.path(), FsMode::Archive).await;
        let batch = repo.begin(BatchOptions::default()).await.unwrap();
        assert_eq!(staging_dirs(dir.path()).len(), 2);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || released.recv());
        drop(batch);
        // The only such thread is busy.
        assert_eq!(staging_dirs(dir.path()).len(), 2);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        wait_until_empty(dir.path()).await;
        let batch = repo.begin(BatchOptions::default()).await.unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || released.recv());
        drop(batch);
        release.send(()).unwrap();
    });
    // A runtime that ends in between leaves nothing either.
    drop(runtime);
    assert!(staging_dirs(dir.path()).is_empty());
}

#[tokio::test]
async fn files_of_writers_that_died_long_ago_are_removed_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::Archive).await;
    // Makes the lock of refs and state, which looks like one of these but stays.
    repo.update_refs(&[]).await.unwrap();
    let dead = [
        ".treeferry-aZ09xy",
        "state/.treeferry-000000",
        "refs/heads/deep/.treeferry-ABCDEF",
        "tmp/staging-boot-abcdef-lock",
    ];
    let stay = [
        ".treeferry-lock",
        "refs/heads/deep/name",
        "refs/heads/.treeferry-notours",
    ];
    for below in ["state", "refs/heads/deep"] {
        std::fs::create_dir_all(dir.path().join(below)).unwrap();
    }
    for name in dead.iter().chain(&stay) {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(dir.path().join(name))
            .unwrap();
    }
    drop(repo.begin(BatchOptions::default()).await.unwrap());
    assert!(dead.iter().all(|name| dir.path().join(name).exists()));
    let options = OpenOptions {
        clock: || std::time::SystemTime::now() + Duration::from_secs(2 * 86_400),
        ..OpenOptions::default()
    };
    let later = FsRepo::open(dir.path(), options).await.unwrap();
    drop(later.begin(BatchOptions::default()).await.unwrap());
    for name in dead {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
    for name in stay {
        assert!(dir.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn the_staging_of_a_living_writer_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::Archive).await;
    let living = repo.begin(BatchOptions::default()).await.unwrap();
    let name = living.put(vec![dirmeta(7)]).await.remove(0).unwrap().name;
    let other = repo.begin(BatchOptions::default()).await.unwrap();
    assert!(other.stat(&[name]).await.unwrap()[0].is_none());
    other.commit().await.unwrap();
    living.commit().await.unwrap();
    assert!(repo.stat(&[name]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_torn_object_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::BareUser).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let name = batch.put(vec![dirmeta(7)]).await.remove(0).unwrap().name;
    batch.commit().await.unwrap();
    let layout = treeferry_core::format::ContentLayout::Bare;
    let path = dir.path().join("objects").join(name.loose_path(layout));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"").unwrap();
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let put = batch.put(vec![dirmeta(7)]).await.remove(0).unwrap();
    assert_eq!(put.stored, Stored::New);
    batch.commit().await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    let _: ObjectName = name;
}

#[tokio::test]
async fn metadata_that_is_damaged_heals_when_it_is_put_again() {
    let flip = |bytes: &mut Vec<u8>| bytes[0] ^= 1;
    let lengthen = |bytes: &mut Vec<u8>| bytes.push(0);
    let damages = [flip as fn(&mut Vec<u8>), lengthen];
    let modes = [FsMode::BareUser, FsMode::Archive];
    for (mode, damage) in modes.into_iter().flat_map(|m| damages.map(|d| (m, d))) {
        let dir = tempfile::tempdir().unwrap();
        let repo = create(dir.path(), mode).await;
        let put = async || {
            let batch = repo.begin(BatchOptions::default()).await.unwrap();
            let put = batch.put(vec![dirmeta(7)]).await.remove(0).unwrap();
            batch.commit().await.unwrap();
            put
        };
        let name = put().await.name;
        let layout = treeferry_core::format::ContentLayout::Bare;
        let path = dir.path().join("objects").join(name.loose_path(layout));
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damage(&mut damaged);
        std::fs::write(&path, &damaged).unwrap();

        assert_eq!(put().await.stored, Stored::New);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        let body = repo.fetch(&name).await.unwrap().unwrap();
        let (found, bytes) = Incoming::named(name, body).into_metadata().unwrap();
        assert_eq!((found, &bytes[..]), (name, &whole[..]));
        assert_eq!(
            put().await.stored,
            Stored::Present,
            "whole, and left as it is"
        );
    }
}
