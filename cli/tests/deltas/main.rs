//! Static deltas, bundles and repair, beside the C `ostree`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod bundle;
mod formats;
mod pull;
mod repair;
mod with_c;

use std::path::{Path, PathBuf};

use support::chance::Chance;
use support::run::{ostree, treeferry};
use support::tree::{make_odd, make_plain, write};
use support::{Place, assert_c_fsck};

/// An archive with two commits of one branch, of which the second changes files in every way that
/// deltas tell apart.
pub(crate) struct Versions {
    pub(crate) place: Place,
    pub(crate) repo: PathBuf,
    pub(crate) first: String,
    pub(crate) second: String,
}

impl Versions {
    /// Of trees that need root to be written out, if this is root.
    pub(crate) fn new() -> Self {
        match cfg!(is_root) {
            true => Self::of(make_odd),
            false => Self::of(make_plain),
        }
    }

    fn of(make: fn(&Path, u64)) -> Self {
        let place = Place::new();
        let repo = place.init_unsynced("archive", "archive");
        let tree = place.join("tree");
        make(&tree, 1);
        let mut chance = Chance::new(7);
        let text: String = (0..9000)
            .map(|_| format!("{:x}\n", chance.next()))
            .collect();
        let noise = chance.bytes(400_000);
        write(&tree, "moved", text.as_bytes());
        write(&tree, "patched", &noise);
        write(&tree, "replaced", &noise[..50_000]);
        write(&tree, "lib/thing-1.2.so", &noise[100_000..300_000]);
        let first = commit(&repo, &tree);
        let (front, back) = text.split_at(60_000);
        write(&tree, "moved", [back, front].concat().as_bytes());
        let mut patched = noise.clone();
        patched.iter_mut().step_by(61).for_each(|byte| *byte ^= 5);
        patched.splice(200_000..200_000, b"inserted".iter().copied());
        write(&tree, "patched", &patched);
        write(&tree, "replaced", &chance.bytes(1_500_000));
        write(&tree, "new/file", &chance.bytes(5000));
        std::fs::remove_file(tree.join("lib/thing-1.2.so")).unwrap();
        let mut next = noise[100_000..300_000].to_vec();
        next[1000] ^= 1;
        write(&tree, "lib/thing-1.3.so", &next);
        let second = commit(&repo, &tree);
        Self {
            place,
            repo,
            first,
            second,
        }
    }

    /// Returns the name of the delta between both.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.first, self.second)
    }

    /// Makes the delta from `first` with our command and these options.
    pub(crate) fn generate(&self, options: &[&str]) {
        let mut args = vec!["static-delta", "generate", "main"];
        args.extend(options);
        treeferry(&self.repo, args).success();
    }

    /// Makes a repository that holds the first version.
    pub(crate) fn with_first(&self, name: &str, mode: &str) -> PathBuf {
        let repo = self.place.init_unsynced(name, mode);
        let source = self.repo.to_str().unwrap();
        treeferry(&repo, ["pull-local", source, &self.first]).success();
        treeferry(&repo, ["refs", "--create=main", &self.first]).success();
        repo
    }

    /// Asserts that a repository holds the second version, whole.
    pub(crate) fn assert_has_second(&self, repo: &Path) {
        let options = ["refs", "--create=second", &self.second];
        treeferry(repo, options).success();
        treeferry(repo, ["fsck", "--quiet"]).success();
        let ours = treeferry(repo, ["ls", "-R", "-C", "-X", &self.second]).success();
        let source = treeferry(&self.repo, ["ls", "-R", "-C", "-X", &self.second]).success();
        assert_eq!(ours.out, source.out);
    }

    /// Returns the directory of the delta between both.
    pub(crate) fn directory(&self) -> PathBuf {
        let name: treeferry_core::format::delta::DeltaName = self.name().parse().unwrap();
        self.repo.join(name.directory())
    }
}

fn commit(repo: &Path, tree: &Path) -> String {
    let tree = format!("--tree=dir={}", tree.display());
    let args = ["commit", "--branch=main", "--subject=version", &tree];
    treeferry(repo, args).success().trim()
}

/// Asserts that the C implementation finds the second version whole.
pub(crate) fn assert_c_has_second(versions: &Versions, repo: &Path) {
    ostree(repo, ["refs", "--create=second", &versions.second]).success();
    assert_c_fsck(repo);
}
