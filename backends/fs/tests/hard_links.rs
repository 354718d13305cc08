//! Hard links to objects are only believed while they lead to the object.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use common::*;
use treeferry_backend_fs::{FsMode, FsRepo};
use treeferry_core::format::{Checksum, ContentLayout, ObjectName};
use treeferry_core::ops::commit::{CommitOptions, CommitReport, HardLinks, TreeInput, commit};
use treeferry_core::repo::{Repo, TreeEntry};
use treeferry_core::store::{LockKind, ObjectStore};

async fn record(repo: &Repo, tree: &Path, hard_links: HardLinks) -> CommitReport {
    let mut options = CommitOptions::default();
    options.trees = vec![TreeInput::Dir(tree.to_owned())];
    options.hard_links = hard_links;
    commit(repo, options).await.unwrap()
}

async fn file_of(repo: &Repo, report: &CommitReport) -> Checksum {
    match repo.find_path(report.root, "/file").await.unwrap() {
        Some(TreeEntry::File(file)) => file,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_inode_that_is_no_objects_any_more_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let store: Arc<FsRepo> = Arc::new(create(&path, FsMode::BareUserOnly).await);
    let repo = Repo::new(Arc::clone(&store));
    let (first, linked) = (dir.path().join("first"), dir.path().join("linked"));
    for tree in [&first, &linked] {
        std::fs::create_dir(tree).unwrap();
    }
    std::fs::write(first.join("file"), "as it was").unwrap();
    let report = record(&repo, &first, HardLinks::Read).await;
    let old = file_of(&repo, &report).await;
    let name = ObjectName::file(old);
    let object = path
        .join("objects")
        .join(name.loose_path(ContentLayout::Bare));
    let link = linked.join("file");
    std::fs::hard_link(&object, &link).unwrap();
    // Whoever looked at the inodes once remembers this one.
    let report = record(&repo, &linked, HardLinks::Trust).await;
    assert_eq!(report.stats.content_cache_hits, 1);
    assert_eq!(file_of(&repo, &report).await, old);

    // The object is deleted and made anew; its former inode becomes another file.
    let lock = store.lock(LockKind::Exclusive).await.unwrap();
    store.delete(&lock, &[name]).await.unwrap();
    drop(lock);
    std::fs::write(&link, "another file").unwrap();
    for object_is_back in [false, true] {
        if object_is_back {
            record(&repo, &first, HardLinks::Read).await;
            let inodes = [&object, &link].map(|path| path.metadata().unwrap().ino());
            assert_ne!(inodes[0], inodes[1]);
        }
        for hard_links in [HardLinks::Trust, HardLinks::Recognise] {
            let report = record(&repo, &linked, hard_links).await;
            assert_ne!(file_of(&repo, &report).await, old);
            assert_eq!(report.stats.content_cache_hits, 0);
        }
    }
}
