//! The lock among handles, and staging directories of dead writers.
//!
//! No test here starts a process: between fork and exec it would hold the locks of the others.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
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
    // Without the configuration it would be 300 s.
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(60));
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
