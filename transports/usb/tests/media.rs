//! The same on FAT, exFAT and ext4, each behind its real driver.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "support/media.rs"]
mod media;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use media::{Kind, Medium};
use treeferry_core::error::{ErrorKind, Result};
use treeferry_core::transport::{
    FetchOptions, Fetched, Precondition, PutAnswer, PutBody, RemotePath, Transport, Validator,
    WritableTransport,
};
use treeferry_transport_usb::{DirOptions, DirTransport, FileLimit, Volume};

fn path(text: &str) -> RemotePath {
    RemotePath::new(text).unwrap()
}

async fn open(medium: &Medium) -> DirTransport {
    let opened = DirTransport::open(medium.path(), DirOptions::repository()).await;
    opened.unwrap()
}

async fn put_if(
    dir: &DirTransport,
    at: &str,
    bytes: Vec<u8>,
    precondition: Precondition,
) -> Result<PutAnswer> {
    dir.put(&path(at), precondition, PutBody::Bytes(bytes.into()))
        .await
}

async fn put(dir: &DirTransport, at: &str, bytes: Vec<u8>) -> Result<PutAnswer> {
    put_if(dir, at, bytes, Precondition::None).await
}

async fn get(dir: &DirTransport, at: &str) -> Option<(Vec<u8>, Validator)> {
    let fetched = dir.fetch(&path(at), FetchOptions::default()).await;
    let Some(Fetched::File(file)) = fetched.unwrap() else {
        return None;
    };
    let validator = file.validator.clone().unwrap();
    let chunks: Vec<Bytes> = file.bytes.try_collect().await.unwrap();
    Some((chunks.concat(), validator))
}

/// Returns the path and the bytes of a made-up object.
fn object(number: usize) -> (String, Vec<u8>) {
    let hex = format!("{number:064x}");
    let (first, rest) = hex.split_at(62);
    let bytes = format!("{number} ").repeat(300 + number % 700);
    (format!("objects/{rest}/{first}.filez"), bytes.into_bytes())
}

async fn files_come_and_go(kind: Kind) {
    let mut medium = Medium::new(kind, 100);
    let dir = open(&medium).await;
    for number in 0..150 {
        let (at, bytes) = object(number);
        put(&dir, &at, bytes).await.unwrap();
    }
    let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let body = PutBody::Stream {
        total_bytes: long.len() as u64,
        bytes: stream::iter([Ok(Bytes::from(long.clone()))]).boxed(),
    };
    dir.put(&path("objects/ff/long.filez"), Precondition::None, body)
        .await
        .unwrap();
    let name = "refs/heads/os/stable";
    let absent = Precondition::Absent;
    put_if(&dir, name, b"1".to_vec(), absent.clone())
        .await
        .unwrap();
    let lost = put_if(&dir, name, b"2".to_vec(), absent).await.unwrap();
    assert_eq!(lost, PutAnswer::Conflict);
    let (_, first) = get(&dir, name).await.unwrap();
    let unchanged = Precondition::Unchanged(first);
    let won = put_if(&dir, name, b"2".to_vec(), unchanged.clone()).await;
    assert!(matches!(won.unwrap(), PutAnswer::Done { .. }));
    let lost = put_if(&dir, name, b"3".to_vec(), unchanged).await.unwrap();
    assert_eq!(lost, PutAnswer::Conflict);
    drop(dir);
    medium.unmount();
    medium.mount();
    let dir = open(&medium).await;
    assert_eq!(get(&dir, name).await.unwrap().0, b"2");
    for number in 0..150 {
        let (at, bytes) = object(number);
        assert_eq!(get(&dir, &at).await.unwrap().0, bytes);
    }
    assert!(get(&dir, "objects/ff/long.filez").await.unwrap().0 == long);
    let listed: Vec<_> = dir.list("objects/").try_collect().await.unwrap();
    assert_eq!(listed.len(), 151);
    let all: Vec<_> = listed.into_iter().map(|file| file.path).collect();
    dir.delete(&all).await.unwrap();
    let listed: Vec<_> = dir.list("objects/").try_collect().await.unwrap();
    assert_eq!(listed, []);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_fat), ignore = "needs root, /dev/fuse, fusefat and mkfs.vfat")]
async fn files_come_and_go_on_fat() {
    files_come_and_go(Kind::Fat).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, /dev/fuse, exfat-fuse and mkfs.exfat"
)]
async fn files_come_and_go_on_exfat() {
    files_come_and_go(Kind::Exfat).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_loop), ignore = "needs root, loop devices and mkfs.ext4")]
async fn files_come_and_go_on_ext4() {
    files_come_and_go(Kind::Ext4).await;
}

