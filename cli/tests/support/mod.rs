//! What the end-to-end tests share: running both commands, odd trees, web servers.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod chance;
pub(crate) mod forge;
pub(crate) mod nginx;
pub(crate) mod raw_server;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use run::{ostree, treeferry};

/// A temporary directory with room for repositories and trees.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a repository with our own command.
    pub(crate) fn init(&self, name: &str, mode: &str) -> PathBuf {
        let repo = self.join(name);
        treeferry(&repo, ["init", "--mode", mode]).success();
        repo
    }

    /// Makes a repository with our own command that does not sync, for what is only large.
    pub(crate) fn init_unsynced(&self, name: &str, mode: &str) -> PathBuf {
        let repo = self.init(name, mode);
        treeferry(&repo, ["config", "set", "core.fsync", "false"]).success();
        repo
    }

    /// Makes a repository with the C command. It does not sync: no test cuts its power.
    pub(crate) fn init_c(&self, name: &str, mode: &str) -> PathBuf {
        let repo = self.join(name);
        ostree(&repo, ["init", "--mode", mode]).success();
        ostree(&repo, ["config", "set", "core.fsync", "false"]).success();
        repo
    }
}

/// Commits a directory with the C command; returns the commit.
pub(crate) fn commit_c(repo: &Path, branch: &str, tree: &Path) -> String {
    let tree = format!("--tree=dir={}", tree.display());
    let branch = format!("--branch={branch}");
    ostree(repo, ["commit", "--subject=of C", &branch, &tree])
        .success()
        .trim()
}

/// Commits a directory with our own command; returns the commit.
pub(crate) fn commit(repo: &Path, branch: &str, tree: &Path) -> String {
    let tree = format!("--tree=dir={}", tree.display());
    let branch = format!("--branch={branch}");
    treeferry(repo, ["commit", "--subject=of ours", &branch, &tree])
        .success()
        .trim()
}

/// Points a repository at a remote called `origin`, without signatures.
pub(crate) fn add_origin(repo: &Path, url: &str) {
    treeferry(repo, ["remote", "add", "--no-gpg-verify", "origin", url]).success();
}

/// Asserts that the C implementation finds nothing wrong with a repository.
pub(crate) fn assert_c_fsck(repo: &Path) {
    ostree(repo, ["fsck", "--quiet"]).success();
}

/// Returns what a ref holds, by the C command; `None` if there is no such ref.
pub(crate) fn rev(repo: &Path, name: &str) -> Option<String> {
    let found = ostree(repo, ["rev-parse", name]);
    found.ok().then(|| found.success().trim())
}

/// Returns the path of each object below `objects/`, such as `ab/cdef.filez`.
pub(crate) fn objects(repo: &Path) -> Vec<String> {
    objects_below(&repo.join("objects"))
}

/// Returns the objects in staging directories: whole, and not published yet.
pub(crate) fn staged_objects(repo: &Path) -> Vec<String> {
    let Ok(tmp) = std::fs::read_dir(repo.join("tmp")) else {
        return Vec::new();
    };
    let staging = tmp.map(|entry| entry.unwrap());
    let staging = staging.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("staging-") && entry.file_type().unwrap().is_dir()
    });
    staging
        .flat_map(|entry| objects_below(&entry.path()))
        .collect()
}

/// Waits until some of a long file has come to a repository, and is written down: at least 64 KiB at a time are.
#[track_caller]
pub(crate) fn wait_for_a_part(repo: &Path) {
    wait_until(|| {
        let scratch = std::fs::read_dir(repo.join("tmp/treeferry-scratch"));
        scratch.is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                entry.file_name().to_string_lossy().ends_with(".part")
                    && entry.metadata().is_ok_and(|found| found.len() >= 64 * 1024)
            })
        })
    });
}

/// Waits for what comes to be, however slow the machine is.
#[track_caller]
pub(crate) fn wait_until(mut reached: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < late, "it does not come so far");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn objects_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for first in std::fs::read_dir(dir).unwrap() {
        let first = first.unwrap();
        let short = first.file_name().into_string().unwrap();
        if short.len() != 2 {
            continue;
        }
        for rest in std::fs::read_dir(first.path()).unwrap() {
            let rest = rest.unwrap().file_name().into_string().unwrap();
            found.push(format!("{short}/{rest}"));
        }
    }
    found.sort();
    found
}

/// Returns an object's path of a given kind.
pub(crate) fn object_of(repo: &Path, suffix: &str) -> PathBuf {
    let found = objects(repo)
        .into_iter()
        .find(|name| name.ends_with(suffix));
    let found = found.unwrap_or_else(|| panic!("{} has no {suffix}", repo.display()));
    repo.join("objects").join(found)
}

/// Returns where an object of this checksum and kind is.
pub(crate) fn object_path(repo: &Path, checksum: &str, kind: &str) -> PathBuf {
    let (first, rest) = checksum.split_at(2);
    repo.join("objects")
        .join(first)
        .join(format!("{rest}.{kind}"))
}
