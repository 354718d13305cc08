//! What the tests against the C `ostree` share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part; a panic is a failed test"
)]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::TryStreamExt;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions, SplitXattrs};
use treeferry_core::format::{Checksum, ContentLayout, FileHeader, ObjectName, ObjectType, Xattrs};
use treeferry_core::store::{BatchOptions, Incoming, ObjectSource, ObjectStore, Put};

/// Runs the C `ostree` and returns what it printed.
pub fn ostree(args: &[&str]) -> String {
    let output = Command::new("ostree").args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ostree {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs the C `ostree` and returns whether it succeeded, and all it printed.
pub fn try_ostree(args: &[&str]) -> (bool, String) {
    let output = Command::new("ostree").args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Makes a tree of everything that is odd but allowed.
pub fn odd_tree(dir: &Path) {
    let file = |name: &str, content: &[u8], mode: u32| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(dir.join("sub/deep/empty")).unwrap();
    file("plain", b"plain\n", 0o644);
    file("empty", b"", 0o600);
    file("setuid", b"#!/bin/sh\n", 0o4755);
    file("setgid", b"#!/bin/sh\n#\n", 0o2755);
    file("unreadable", b"nobody may read this", 0o000);
    file("everybody", b"everybody may write this", 0o666);
    file("sub/large", &noise(700_000), 0o755);
    file("sub/zeros", &vec![0; 3_000_000], 0o644);
    file(&"n".repeat(255), b"a long name", 0o444);
    file("sub/grün-日本語", "ümlaut".as_bytes(), 0o640);
    file("with-xattrs", b"attributes", 0o644);
    symlink("/nowhere/at/all", dir.join("dangling")).unwrap();
    symlink("plain", dir.join("sub/link")).unwrap();
    symlink("x".repeat(4000), dir.join("sub/deep/long-link")).unwrap();
}

/// Adds what only root can make: owners, and attributes of the system.
pub fn add_root_oddities(dir: &Path) {
    use rustix::fs::XattrFlags;
    let path = dir.join("with-xattrs");
    let set = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
    };
    set("user.small", b"value");
    set("user.empty", b"");
    set("user.big", &noise(2000));
    set(
        "security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    std::os::unix::fs::chown(&path, Some(5), Some(7)).unwrap();
    std::os::unix::fs::lchown(dir.join("dangling"), Some(11), Some(13)).unwrap();
    std::os::unix::fs::chown(dir.join("sub/large"), Some(4_000_000), Some(4_000_000)).unwrap();
}

/// Returns bytes that do not compress, the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub async fn open(path: &Path) -> FsRepo {
    let options = OpenOptions {
        split_xattrs: SplitXattrs::Writable,
        ..OpenOptions::default()
    };
    FsRepo::open(path, options).await.unwrap()
}

/// Opens one that does not wait for locks.
pub async fn open_impatient(path: &Path) -> FsRepo {
    let options = OpenOptions {
        lock_timeout: Some(Duration::ZERO),
        ..OpenOptions::default()
    };
    FsRepo::open(path, options).await.unwrap()
}

pub async fn create(path: &Path, mode: FsMode) -> FsRepo {
    let open = OpenOptions {
        split_xattrs: SplitXattrs::Writable,
        ..OpenOptions::default()
    };
    let options = CreateOptions {
        open,
        ..CreateOptions::default()
    };
    FsRepo::create(path, mode, options).await.unwrap()
}

/// Returns the header of a file of root's that others may not read.
pub fn header() -> FileHeader {
    FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_640,
        symlink_target: Box::default(),
        xattrs: Xattrs::default(),
    }
}

/// Puts one object in a batch of its own, which is committed whatever became of it.
pub async fn put_one(repo: &impl ObjectStore, object: Incoming) -> treeferry_core::Result<Put> {
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let put = batch.put(vec![object]).await.remove(0);
    batch.commit().await.unwrap();
    put
}

/// Returns where an object lies in a repository.
pub fn object_path(repo: &Path, name: &ObjectName, layout: ContentLayout) -> PathBuf {
    repo.join("objects").join(name.loose_path(layout))
}

/// Returns the names of staging directories, and of their locks.
pub fn staging_dirs(repo: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(repo.join("tmp")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("staging-")).collect()
}

/// Returns all objects of a repository, children before parents.
pub async fn all_objects(repo: &FsRepo) -> Vec<ObjectName> {
    let mut names = Vec::new();
    for object_type in ObjectType::ALL {
        let listed: Vec<_> = repo.list(object_type).try_collect().await.unwrap();
        names.extend(listed.into_iter().map(|l| l.name));
    }
    names
}

/// Copies objects through the traits; attributes kept apart are made anew by who keeps them so.
pub async fn copy_all(from: &FsRepo, to: &FsRepo) -> Vec<Put> {
    let names = all_objects(from).await;
    let batch = to.begin(BatchOptions::default()).await.unwrap();
    let mut objects = Vec::new();
    for name in names {
        if name.object_type != ObjectType::FileXattrs {
            let body = from.fetch(&name).await.unwrap().unwrap();
            objects.push(Incoming::named(name, body));
        }
    }
    let puts = batch
        .put(objects)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>();
    batch.commit().await.unwrap();
    puts.unwrap()
}

pub fn set_c_ref(repo: &Path, name: &str, commit: &Checksum) {
    let path = repo.join("refs/heads").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{commit}\n")).unwrap();
}

/// What can be seen of a node from outside.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds of the time of content; that of all else is when it was written.
    pub time: Option<i64>,
    pub xattrs: Vec<(String, Vec<u8>)>,
    pub content: Vec<u8>,
}

/// Looks at all below `objects/`.
pub fn look_at_objects(repo: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let objects = repo.join("objects");
    for fanout in std::fs::read_dir(&objects).unwrap() {
        for entry in std::fs::read_dir(fanout.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(&objects).unwrap().to_owned();
            seen.insert(relative, look_at(&path));
        }
    }
    seen
}

fn look_at(path: &Path) -> Seen {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let content = match meta.is_symlink() {
        true => std::fs::read_link(path)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec(),
        false => std::fs::read(path).unwrap(),
    };
    let is_content = path.extension().is_some_and(|e| e == "file") && !meta.is_symlink();
    let mut list = vec![0; 4096];
    let listed = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..listed].split(|b| *b == 0).filter(|n| !n.is_empty());
    let mut xattrs: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    xattrs.sort();
    Seen {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        time: is_content.then_some(meta.mtime()),
        xattrs,
        content,
    }
}
