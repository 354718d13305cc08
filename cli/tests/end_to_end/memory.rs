//! How much memory the command needs, whatever the size of the tree.

use std::path::Path;

use crate::support::chance::Chance;
use crate::support::run::Peak;
use crate::support::serve::Serving;
use crate::support::tree::write;
use crate::support::{Place, add_origin, assert_c_fsck};

const PEAK_KIB_MAX: u64 = 64 * 1024;

/// Makes a tree of so many files, of so many bytes together.
fn make_tree(root: &Path, files: u64, bytes: u64) {
    let mut chance = Chance::new(files);
    // A third of the bytes is in one file, the rest in all others.
    write(root, "one-large", &chance.bytes((bytes / 3) as usize));
    let mean = bytes * 2 / 3 / files;
    for at in 0..files {
        let len = chance.among(1..2 * mean) as usize;
        write(
            root,
            format!("d{}/sub{}/file{at}", at % 97, at % 7),
            &chance.bytes(len),
        );
    }
}

fn stays_small(files: u64, bytes: u64) {
    let place = Place::new();
    let tree = place.join("tree");
    make_tree(&tree, files, bytes);
    let from = format!("--tree=dir={}", tree.display());
    let archive = place.init_unsynced("archive", "archive");
    let bare = place.init_unsynced("bare", "bare-user");
    let commit = ["commit", "--branch=main", &from];
    within_limit("commit to an archive", &archive, &commit);
    within_limit("commit to bare-user", &bare, &commit);
    let serving = Serving::start(&archive);
    for (name, mode, verb) in [
        (
            "pull to bare-user",
            "bare-user",
            &["pull", "origin", "main"][..],
        ),
        ("pull to an archive", "archive", &["pull", "origin", "main"]),
        ("mirror", "archive", &["pull", "--mirror", "origin", "main"]),
    ] {
        let repo = place.init_unsynced(&name.replace(' ', "-"), mode);
        add_origin(&repo, serving.url());
        within_limit(name, &repo, verb);
    }
    within_limit("fsck of an archive", &archive, &["fsck"]);
    within_limit("fsck of bare-user", &bare, &["fsck"]);
    within_limit("prune", &archive, &["prune", "--refs-only"]);
    for (name, repo) in [("out-of-archive", &archive), ("out-of-bare", &bare)] {
        let to = place.join(name);
        let checkout = ["checkout", "-U", "main", to.to_str().unwrap()];
        within_limit(&format!("checkout {name}"), repo, &checkout);
    }
}

fn within_limit(what: &str, repo: &Path, args: &[&str]) {
    let (ran, peak) = Peak::treeferry(repo, args);
    ran.success();
    let peak = peak.expect("the test is ignored where it cannot be told");
    println!("{what}: {:.1} MiB", peak.kib as f64 / 1024.0);
    assert!(peak.kib < PEAK_KIB_MAX, "{what} takes {} KiB", peak.kib);
}

#[test]
#[cfg_attr(not(has_time), ignore = "needs /usr/bin/time")]
fn memory_stays_small_with_a_small_tree() {
    stays_small(800, 40_000_000);
}

#[test]
#[ignore = "takes minutes: run with --ignored"]
fn memory_stays_small_with_a_large_tree() {
    stays_small(5000, 200_000_000);
}

#[test]
#[ignore = "needs ostree, and takes minutes: run with --ignored"]
fn a_file_of_more_than_four_gib_arrives() {
    let place = Place::new();
    write(&place.join("tree"), "sparse", b"begins");
    let sparse = place.join("tree/sparse");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&sparse)
        .unwrap();
    file.set_len((1 << 32) + 4321).unwrap();
    let archive = place.init_unsynced("archive", "archive");
    let from = format!("--tree=dir={}", place.join("tree").display());
    within_limit("commit", &archive, &["commit", "--branch=main", &from]);
    let serving = Serving::start(&archive);
    let repo = place.init_unsynced("pulled", "bare-user");
    add_origin(&repo, serving.url());
    within_limit("pull", &repo, &["pull", "origin", "main"]);
    assert_c_fsck(&repo);
    assert_c_fsck(&archive);
    let out = place.join("out");
    let checkout = ["checkout", "-U", "origin:main", out.to_str().unwrap()];
    within_limit("checkout", &repo, &checkout);
    let mut cmp = std::process::Command::new("cmp");
    assert!(
        cmp.arg(&sparse)
            .arg(out.join("sparse"))
            .status()
            .unwrap()
            .success()
    );
}
