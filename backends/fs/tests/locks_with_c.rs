//! The lock, against the C `ostree`, and what a commit of it that was killed has left.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use treeferry_backend_fs::FsMode;
use treeferry_core::error::ErrorKind;
use treeferry_core::format::ObjectType;
use treeferry_core::store::{BatchOptions, Incoming, LockKind, ObjectSource, ObjectStore, Stored};

fn prune(repo: &Path) -> Child {
    Command::new("ostree")
        .args(["prune", &format!("--repo={}", repo.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
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
    let impatient = open_impatient(&path).await;
    let started = Instant::now();
    let error = loop {
        match impatient.lock(LockKind::Exclusive).await {
            Err(error) => break error,
            Ok(lock) => drop(lock),
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it locks nothing"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
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