/// Names that the filesystem takes for others, or cannot hold.
async fn names_are_exact(kind: Kind) {
    let medium = Medium::new(kind, 50);
    let dir = open(&medium).await;
    put(&dir, "refs/heads/os/Stable", b"1".to_vec())
        .await
        .unwrap();
    let error = put(&dir, "refs/heads/os/stable", b"2".to_vec()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("'stable' differs only in case"), "{error}");
    let error = put(&dir, "refs/heads/OS/other", b"2".to_vec()).await;
    assert!(error.unwrap_err().to_string().contains("only in case"));
    assert_eq!(get(&dir, "refs/heads/os/stable").await, None);
    assert_eq!(get(&dir, "refs/heads/OS/Stable").await, None);
    assert_eq!(get(&dir, "refs/heads/os/Stable").await.unwrap().0, b"1");
    // Nor is it deleted by that name.
    dir.delete(&[path("refs/heads/os/stable")]).await.unwrap();
    assert_eq!(get(&dir, "refs/heads/os/Stable").await.unwrap().0, b"1");
    for (bad, word) in [("refs/a:b", "':'"), ("refs/a.", "dot"), ("a?/b", "'?'")] {
        let error = put(&dir, bad, b"x".to_vec()).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let listed: Vec<_> = dir.list("").try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_fat), ignore = "needs root, /dev/fuse, fusefat and mkfs.vfat")]
async fn names_are_exact_on_fat() {
    names_are_exact(Kind::Fat).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, /dev/fuse, exfat-fuse and mkfs.exfat"
)]
async fn names_are_exact_on_exfat() {
    names_are_exact(Kind::Exfat).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(all(has_fat, has_exfat)),
    ignore = "needs root, /dev/fuse, fusefat and exfat-fuse"
)]
async fn a_file_that_is_too_long_for_fat_is_refused_before_it_is_asked_for() {
    let (fat, exfat) = (Medium::new(Kind::Fat, 50), Medium::new(Kind::Exfat, 50));
    let limit = u64::from(u32::MAX);
    let of = |medium: &Medium| Volume::of_path(medium.path()).unwrap().file_limit();
    assert_eq!(of(&fat), FileLimit::Bytes(limit));
    assert_eq!(of(&exfat), FileLimit::None);
    let dir = open(&fat).await;
    let body = PutBody::Stream {
        total_bytes: limit + 1,
        bytes: stream::poll_fn(|_| panic!("nothing of it is read")).boxed(),
    };
    let at = path("objects/ab/cd.filez");
    let error = dir.put(&at, Precondition::None, body).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("exFAT") && text.contains("cd.filez"),
        "{text}"
    );
    assert!(!fat.path().join(".treeferry").exists());
}

/// The driver is killed while files are being put: what has a name is whole, now and then.
async fn pulled_out(kind: Kind) {
    let mut medium = Medium::new(kind, 100);
    let mut options = DirOptions::repository();
    options.gathered_files_max = 40;
    let dir = DirTransport::open(medium.path(), options.clone())
        .await
        .unwrap();
    put(&dir, "refs/heads/os", b"before".to_vec())
        .await
        .unwrap();
    let mut durable = 0;
    for number in 0..190 {
        let (at, bytes) = object(number);
        put(&dir, &at, bytes).await.unwrap();
        if number == 99 {
            put(&dir, "objects/00/of-100.commit", b"c".to_vec())
                .await
                .unwrap();
            durable = 100;
        }
    }
    medium.pull_out();
    // The next one says so, and that it may work again.
    let error = put(&dir, "refs/heads/os", b"after".to_vec()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error:?}"
    );
    drop(dir);
    medium.repair();
    medium.mount();
    let dir = DirTransport::open(medium.path(), options).await.unwrap();
    assert_eq!(get(&dir, "refs/heads/os").await.unwrap().0, b"before");
    for number in 0..190 {
        let (at, bytes) = object(number);
        match get(&dir, &at).await {
            Some((found, _)) => assert!(found == bytes, "{number} is not whole"),
            None => assert!(number >= durable, "{number} was durable"),
        }
        put(&dir, &at, bytes).await.unwrap();
    }
    put(&dir, "refs/heads/os", b"after".to_vec()).await.unwrap();
    for number in 0..190 {
        let (at, bytes) = object(number);
        assert!(get(&dir, &at).await.unwrap().0 == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_fat), ignore = "needs root, /dev/fuse, fusefat and mkfs.vfat")]
async fn pulled_out_of_fat_nothing_half_has_a_name() {
    pulled_out(Kind::Fat).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, /dev/fuse, exfat-fuse and mkfs.exfat"
)]
async fn pulled_out_of_exfat_nothing_half_has_a_name() {
    pulled_out(Kind::Exfat).await;
}
