//! composefs images: mounted by the kernel, and the same whatever the repository is.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::Place;
use support::run::{Ran, treeferry};
use support::tree::{Compare, assert_same, make_odd, make_plain};

/// Mounts an image by loop device, and lays it over a repository's objects; unmounts when dropped.
struct Mounted {
    metadata: PathBuf,
    root: PathBuf,
}

fn mount(args: &[&str]) {
    Ran::of(Command::new("mount").args(args)).success();
}

impl Mounted {
    fn new(place: &Place, image: &Path, repo: &Path) -> Self {
        let this = Self {
            metadata: place.join("metadata"),
            root: place.join("mounted"),
        };
        for dir in [&this.metadata, &this.root] {
            fs::create_dir_all(dir).unwrap();
        }
        let metadata = this.metadata.to_str().unwrap();
        mount(&[
            "-t",
            "erofs",
            "-o",
            "loop,ro",
            image.to_str().unwrap(),
            metadata,
        ]);
        // As early boot does on kernels that know no layers of data: these show below the root, and only what
        // the image covers there does not.
        let objects = repo.join("objects");
        let layers = format!("lowerdir={metadata}:{}", objects.display());
        let options = format!("ro,metacopy=on,redirect_dir=on,{layers}");
        mount(&[
            "-t",
            "overlay",
            "-o",
            &options,
            "overlay",
            this.root.to_str().unwrap(),
        ]);
        this
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for at in [&self.root, &self.metadata] {
            let _ = Command::new("umount").arg(at).status();
        }
    }
}

/// Makes a tree that has what an image would add.
fn tree(place: &Place, make: impl Fn(&Path, u64)) -> PathBuf {
    let tree = place.join("tree");
    make(&tree, 11);
    for dir in ["usr", "etc", "boot", "var", "sysroot"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    tree
}

fn commit(repo: &Path, tree: &Path) -> String {
    let tree = format!("--tree=dir={}", tree.display());
    let args = [
        "commit",
        "--branch=b",
        "--timestamp=@1",
        "--generate-composefs-metadata",
        &tree,
    ];
    treeferry(repo, args).success().trim()
}

#[test]
#[cfg_attr(
    not(has_erofs),
    ignore = "needs root, loop devices, erofs and overlayfs"
)]
fn an_image_over_the_objects_shows_the_tree() {
    for mode in ["bare", "bare-user"] {
        let place = Place::new();
        let repo = place.init_unsynced("repo", mode);
        let tree = tree(&place, make_odd);
        commit(&repo, &tree);
        let image = place.join("image");
        for option in ["--composefs", "--composefs-noverity"] {
            treeferry(&repo, ["checkout", option, "b", image.to_str().unwrap()]).success();
            let mounted = Mounted::new(&place, &image, &repo);
            assert_same(&tree, &mounted.root, Compare::All);
        }
    }
}

#[test]
fn images_and_digests_are_the_same_whatever_the_repository_is() {
    let place = Place::new();
    let tree = tree(&place, make_plain);
    let sqlite = PathBuf::from(format!("sqlite:{}", place.join("sqlite").display()));
    treeferry(&sqlite, ["init"]).success();
    let repos = [
        place.init_unsynced("archive", "archive"),
        place.init_unsynced("bare-user", "bare-user"),
        sqlite,
    ];
    let found = repos.map(|repo| {
        let commit = commit(&repo, &tree);
        let images = ["--composefs", "--composefs-noverity"].map(|option| {
            let image = place.join("image");
            treeferry(&repo, ["checkout", option, "b", image.to_str().unwrap()]).success();
            fs::read(image).unwrap()
        });
        (commit, images)
    });
    // The digest of the image is in the commit.
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(found[0].1[0].len() > found[0].1[1].len());
}

#[test]
fn what_an_image_cannot_be_asked_for_is_refused() {
    let place = Place::new();
    let repo = place.init_unsynced("repo", "bare-user");
    commit(&repo, &tree(&place, make_plain));
    let to = place.join("image");
    for option in ["-H", "-C", "-U", "--union", "--subpath=/usr", "--whiteouts"] {
        let args = ["checkout", "--composefs", option, "b", to.to_str().unwrap()];
        treeferry(&repo, args).failure_naming(&["incompatible with --composefs"]);
        assert!(!to.exists());
    }
}
