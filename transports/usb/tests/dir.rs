//! A directory as a place for files: what is put is there whole, under its own name, or not at all.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::transport::{
    FetchOptions, Fetched, Precondition, PutAnswer, PutBody, RemotePath, Resume, Transport,
    Validator, WritableTransport,
};
use treeferry_transport_usb::{DirOptions, DirTransport};

fn path(text: &str) -> RemotePath {
    RemotePath::new(text).unwrap()
}

async fn open(at: &Path) -> DirTransport {
    DirTransport::open(at, DirOptions::default()).await.unwrap()
}

async fn put(dir: &DirTransport, at: &str, bytes: &[u8]) -> Result<PutAnswer> {
    put_if(dir, at, bytes, Precondition::None).await
}

async fn put_if(
    dir: &DirTransport,
    at: &str,
    bytes: &[u8],
    precondition: Precondition,
) -> Result<PutAnswer> {
    let body = PutBody::Bytes(Bytes::copy_from_slice(bytes));
    dir.put(&path(at), precondition, body).await
}

async fn get(dir: &DirTransport, at: &str) -> Result<Option<(Vec<u8>, Validator)>> {
    let fetched = dir.fetch(&path(at), FetchOptions::default()).await?;
    let Some(Fetched::File(file)) = fetched else {
        return Ok(None);
    };
    let validator = file.validator.clone().unwrap();
    let chunks: Vec<Bytes> = file.bytes.try_collect().await?;
    Ok(Some((chunks.concat(), validator)))
}

