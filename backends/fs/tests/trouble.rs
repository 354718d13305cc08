//! No room, no permission, and settings that make no sense.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::*;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions};
use treeferry_core::error::ErrorKind;
use treeferry_core::format::{ContentLayout, ObjectName, ObjectType};
use treeferry_core::store::{
    BatchOptions, ExpectedRef, Incoming, LockKind, ObjectSource, ObjectStore, Partial, Payload,
    RefAnswer, RefName, RefSpace, RefStore, RefUpdate, RefValue, RepoState,
};

fn file(content: Vec<u8>) -> Incoming {
    let length = content.len() as u64;
    Incoming::recorded_file(header(), length, Payload::Bytes(Bytes::from(content)))
}

fn write_config(repo: &Path, lines: &str) {
    let config = format!("[core]\nrepo_version=1\nmode=bare-user\n{lines}");
    std::fs::write(repo.join("config"), config).unwrap();
}

/// A small filesystem of its own, unmounted when it is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "treeferry-test"])
            .arg(dir.path())
            .status();
        assert!(mount.unwrap().success());
        Self(dir)
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0.path());
        // Busy while another test's child, between fork and exec, has our files open.
        let late = Instant::now() + Duration::from_secs(10);
        while !mount.status().unwrap().success() {
            assert!(Instant::now() < late, "it stays busy");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root to mount")]
async fn a_full_filesystem_is_an_error_and_leaves_no_part_of_an_object() {
    let mounted = Mounted::new("size=4m");
    let path = mounted.0.path().join("repo");
    create(&path, FsMode::BareUser).await;
    write_config(&path, "min-free-space-percent=0\n");
    let repo = open(&path).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let error = batch
        .put(vec![file(noise(6 << 20))])
        .await
        .remove(0)
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
    let put = batch
        .put(vec![file(noise(1 << 20))])
        .await
        .remove(0)
        .unwrap();
    batch.commit().await.unwrap();
    assert_eq!(all_objects(&repo).await, [put.name]);
    let left = std::fs::read_dir(path.join("tmp")).unwrap().count();
    assert_eq!(left, 1, "only tmp/cache");
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root to mount")]
async fn what_is_to_stay_free_is_not_written() {
    let mounted = Mounted::new("size=16m");
    let path = mounted.0.path().join("repo");
    create(&path, FsMode::BareUser).await;
    write_config(&path, "min-free-space-size=12MB\n");
    let repo = open(&path).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    batch
        .put(vec![file(noise(2 << 20))])
        .await
        .remove(0)
        .unwrap();
    let error = batch
        .put(vec![file(noise(3 << 20))])
        .await
        .remove(0)
        .unwrap_err();
    let ErrorKind::NoSpace {
        needed_bytes,
        available_bytes,
    } = error.kind()
    else {
        panic!("{error}");
    };
    assert_eq!(needed_bytes, Some(3 << 20));
    assert!(available_bytes.unwrap() < 2 << 20);
    assert!(error.to_string().contains("min-free-space"), "{error}");
}

#[tokio::test]
async fn a_length_beyond_all_disks_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::BareUser).await;
    let endless = Payload::Reader(Box::new(std::io::repeat(7)));
    let object = Incoming::recorded_file(header(), u64::MAX, endless);
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let error = batch.put(vec![object]).await.remove(0).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
    batch.commit().await.unwrap();
    assert!(all_objects(&repo).await.is_empty());
}

fn no_space(error: &treeferry_core::Error) -> bool {
    matches!(error.kind(), ErrorKind::NoSpace { .. })
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root to mount")]
async fn what_is_to_stay_free_is_not_downloaded_either() {
    let mounted = Mounted::new("size=16m");
    let path = mounted.0.path().join("repo");
    create(&path, FsMode::BareUser).await;
    write_config(&path, "min-free-space-size=12MB\n");
    let repo = open(&path).await;
    let scratch = repo.scratch().unwrap();
    let file = "objects/x".parse().unwrap();
    for announced in [8 << 20, u64::MAX] {
        let refused = scratch.create("origin", &file, None, Some(announced)).await;
        assert!(no_space(&refused.unwrap_err()));
    }
    let mut entry = scratch.create("origin", &file, None, None).await.unwrap();
    let chunk = Bytes::from(noise(2 << 20));
    entry.append(chunk.clone()).await.unwrap();
    assert!(no_space(&entry.append(chunk).await.unwrap_err()));
    assert_eq!(entry.received_bytes(), 2 << 20);
}

#[tokio::test]
async fn a_download_that_was_taken_over_takes_nothing_with_it_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::BareUser).await;
    let scratch = repo.scratch().unwrap();
    let place = dir.path().join("tmp/treeferry-scratch");
    let count = || std::fs::read_dir(&place).unwrap().count();
    let file = "objects/x".parse().unwrap();
    let first = scratch.create("origin", &file, None, None).await.unwrap();
    let part = std::fs::read_dir(&place).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        (path.extension()? == "part").then_some(path)
    });
    std::fs::rename(part.unwrap(), dir.path().join("taken")).unwrap();
    let mut second = scratch.create("origin", &file, None, None).await.unwrap();
    second
        .append(Bytes::from_static(b"begun anew"))
        .await
        .unwrap();
    first.discard().await.unwrap();
    drop(second);
    let taken = scratch.take("origin", &file).await.unwrap().unwrap();
    assert_eq!(taken.received_bytes(), 10);
    assert_eq!(count(), 2);
    taken.discard().await.unwrap();
    assert_eq!(count(), 0);
}

