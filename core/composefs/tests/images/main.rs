//! Images, against those that `mkcomposefs` of composefs 1.0.8 makes of the same trees.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod tree;
mod trees;

use std::fs;
use std::process::Command;

use tree::{File, dump, image};

/// The digests that `mkcomposefs --from-file --print-digest` gave, at its default versions.
const DIGESTS: [(&str, &str); 10] = [
    (
        "an empty root",
        "8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682",
    ),
    (
        "each kind",
        "70d3571af23153c8885d9f9a16281ae70457d86d3cad89bf803683bf6954cae0",
    ),
    (
        "large directories",
        "95d8ec98c3b8f1644864fdf71d1be19631197ce0dacb7c2a3244f55933da6729",
    ),
    (
        "long links",
        "12e7bc6b093193a70af56df2c566bd8c32e9adb3cbd5bb09be99e1375f8e5d63",
    ),
    (
        "a deep tree",
        "d41cec428908af607a0aee19857fc3d0dc35c00c7b1b146dc7239b350e537b42",
    ),
    (
        "sizes",
        "751dd72af86e9a28689c53d2d2bb464956e4fb65e32efabf68d86b5c2b27ba0c",
    ),
    (
        "labels",
        "b56e78117aeaa571a33f17f210b95a55e98165027125e4e40f4866b62a5cd184",
    ),
    (
        "owners",
        "cf4b1b944c978c2621c90f19a314fee892af2da9f8ed8ee0159ee8030137ac92",
    ),
    (
        "attributes",
        "9d6301083cef0b13959d3fa4bf3d91186092279539e63394edce9c395d96c9aa",
    ),
    (
        "many attributes",
        "d754f94b6c95a1cbe593639620d7b52047ebed739ef485784db06aeb4135c752",
    ),
];

/// And for trees made by chance, by their seeds.
const DIGESTS_BY_CHANCE: [&str; 8] = [
    "5d0418174f3bce0ae59ec4425fcaa9344f3eb7ffa1bb536432cdab83e4971a14",
    "e19ea595fbaefb614d6589b4e29c943cf31b6393316770f5888f06ea5aa51a28",
    "5f72df7cabfb90ae49e404f3faa02417fd4bf6e8ff3ea844811a90a93938bceb",
    "4602a4d7b8301dde75bbeb2e29712c5c54b0b2ebbb039f34ff944278503af14a",
    "2a44d7848dfb0730ad75499232a49edfd24cf6057755d20854a3a76862cfdfb4",
    "7bc5152b4433176bfaab4fad28f080084bf4a96e14efcb39dbb919b42d27e77b",
    "072d537e9fe309e4d64c19c323b80eb7ef0fc42b96bd921cf31fd7707e7ae2ed",
    "0342b5d9383f1570bc0e4d65c0c0e247c491f2a33e3f82ad1e94b068ab1b408b",
];

#[test]
fn images_have_the_digests_that_mkcomposefs_gave() {
    let trees = trees::named();
    assert_eq!(trees.len(), DIGESTS.len());
    for ((name, tree), (same, digest)) in trees.iter().zip(DIGESTS) {
        assert_eq!(*name, same);
        assert_eq!(image(tree).1.to_string(), digest, "{name}");
    }
    for (seed, digest) in DIGESTS_BY_CHANCE.iter().enumerate() {
        let tree = trees::by_chance(seed as u64);
        assert_eq!(image(&tree).1.to_string(), *digest, "seed {seed}");
    }
}

#[test]
fn the_order_in_which_a_tree_is_told_does_not_count() {
    let mut tree = trees::by_chance(5);
    let (bytes, _) = image(&tree);
    // Directories must still be told before what is in them.
    tree[1..].sort_by_key(|file| {
        let depth = file.path.iter().filter(|byte| **byte == b'/').count();
        (depth, std::cmp::Reverse(file.path.clone()))
    });
    assert!(image(&tree).0 == bytes);
}

/// Has `mkcomposefs` make an image.
fn theirs(tree: &[File]) -> (Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("dump"), dir.path().join("image"));
    fs::write(&from, dump(tree)).unwrap();
    let mut command = Command::new("mkcomposefs");
    let made = command
        .args(["--from-file", "--print-digest"])
        .args([&from, &to])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let digest = String::from_utf8(made.stdout).unwrap();
    (fs::read(to).unwrap(), digest.trim().to_owned())
}

fn compare(name: &str, tree: &[File]) {
    let (ours, digest) = image(tree);
    let (theirs, their_digest) = theirs(tree);
    let at = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    assert_eq!(at, None, "{name}: the first byte that differs");
    assert_eq!(ours.len(), theirs.len(), "{name}");
    assert_eq!(digest.to_string(), their_digest, "{name}");
}

#[test]
#[cfg_attr(not(has_mkcomposefs), ignore = "mkcomposefs is not installed")]
fn images_are_those_that_mkcomposefs_makes() {
    for (name, tree) in trees::named() {
        compare(name, &tree);
    }
    let seeds = std::env::var("TREEFERRY_SEEDS").map_or(100, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        compare(&format!("seed {seed}"), &trees::by_chance(seed));
    }
}

#[test]
#[cfg_attr(
    not(has_fsck_erofs),
    ignore = "fsck.erofs (erofs-utils) is not installed"
)]
fn fsck_finds_images_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    for (name, tree) in trees::named() {
        fs::write(&path, image(&tree).0).unwrap();
        let said = Command::new("fsck.erofs").arg(&path).output().unwrap();
        assert!(said.status.success(), "{name}: {said:?}");
    }
}
