//! What is kept on the caller's word: only what was asked for, and only by the store that may.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use treeferry_backend_fs::{FsMode, FsRepo};
use treeferry_core::error::ErrorKind;
use treeferry_core::format::{ContentLayout, ObjectName};
use treeferry_core::store::{
    Body, Incoming, LocalFile, MemoryOptions, MemoryStore, ObjectSource, Payload, Takeover,
};

async fn record(repo: &FsRepo, length: usize) -> ObjectName {
    let content = Payload::Bytes(noise(length).into());
    let object = Incoming::recorded_file(header(), length as u64, content);
    put_one(repo, object).await.unwrap().name
}

/// A directory, an empty archive in it, and what another archive has of a file of that length.
async fn archived(length: usize) -> (tempfile::TempDir, FsRepo, ObjectName, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let source = create(&from, FsMode::Archive).await;
    let name = record(&source, length).await;
    let bytes = std::fs::read(object_path(&from, &name, ContentLayout::Archive)).unwrap();
    let repo = create(&to, FsMode::Archive).await;
    (dir, repo, name, bytes)
}

/// The bytes at hand, or as the file of a download.
fn shapes(dir: &Path, bytes: &[u8]) -> [Payload; 2] {
    let file = dir.join("downloaded");
    std::fs::write(&file, bytes).unwrap();
    let dir = OwnedFd::from(std::fs::File::open(dir).unwrap());
    let name = CString::new("downloaded").unwrap();
    [
        Payload::Bytes(Bytes::copy_from_slice(bytes)),
        Payload::Local(LocalFile::new(Arc::new(dir), name, Takeover::Rename)),
    ]
}

fn sent(name: ObjectName, stored_bytes: usize, payload: Payload) -> Incoming {
    let body = Body::Filez {
        stored_bytes: Some(stored_bytes as u64),
        payload,
    };
    Incoming::named(name, body)
}

fn with_a_bit_flipped(bytes: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    damaged
}

#[tokio::test]
async fn the_filez_of_a_mirror_is_kept_as_it_came() {
    for shape in 0..2 {
        let (dir, repo, name, bytes) = archived(10_000).await;
        let bytes = with_a_bit_flipped(&bytes);
        let payload = shapes(dir.path(), &bytes).into_iter().nth(shape).unwrap();
        let object = sent(name, bytes.len(), payload).vouched_mirror();
        let put = put_one(&repo, object).await.unwrap();
        assert_eq!((put.name, put.stored_bytes), (name, bytes.len() as u64));
        assert_eq!(put.unpacked_bytes, 10_000);
        let object = object_path(&dir.path().join("to"), &name, ContentLayout::Archive);
        assert_eq!(std::fs::read(&object).unwrap(), bytes);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&object).unwrap().permissions(),
        );
        assert_eq!(mode & 0o7777, 0o644);
        // Nobody who reads it takes it for what it is not.
        let body = repo.fetch(&name).await.unwrap().unwrap();
        let other = create(&dir.path().join("other"), FsMode::BareUser).await;
        let refused = put_one(&other, Incoming::named(name, body)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn what_nobody_vouches_for_is_verified_and_so_is_what_has_to_meet_a_rule() {
    for shape in 0..2 {
        let (dir, repo, name, bytes) = archived(10_000).await;
        let bytes = with_a_bit_flipped(&bytes);
        let sent = || {
            let payload = shapes(dir.path(), &bytes).into_iter().nth(shape).unwrap();
            sent(name, bytes.len(), payload)
        };
        let with_a_rule = sent().vouched_mirror().check_header(|_| Ok(()));
        // Vouched for as what may be linked, which a download is not.
        for object in [sent(), with_a_rule, sent().vouched()] {
            let refused = put_one(&repo, object).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert!(all_objects(&repo).await.is_empty());
    }
}

#[tokio::test]
async fn a_store_that_is_no_archive_in_a_directory_verifies_whatever_was_said() {
    let (dir, _, name, bytes) = archived(10_000).await;
    let bytes = with_a_bit_flipped(&bytes);
    for shape in 0..2 {
        let sent = || {
            let payload = shapes(dir.path(), &bytes).into_iter().nth(shape).unwrap();
            sent(name, bytes.len(), payload).vouched_mirror()
        };
        for mode in [FsMode::BareUser, FsMode::BareUserOnly] {
            let repo = create(&dir.path().join(format!("{mode}-{shape}")), mode).await;
            let refused = put_one(&repo, sent()).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let memory = MemoryStore::new(MemoryOptions::default());
        let refused = put_one(&memory, sent()).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn what_did_not_arrive_whole_or_begins_as_no_file_does_is_refused() {
    for shape in 0..2 {
        let (dir, repo, name, bytes) = archived(10_000).await;
        let mut no_header = bytes.clone();
        no_header[..4].fill(0xff);
        let half = bytes[..bytes.len() / 2].to_vec();
        let far_too_long = [bytes.clone(), vec![0; 20_000]].concat();
        // As long as it says, and much longer than content of that length can be.
        let long = far_too_long.len();
        let cases = [
            (half.clone(), bytes.len()),
            (no_header, bytes.len()),
            (bytes[..6].to_vec(), 6),
            (far_too_long, long),
        ];
        for (case, announced) in cases {
            let payload = shapes(dir.path(), &case).into_iter().nth(shape).unwrap();
            let object = sent(name, announced, payload).vouched_mirror();
            let error = put_one(&repo, object).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        assert!(all_objects(&repo).await.is_empty());
        // As long as nobody said how long it is, nothing says that it is whole.
        let payload = shapes(dir.path(), &half).into_iter().nth(shape).unwrap();
        let body = Body::Filez {
            stored_bytes: None,
            payload,
        };
        let object = Incoming::named(name, body).vouched_mirror();
        let error = put_one(&repo, object).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn what_is_copied_of_another_repository_counts_as_what_it_is_named_if_that_is_vouched_for() {
    for (theirs, ours) in [
        (FsMode::BareUser, FsMode::Archive),
        (FsMode::BareUser, FsMode::BareUserOnly),
        (FsMode::BareUserOnly, FsMode::BareUser),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let from_path = dir.path().join("from");
        let from = create(&from_path, theirs).await;
        let name = record(&from, 300_000).await;
        let object = object_path(&from_path, &name, ContentLayout::Bare);
        let damaged = with_a_bit_flipped(&std::fs::read(&object).unwrap());
        std::fs::write(&object, &damaged).unwrap();
        let lent = || async { Incoming::named(name, from.fetch(&name).await.unwrap().unwrap()) };
        let to = create(&dir.path().join("to"), ours).await;
        let refused = put_one(&to, lent().await).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt, "{ours}");
        // Bytes of anywhere else are not of a repository in a directory.
        let elsewhere = Body::File {
            header: header(),
            content_bytes: damaged.len() as u64,
            content: Payload::Bytes(damaged.clone().into()),
        };
        let refused = put_one(&to, Incoming::named(name, elsewhere).vouched()).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt, "{ours}");
        let put = put_one(&to, lent().await.vouched()).await.unwrap();
        assert_eq!(put.name, name);
        // Any other kind of store reads what it gets.
        let memory = MemoryStore::new(MemoryOptions::default());
        let refused = put_one(&memory, lent().await.vouched()).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
