//! No room, no permission, and settings that make no sense.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use common::*;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions};
use treeferry_core::error::ErrorKind;
use treeferry_core::format::{FileHeader, ObjectName, ObjectType, Xattrs};
use treeferry_core::store::{
    BatchOptions, ExpectedRef, Incoming, LockKind, ObjectSource, ObjectStore, Payload, RefAnswer,
    RefName, RefSpace, RefStore, RefUpdate, RefValue,
};

fn header() -> FileHeader {
    FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink_target: Box::default(),
        xattrs: Xattrs::default(),
    }
}

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
        let mount = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0.path())
            .status();
        assert!(mount.unwrap().success());
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
    use treeferry_core::store::RepoState;
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
