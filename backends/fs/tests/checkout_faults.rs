//! Checkout where something is damaged, missing, in the way or elsewhere.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use common::*;
use treeferry_backend_fs::FsMode;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::ops::checkout::{
    CheckoutItem, CheckoutMode, CheckoutOptions, CheckoutReport, Destination, Labels, Overwrite,
    PassthroughWhiteouts, Sharing, checkout,
};
use treeferry_core::repo::Repo;

struct Place {
    dir: tempfile::TempDir,
    repo: Repo,
}

fn write(path: PathBuf, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

impl Place {
    /// Makes a repository with the C `ostree`, with one commit of what `fill` makes.
    async fn new(mode: FsMode, fill: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fill(&tree);
        let path = dir.path().join("repo");
        let arg = format!("--repo={}", path.display());
        ostree(&[&arg, "init", &format!("--mode={mode}")]);
        ostree(&[&arg, "commit", "-b", "b", tree.to_str().unwrap()]);
        let repo = Repo::new(Arc::new(open(&path).await));
        Self { dir, repo }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Returns where the object of the file at `path` lies.
    fn object(&self, path: &str) -> PathBuf {
        let arg = format!("--repo={}", self.dir.path().join("repo").display());
        let line = ostree(&[&arg, "ls", "-C", "b", path]);
        let checksum = line.split_whitespace().nth(4).unwrap();
        let prefix = self.dir.path().join("repo/objects").join(&checksum[..2]);
        let entries = fs::read_dir(prefix).unwrap().map(|entry| entry.unwrap());
        let mut found = entries.filter(|entry| {
            let name = entry.file_name();
            name.to_str().unwrap().starts_with(&checksum[2..])
        });
        found.next().unwrap().path()
    }

    async fn checkout_to(&self, to: &Path, options: &CheckoutOptions) -> Result<CheckoutReport> {
        let commit = self.repo.resolve("b").await.unwrap();
        let item = CheckoutItem::commit(commit);
        checkout(&self.repo, &item, &Destination::path(to), options).await
    }

    async fn checkout(&self, options: &CheckoutOptions) -> Result<CheckoutReport> {
        self.checkout_to(&self.out(), options).await
    }
}

fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told += &format!(": {error}");
        cause = error.source();
    }
    told
}