/// Makes a repository with a parent, and opens both.
async fn with_parent(dir: &Path) -> (FsRepo, FsRepo) {
    let (parent, child) = (dir.join("parent"), dir.join("child"));
    let opened = create(&parent, FsMode::BareUser).await;
    create(&child, FsMode::BareUser).await;
    write_config(&child, &format!("parent={}\n", parent.display()));
    (opened, open(&child).await)
}

#[tokio::test]
async fn a_ref_of_the_parent_is_not_said_to_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (parent, child) = with_parent(dir.path()).await;
    let commit = |text: &[u8]| RefValue::Commit(treeferry_core::format::Checksum::of(text));
    let theirs = set("x", Some(commit(b"theirs")));
    parent.update_refs(&[theirs]).await.unwrap();
    let error = child.update_refs(&[set("x", None)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("'x'"), "{error}");
    assert!(error.to_string().contains("parent"), "{error}");
    // Its own ref of that name can be deleted, and then the other shows again.
    let ours = set("x", Some(commit(b"ours")));
    child.update_refs(&[ours]).await.unwrap();
    let mut delete = set("x", None);
    delete.expected = ExpectedRef::Value(commit(b"ours"));
    let answers = child.update_refs(&[delete]).await.unwrap();
    assert_eq!(answers, [RefAnswer::Committed]);
    let found = child.read_ref(&local("x")).await.unwrap();
    assert_eq!(found, Some(commit(b"theirs")));
}