async fn listed(dir: &DirTransport, prefix: &str) -> Vec<(String, u64)> {
    let files: Vec<_> = dir.list(prefix).try_collect().await.unwrap();
    let mut files: Vec<_> = files
        .into_iter()
        .map(|file| (file.path.to_string(), file.bytes))
        .collect();
    files.sort();
    files
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_fetched_listed_and_deleted() {
    let place = tempfile::tempdir().unwrap();
    let (dir, other) = (open(place.path()).await, open(place.path()).await);
    assert!(get(&dir, "a/b").await.unwrap().is_none());
    put(&dir, "a/b", b"one").await.unwrap();
    put(&dir, "a/c/d", b"three").await.unwrap();
    put(&dir, "a/b", b"four").await.unwrap();
    assert_eq!(get(&other, "a/b").await.unwrap().unwrap().0, b"four");
    let all = [("a/b".to_owned(), 4), ("a/c/d".to_owned(), 5)];
    assert_eq!(listed(&other, "").await, all);
    assert_eq!(listed(&other, "a/c/").await, all[1..]);
    assert_eq!(listed(&other, "no/").await, []);
    dir.delete(&[path("a/b"), path("a/no")]).await.unwrap();
    assert_eq!(listed(&other, "").await, all[1..]);
    // What lies below a file is not there, and a file is not put below one.
    assert!(get(&dir, "a/c/d/e").await.unwrap().is_none());
    let error = put(&dir, "a/c/d/e", b"x").await.unwrap_err();
    assert!(error.to_string().contains("stands in the way"), "{error}");
    // An empty directory is no obstacle, another is.
    let error = put(&dir, "a/c", b"x").await.unwrap_err();
    assert!(error.to_string().contains("stands in the way"), "{error}");
    dir.delete(&[path("a/c/d")]).await.unwrap();
    put(&dir, "a/c", b"x").await.unwrap();
    drop((dir, other));
    assert_eq!(entries(&place.path().join(".treeferry/dir")), ["lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_file_comes_in_pieces_and_from_any_byte() {
    let place = tempfile::tempdir().unwrap();
    let dir = open(place.path()).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let chunks: Vec<_> = bytes.chunks(70_001).map(Bytes::copy_from_slice).collect();
    let body = |chunks: Vec<Bytes>| PutBody::Stream {
        total_bytes: bytes.len() as u64,
        bytes: stream::iter(chunks.into_iter().map(Ok)).boxed(),
    };
    let at = path("long");
    dir.put(&at, Precondition::None, body(chunks.clone()))
        .await
        .unwrap();
    let (found, validator) = get(&dir, "long").await.unwrap().unwrap();
    assert!(found == bytes);
    let options = FetchOptions {
        resume: Some(Resume {
            offset: 5_000_003,
            validator: validator.clone(),
        }),
        ..FetchOptions::default()
    };
    let Some(Fetched::File(rest)) = dir.fetch(&at, options).await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!(rest.offset, 5_000_003);
    let rest: Vec<Bytes> = rest.bytes.try_collect().await.unwrap();
    assert!(rest.concat() == bytes[5_000_003..]);
    let unless = FetchOptions {
        unless: Some(validator),
        ..FetchOptions::default()
    };
    let fetched = dir.fetch(&at, unless).await.unwrap();
    assert!(matches!(fetched, Some(Fetched::NotModified)));
    let limited = FetchOptions {
        bytes_max: Some(1000),
        ..FetchOptions::default()
    };
    let error = dir.fetch(&at, limited).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);

    // A stream that ends early, or in an error, changes nothing and leaves nothing.
    let short = body(chunks[..3].to_vec());
    assert!(dir.put(&at, Precondition::None, short).await.is_err());
    let mut broken: Vec<Result<Bytes>> = chunks[..9].iter().cloned().map(Ok).collect();
    broken.push(Err(Error::corrupt("broken on purpose")));
    let broken = PutBody::Stream {
        total_bytes: bytes.len() as u64,
        bytes: stream::iter(broken).boxed(),
    };
    let error = dir.put(&at, Precondition::None, broken).await.unwrap_err();
    assert!(error.to_string().contains("broken on purpose"), "{error}");
    assert!(get(&dir, "long").await.unwrap().unwrap().0 == bytes);
    let work = place.path().join(".treeferry/dir");
    let ours = entries(&work).into_iter().find(|name| name != "lock");
    // Directories for files on their way, and nothing in them.
    let ours = work.join(ours.unwrap());
    for below in entries(&ours) {
        assert_eq!(entries(&ours.join(below)), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_compare_and_put_each_wins_once() {
    let place = tempfile::tempdir().unwrap();
    let dir = open(place.path()).await;
    put(&dir, "n", b"0").await.unwrap();
    let writers = (0..4).map(|_| async {
        // Each as a process of its own would have it.
        let dir = open(place.path()).await;
        let mut won = 0;
        while won < 25 {
            let (bytes, validator) = get(&dir, "n").await.unwrap().unwrap();
            let number: u64 = String::from_utf8(bytes).unwrap().parse().unwrap();
            let next = (number + 1).to_string();
            let unchanged = Precondition::Unchanged(validator);
            match put_if(&dir, "n", next.as_bytes(), unchanged).await.unwrap() {
                PutAnswer::Done { .. } => won += 1,
                PutAnswer::Conflict => {}
            }
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(get(&dir, "n").await.unwrap().unwrap().0, b"100");
    let absent = put_if(&dir, "n", b"x", Precondition::Absent).await.unwrap();
    assert_eq!(absent, PutAnswer::Conflict);
    let PutAnswer::Done { validator } = put(&dir, "m", b"m").await.unwrap() else {
        panic!("there was no condition")
    };
    assert_eq!(get(&dir, "m").await.unwrap().unwrap().1, validator.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn gathered_files_are_seen_here_and_named_before_what_names_them() {
    let place = tempfile::tempdir().unwrap();
    let (at, object) = (place.path(), "objects/ab/cd.filez");
    let mut options = DirOptions::repository();
    options.gathered_files_max = 3;
    let dir = DirTransport::open(at, options).await.unwrap();
    put(&dir, object, b"content").await.unwrap();
    assert!(!at.join(object).exists(), "not synced, and so not named");
    assert_eq!(get(&dir, object).await.unwrap().unwrap().0, b"content");
    assert_eq!(listed(&dir, "objects/ab/").await, [(object.to_owned(), 7)]);
    put(&dir, "refs/heads/os", b"x").await.unwrap();
    assert!(at.join(object).exists());
    assert_eq!(listed(&dir, "objects/").await, [(object.to_owned(), 7)]);
    // Enough of them are named without being asked for.
    for name in ["a", "b", "c"] {
        assert!(!at.join("objects/00/a.dirtree").exists());
        put(&dir, &format!("objects/00/{name}.dirtree"), b"x")
            .await
            .unwrap();
    }
    assert!(at.join("objects/00/a.dirtree").exists());
    put(&dir, "objects/00/d.dirmeta", b"x").await.unwrap();
    dir.flush().await.unwrap();
    assert!(at.join("objects/00/d.dirmeta").exists());
    // What nobody waited for goes with the handle.
    put(&dir, "objects/00/e.dirmeta", b"x").await.unwrap();
    drop(dir);
    assert!(!at.join("objects/00/e.dirmeta").exists());
    assert_eq!(entries(&at.join(".treeferry/dir")), ["lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_writers_left_is_removed_and_what_living_ones_have_is_not() {
    let place = tempfile::tempdir().unwrap();
    let work = place.path().join(".treeferry/dir");
    fs::create_dir_all(work.join("4711-0")).unwrap();
    fs::write(work.join("4711-0/17"), "half a file").unwrap();
    let living = DirTransport::open(place.path(), DirOptions::repository())
        .await
        .unwrap();
    put(&living, "objects/ab/cd.filez", b"x").await.unwrap();
    assert!(!work.join("4711-0").exists());
    let other = open(place.path()).await;
    put(&other, "a", b"a").await.unwrap();
    living.flush().await.unwrap();
    assert!(get(&other, "objects/ab/cd.filez").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_symbolic_link_is_followed_in_or_out() {
    let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), place.path().join("out")).unwrap();
    symlink(outside.path().join("secret"), place.path().join("file")).unwrap();
    fs::create_dir(place.path().join("dir")).unwrap();
    symlink("dir", place.path().join("in")).unwrap();
    let dir = open(place.path()).await;
    for bad in ["out/secret", "file", "in/x"] {
        let error = get(&dir, bad).await.unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    for bad in ["out/new", "in/new"] {
        let error = put(&dir, bad, b"x").await.unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    // A link in the place of a file is replaced, not written through.
    put(&dir, "file", b"ours").await.unwrap();
    let secret = fs::read(outside.path().join("secret")).unwrap();
    assert_eq!(secret, b"secret");
    assert_eq!(entries(outside.path()), ["secret"]);
    assert_eq!(entries(&place.path().join("dir")), [""; 0]);
    assert_eq!(listed(&dir, "").await, [("file".to_owned(), 4)]);
    assert!(get(&dir, "dir").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_our_own_that_leads_out_is_refused() {
    let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), place.path().join(".treeferry")).unwrap();
    let dir = open(place.path()).await;
    assert!(put(&dir, "a", b"a").await.is_err());
    assert_eq!(entries(outside.path()), [""; 0]);
}