fn union(overwrite: Overwrite) -> CheckoutOptions {
    let mut options = CheckoutOptions::default();
    options.overwrite = overwrite;
    options
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_damaged_archive_leaves_no_file_and_keeps_what_was_there() {
    let content = String::from_utf8(vec![b'x'; 300_000]).unwrap();
    let place = Place::new(FsMode::Archive, |tree| {
        write(tree.join("file"), &content);
    })
    .await;
    let object = place.object("/file");
    let whole = fs::read(&object).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let damages = [
        whole[..whole.len() / 2].to_vec(),
        whole[..10].to_vec(),
        [&whole[..], b"more"].concat(),
        flipped(whole.len() - 20),
        flipped(9),
        flipped(20),
    ];
    for damage in damages {
        fs::write(&object, damage).unwrap();
        let error = place
            .checkout(&CheckoutOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", told(&error));
        assert!(told(&error).contains("/file"), "{}", told(&error));
        assert_eq!(fs::read_dir(place.out()).unwrap().count(), 0);

        fs::write(place.out().join("file"), "before").unwrap();
        place
            .checkout(&union(Overwrite::UnionFiles))
            .await
            .unwrap_err();
        assert_eq!(fs::read_dir(place.out()).unwrap().count(), 1);
        assert_eq!(fs::read(place.out().join("file")).unwrap(), b"before");
        fs::remove_dir_all(place.out()).unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn copies_from_a_bare_repository_are_verified() {
    let place = Place::new(FsMode::Bare, |tree| write(tree.join("file"), "right")).await;
    fs::write(place.object("/file"), "wrong").unwrap();
    let mut options = CheckoutOptions::default();
    options.mode = CheckoutMode::User;
    let error = place.checkout(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(fs::read_dir(place.out()).unwrap().count(), 0);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_missing_object_is_named_with_its_path() {
    for mode in [FsMode::Bare, FsMode::BareUser, FsMode::Archive] {
        let place = Place::new(mode, |tree| write(tree.join("dir/file"), "x")).await;
        let object = place.object("/dir/file");
        fs::remove_file(&object).unwrap();
        for checkout_mode in [CheckoutMode::Full, CheckoutMode::User] {
            let mut options = CheckoutOptions::default();
            options.mode = checkout_mode;
            let error = place.checkout(&options).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Missing);
            let told = told(&error);
            let rest = object.file_stem().unwrap().to_str().unwrap();
            assert!(told.contains("/dir/file") && told.contains(rest), "{told}");
            fs::remove_dir_all(place.out()).unwrap();
        }
    }
}

#[tokio::test]
#[cfg_attr(
    not(all(has_ostree, is_root, has_two_filesystems)),
    ignore = "needs ostree, root, and another filesystem at /dev/shm"
)]
async fn on_another_filesystem_files_are_copied_unless_links_are_required() {
    let place = Place::new(FsMode::Bare, |tree| {
        write(tree.join("file"), "x");
        symlink("file", tree.join("link")).unwrap();
    })
    .await;
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let out = elsewhere.path().join("out");
    let report = place
        .checkout_to(&out, &CheckoutOptions::default())
        .await
        .unwrap();
    assert_eq!((report.files_copied, report.files_linked), (2, 0));
    assert_eq!(fs::read(out.join("file")).unwrap(), b"x");
    for overwrite in [Overwrite::UnionFiles, Overwrite::UnionIdentical] {
        place.checkout_to(&out, &union(overwrite)).await.unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
    }
    let out = elsewhere.path().join("linked");
    let mut options = CheckoutOptions::default();
    options.sharing = Sharing::LinksOnly;
    let error = place.checkout_to(&out, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(told(&error).contains("/file"), "{}", told(&error));
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn what_is_only_in_the_parent_repository_is_found_there() {
    for parent_mode in [FsMode::Bare, FsMode::Archive] {
        let parent = Place::new(parent_mode, |tree| {
            write(tree.join("dir/file"), "x");
            write(tree.join("empty"), "");
        })
        .await;
        let commit = parent.repo.resolve("b").await.unwrap();
        let path = parent.dir.path().join("child");
        let arg = format!("--repo={}", path.display());
        ostree(&[&arg, "init", "--mode=bare"]);
        let parent_path = parent.dir.path().join("repo");
        ostree(&[
            &arg,
            "config",
            "set",
            "core.parent",
            parent_path.to_str().unwrap(),
        ]);
        let child = Repo::new(Arc::new(open(&path).await));
        let item = CheckoutItem::commit(commit);
        let to = Destination::path(parent.out());
        let report = checkout(&child, &item, &to, &CheckoutOptions::default()).await;
        let links = u64::from(parent_mode == FsMode::Bare);
        let report = report.unwrap();
        assert_eq!(
            (report.files_linked, report.files_copied),
            (links, 2 - links)
        );
        let placed = parent.out().join("dir/file");
        assert_eq!(fs::read(&placed).unwrap(), b"x");
        assert_eq!(placed.metadata().unwrap().nlink(), 1 + links);
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn only_a_whiteout_device_is_identical_to_one() {
    let place = Place::new(FsMode::BareUser, |tree| {
        write(tree.join(".ostree-wh.x"), "")
    })
    .await;
    let mut options = union(Overwrite::UnionIdentical);
    options.mode = CheckoutMode::User;
    options.passthrough_whiteouts = PassthroughWhiteouts::Process;
    place.checkout(&options).await.unwrap();
    place.checkout(&options).await.unwrap();
    let device = place.out().join("x");
    fs::remove_file(&device).unwrap();
    fs::write(&device, "").unwrap();
    let error = place.checkout(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

/// Lets the first file wait until it is told to go on.
#[derive(Debug, Default)]
struct Waiting {
    asked: AtomicUsize,
    go_on: Mutex<Go>,
    changed: Condvar,
}

#[derive(Debug, Default, PartialEq)]
enum Go {
    #[default]
    Wait,
    On,
}

impl Labels for Waiting {
    fn label(&self, path: &str, _mode: u32) -> Result<Option<Vec<u8>>> {
        if path.contains("file") {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let mut go_on = self.go_on.lock().unwrap();
            while *go_on == Go::Wait {
                go_on = self.changed.wait(go_on).unwrap();
            }
        }
        Ok(None)
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_dropped_checkout_stops_after_the_file_it_is_at() {
    let place = Place::new(FsMode::Archive, |tree| {
        for n in 0..300 {
            write(tree.join(format!("dir{}/file{n}", n % 7)), "x");
        }
    })
    .await;
    let labels = Arc::new(Waiting::default());
    let mut options = CheckoutOptions::default();
    options.labels = Some(labels.clone());
    let commit = place.repo.resolve("b").await.unwrap();
    let (repo, to) = (place.repo.clone(), Destination::path(place.out()));
    let item = CheckoutItem::commit(commit);
    let task = tokio::spawn(async move { checkout(&repo, &item, &to, &options).await });
    while labels.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    *labels.go_on.lock().unwrap() = Go::On;
    labels.changed.notify_all();
    // Once nobody else holds the hook, no worker is left.
    while Arc::strong_count(&labels) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let asked = labels.asked.load(Ordering::SeqCst);
    assert!(asked <= place.repo.pool().width(), "{asked} files");
}
