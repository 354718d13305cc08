//! Trouble on this side: full and read-only disks, odd files, unknown configurations.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::support::chance::Chance;
use crate::support::run::{ostree, treeferry};
use crate::support::serve::Serving;
use crate::support::tree::{Compare, assert_same, write};
use crate::support::{Place, add_origin, assert_c_fsck, commit, commit_c, objects, rev};

/// A filesystem in memory. Dropping it unmounts it.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(at: PathBuf, options: &str) -> Self {
        fs::create_dir(&at).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        mount("tmpfs", &at, "tmpfs", MountFlags::empty(), &*options).unwrap();
        Self { at }
    }

    fn make_read_only(&self) {
        mount_remount(&self.at, MountFlags::RDONLY, "").unwrap();
    }

    fn resize(&self, size: &str) {
        mount_remount(&self.at, MountFlags::empty(), size).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

/// A repository on a disk of 8 MB that holds a first, small commit, and one that is too large.
struct Small {
    place: Place,
    disk: Mounted,
    repo: PathBuf,
    large: PathBuf,
}

impl Small {
    fn new(mode: &str) -> Self {
        let place = Place::new();
        let disk = Mounted::new(place.join("disk"), "size=8m");
        let repo = place.init("disk/repo", mode);
        write(&place.join("small"), "file", b"small");
        commit(&repo, "small", &place.join("small"));
        let large = place.join("large");
        let mut chance = Chance::new(9);
        for at in 0..40 {
            write(&large, format!("d{}/f{at}", at % 7), &chance.bytes(400_000));
        }
        Self {
            place,
            disk,
            repo,
            large,
        }
    }

    /// Asserts that all is as it was, and goes on as if nothing had been.
    fn assert_unharmed(&self) {
        assert_c_fsck(&self.repo);
        treeferry(&self.repo, ["fsck"]).success();
        assert_eq!(rev(&self.repo, "large"), None);
        let out = self.place.join("out");
        let to = out.to_str().unwrap();
        treeferry(&self.repo, ["checkout", "-U", "small", to]).success();
        assert_same(&self.place.join("small"), &out, Compare::ContentOnly);
    }
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree and root")]
fn a_commit_on_a_full_disk_changes_nothing() {
    for mode in ["bare", "archive"] {
        let small = Small::new(mode);
        let before = objects(&small.repo);
        let tree = format!("--tree=dir={}", small.large.display());
        let err = treeferry(&small.repo, ["commit", "--branch=large", &tree]).failure();
        println!("{}", err.trim());
        assert!(err.contains("space"), "{err}");
        assert_eq!(objects(&small.repo), before);
        small.assert_unharmed();
        small.disk.resize("size=80m");
        commit(&small.repo, "large", &small.large);
        assert_c_fsck(&small.repo);
    }
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree and root")]
fn a_pull_to_a_full_disk_changes_nothing() {
    for mode in ["bare-user", "archive"] {
        let small = Small::new(mode);
        let source = small.place.init_c("source", "archive");
        let large = commit_c(&source, "large", &small.large);
        let serving = Serving::start(&source);
        add_origin(&small.repo, serving.url());
        let before = objects(&small.repo);
        let err = treeferry(&small.repo, ["pull", "origin", "large"]).failure();
        println!("{}", err.trim());
        assert!(err.contains("space"), "{err}");
        assert_eq!(objects(&small.repo), before);
        assert_eq!(rev(&small.repo, "origin:large"), None);
        small.assert_unharmed();
        small.disk.resize("size=80m");
        treeferry(&small.repo, ["pull", "origin", "large"]).success();
        assert_eq!(rev(&small.repo, "origin:large"), Some(large));
        assert_c_fsck(&small.repo);
    }
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree and root")]
fn a_read_only_repository_is_read_and_not_written() {
    let small = Small::new("archive");
    let source = small.place.init_c("source", "archive");
    commit_c(&source, "large", &small.place.join("small"));
    let serving = Serving::start(&source);
    add_origin(&small.repo, serving.url());
    small.disk.make_read_only();
    let tree = format!("--tree=dir={}", small.large.display());
    let writing: [&[&str]; 7] = [
        &["commit", "--branch=large", &tree],
        &["pull", "origin", "large"],
        &["prune", "--refs-only"],
        &["refs", "--delete", "small"],
        &["reset", "small", "small"],
        &["config", "set", "core.x", "y"],
        &["summary", "--update"],
    ];
    for args in writing {
        let err = treeferry(&small.repo, args).failure();
        println!("{args:?}: {}", err.trim());
        let lower = err.to_lowercase();
        assert!(lower.contains("read-only"), "{args:?}: {err}");
    }
    treeferry(&small.repo, ["ls", "-R", "small"]).success();
    small.assert_unharmed();
}

/// Commits a tree with something in it that cannot be kept, and asserts that it is named.
fn is_not_committed(make: impl Fn(&Path)) {
    let place = Place::new();
    let tree = place.join("tree");
    write(&tree, "dir/fine", b"fine");
    make(&tree.join("dir/odd-one"));
    for mode in ["archive", "bare-user"] {
        let repo = place.init(mode, mode);
        let from = format!("--tree=dir={}", tree.display());
        let args = ["commit", "--branch=main", &from];
        let err = treeferry(&repo, args).failure_naming(&["dir/odd-one"]);
        println!("{}", err.trim());
        assert_eq!(objects(&repo), Vec::<String>::new());
        treeferry(&repo, ["rev-parse", "main"]).failure();
        treeferry(&repo, ["fsck"]).success();
    }
}

#[test]
fn a_socket_is_not_committed() {
    is_not_committed(|path| drop(UnixListener::bind(path).unwrap()));
}

#[test]
fn a_named_pipe_is_not_committed() {
    is_not_committed(|path| {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    });
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root")]
fn a_device_is_not_committed() {
    let null = rustix::fs::makedev(1, 3);
    is_not_committed(|path| {
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RWXU, null).unwrap();
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_parent_that_is_not_there_is_history_not_fetched() {
    let place = Place::new();
    write(&place.join("tree"), "file", b"x");
    let repo = place.init("repo", "archive");
    let absent = "0123456789abcdef".repeat(4);
    let parent = format!("--parent={absent}");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let args = ["commit", "--branch=main", &parent, &tree];
    treeferry(&repo, args).success();
    assert_c_fsck(&repo);
    treeferry(&repo, ["fsck"]).success();
    let log = treeferry(&repo, ["log", "main"]).success().out;
    assert!(
        log.contains(&absent) && log.contains("not fetched"),
        "{log}"
    );
    // What needs the parent itself names it.
    let from = format!("--tree=ref={absent}");
    let needing = ["commit", "--branch=next", &from];
    println!(
        "{}",
        treeferry(&repo, needing).failure_naming(&[&absent]).trim()
    );
    treeferry(&repo, ["ls", "main^"]).failure_naming(&[&absent]);
    assert_eq!(rev(&repo, "next"), None);
}

/// Changes a setting by hand, and asserts that each verb names it.
fn config_is_refused(from: &str, to: &str, words: &[&str]) {
    let place = Place::new();
    let repo = place.init("repo", "archive");
    write(&place.join("tree"), "file", b"x");
    commit(&repo, "main", &place.join("tree"));
    let before = objects(&repo);
    let path = repo.join("config");
    let good = fs::read_to_string(&path).unwrap();
    let bad = good.replace(from, to);
    assert_ne!(good, bad);
    fs::write(&path, &bad).unwrap();
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let verbs: [&[&str]; 6] = [
        &["ls", "main"],
        &["commit", "--branch=main", &tree],
        &["fsck"],
        &["prune"],
        &["pull", "origin", "main"],
        &["rev-parse", "main"],
    ];
    for args in verbs {
        let err = treeferry(&repo, args).failure_naming(words);
        println!("{}", err.trim());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    fs::write(&path, good).unwrap();
    assert_eq!(objects(&repo), before);
    treeferry(&repo, ["fsck"]).success();
}

#[test]
fn an_unknown_mode_is_named() {
    config_is_refused("mode=archive-z2", "mode=cloudy", &["cloudy"]);
}

#[test]
fn an_unknown_version_is_named() {
    config_is_refused("repo_version=1", "repo_version=7", &["repo_version", "7"]);
}

#[test]
fn a_parent_repository_that_is_not_there_is_named() {
    config_is_refused("[core]", "[core]\nparent=/no/such/repo", &["/no/such/repo"]);
}

#[test]
fn a_place_that_is_no_repository_is_named() {
    let place = Place::new();
    let nowhere = place.join("nowhere");
    for verb in [&["fsck"][..], &["refs"], &["ls", "main"], &["prune"]] {
        treeferry(&nowhere, verb).failure_naming(&["nowhere"]);
    }
    assert!(!nowhere.exists());
    let empty = place.join("empty");
    fs::create_dir(&empty).unwrap();
    treeferry(&empty, ["refs"]).failure_naming(&["empty"]);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn an_unfinished_checkout_target_is_named() {
    let place = Place::new();
    let repo = place.init("repo", "archive");
    write(&place.join("tree"), "file", b"x");
    commit(&repo, "main", &place.join("tree"));
    write(&place.join("out"), "file", b"mine");
    let out = place.join("out");
    let args = ["checkout", "-U", "main", out.to_str().unwrap()];
    ostree(&repo, args).failure();
    treeferry(&repo, args).failure_naming(&["out"]);
    assert_eq!(fs::read(out.join("file")).unwrap(), b"mine");
}