#[tokio::test]
async fn a_commit_that_is_partial_in_the_parent_is_partial_here() {
    let dir = tempfile::tempdir().unwrap();
    let (parent, child) = with_parent(dir.path()).await;
    let commit = treeferry_core::format::Checksum::of(b"commit");
    let mark = Some(Partial::Fetching);
    parent.write_partial(&commit, mark).await.unwrap();
    assert_eq!(child.read_partial(&commit).await.unwrap(), mark);
    // A commit of its own is what it is here.
    let own = ObjectName::commit(commit).loose_path(ContentLayout::Bare);
    let own = dir.path().join("child/objects").join(own);
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::write(own, b"commit").unwrap();
    assert_eq!(child.read_partial(&commit).await.unwrap(), None);
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root to mount")]
async fn a_read_only_repository_can_be_read_and_says_why_it_cannot_be_written() {
    let mounted = Mounted::new("size=16m");
    let path = mounted.0.path().join("repo");
    let repo = create(&path, FsMode::BareUser).await;
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let put = batch
        .put(vec![file(b"content".to_vec())])
        .await
        .remove(0)
        .unwrap();
    batch.commit().await.unwrap();
    drop(repo);
    mounted.remount("ro");
    let repo = open(&path).await;
    assert!(repo.fetch(&put.name).await.unwrap().is_some());
    assert_eq!(all_objects(&repo).await, [put.name]);
    assert!(repo.list_refs(&RefSpace::All).await.unwrap().is_empty());
    assert_eq!(repo.read_summary().await.unwrap(), None);
    for error in [
        repo.begin(BatchOptions::default()).await.unwrap_err(),
        repo.lock(LockKind::Exclusive).await.unwrap_err(),
        repo.update_refs(&[]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

async fn open_error(path: &Path) -> treeferry_core::Error {
    FsRepo::open(path, OpenOptions::default())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    assert_eq!(open_error(&path).await.kind(), ErrorKind::Missing);
    std::fs::create_dir(&path).unwrap();
    let error = open_error(&path).await;
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains("no config"), "{error}");
    create(&path, FsMode::Archive).await;
    for (config, kind, named) in [
        (
            "[core]\nrepo_version=2\nmode=bare\n",
            ErrorKind::Unsupported,
            "version '2'",
        ),
        (
            "[core]\nrepo_version=1\nmode=odd\n",
            ErrorKind::Unsupported,
            "mode 'odd'",
        ),
        (
            "[core]\nmode=bare\n",
            ErrorKind::Invalid,
            "core.repo_version",
        ),
        ("garbage\n", ErrorKind::Invalid, "cannot be read"),
    ] {
        std::fs::write(path.join("config"), config).unwrap();
        let error = open_error(&path).await;
        assert_eq!(error.kind(), kind, "{error}");
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(text.contains(named) && text.contains("repo"), "{text}");
    }
}

#[tokio::test]
async fn parents_in_a_circle_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), FsMode::BareUser).await;
    write_config(dir.path(), &format!("parent={}\n", dir.path().display()));
    assert_eq!(open_error(dir.path()).await.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn another_mode_than_asked_for_is_not_made_over() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), FsMode::BareUser).await;
    let made = FsRepo::create(dir.path(), FsMode::Archive, CreateOptions::default()).await;
    assert_eq!(made.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn split_attributes_are_written_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path(), FsMode::BareSplitXattrs).await;
    let repo = FsRepo::open(dir.path(), OpenOptions::default())
        .await
        .unwrap();
    let error = repo.begin(BatchOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

fn local(name: &str) -> RefName {
    RefName::Local(name.parse().unwrap())
}

fn set(name: &str, new: Option<RefValue>) -> RefUpdate {
    RefUpdate {
        name: local(name),
        expected: ExpectedRef::Any,
        new,
    }
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn c_reads_the_refs_and_aliases_that_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, path) = (dir.path().join("tree"), dir.path().join("repo"));
    std::fs::create_dir(&tree).unwrap();
    let repo = create(&path, FsMode::BareUser).await;
    let arg = format!("--repo={}", path.display());
    let commit = ostree(&[&arg, "commit", "-b", "x/y", tree.to_str().unwrap()]);
    let value = RefValue::Commit(commit.parse().unwrap());
    let updates = [
        set("a", Some(value.clone())),
        set("deep/er/name", Some(value.clone())),
        set("deep/alias", Some(RefValue::Alias(local("deep/er/name")))),
    ];
    let answers = repo.update_refs(&updates).await.unwrap();
    assert_eq!(answers, vec![RefAnswer::Committed; 3]);
    for name in ["a", "deep/er/name", "deep/alias", "x/y"] {
        assert_eq!(ostree(&[&arg, "rev-parse", name]), commit);
    }
    ostree(&[&arg, "refs", "-A", "--create=deep/er/other", "x/y"]);
    let found = repo.read_ref(&local("deep/er/other")).await.unwrap();
    assert_eq!(found, Some(RefValue::Alias(local("x/y"))));
    // `x` becomes a ref where C left its empty directory.
    ostree(&[&arg, "refs", "--delete", "deep/er/other"]);
    repo.update_refs(&[set("deep/alias", None)]).await.unwrap();
    ostree(&[&arg, "refs", "--delete", "x/y"]);
    repo.update_refs(&[set("x", Some(value))]).await.unwrap();
    assert_eq!(ostree(&[&arg, "rev-parse", "x"]), commit);
    ostree(&["fsck", &arg]);
}

#[tokio::test]
async fn a_ref_with_nonsense_in_it_is_named_and_can_be_set_again() {
    let dir = tempfile::tempdir().unwrap();
    let repo = create(dir.path(), FsMode::BareUser).await;
    let path = dir.path().join("refs/heads/odd");
    for nonsense in [&b"zz\n"[..], b"", b"\xff\xfe", &[b'a'; 10_000]] {
        std::fs::write(&path, nonsense).unwrap();
        let error = repo.read_ref(&local("odd")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("'odd'"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let error = repo.read_ref(&local("odd")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let commit = treeferry_core::format::Checksum::of(b"x");
    let value = RefValue::Commit(commit);
    repo.update_refs(&[set("odd", Some(value.clone()))])
        .await
        .unwrap();
    assert_eq!(repo.read_ref(&local("odd")).await.unwrap(), Some(value));
    assert_eq!(ObjectName::commit(commit).object_type, ObjectType::Commit);
}
