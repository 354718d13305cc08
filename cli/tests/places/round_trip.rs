//! All refs of all name spaces, from place to place and back.

use std::path::{Path, PathBuf};

use crate::addresses::sqlite;
use crate::support::run::{ostree, treeferry};
use crate::support::tree::{make_plain, write};
use crate::support::{Place, assert_c_fsck, commit};

/// Makes a repository with refs of all three name spaces, an alias, history, and detached metadata.
pub(crate) fn make_source(place: &Place) -> PathBuf {
    let repo = place.init("source", "bare-user");
    let tree = place.join("tree");
    make_plain(&tree, 3);
    commit(&repo, "os/stable", &tree);
    write(&tree, "second", b"second");
    let tree_word = format!("--tree=dir={}", tree.display());
    let words = ["commit", "-b", "os/stable", "-s", "two"];
    let detached = [
        "--add-detached-metadata-string=signed=by-nobody",
        &tree_word,
    ];
    treeferry(&repo, words.into_iter().chain(detached)).success();
    write(&tree, "third", b"third");
    commit(&repo, "os/testing", &tree);
    treeferry(&repo, ["refs", "--create=vendor:os/theirs", "os/testing"]).success();
    treeferry(
        &repo,
        ["refs", "--alias", "--create=os/current", "os/stable"],
    )
    .success();
    let mirror = "--create=org.example.Other:os/mirrored";
    treeferry(&repo, ["refs", "--collections", mirror, "os/stable"]).success();
    treeferry(&repo, ["summary", "--update"]).success();
    repo
}

/// Returns every ref of a repository and what it holds, aliases and mirrored collections included.
pub(crate) fn all_refs(repo: &Path) -> String {
    let list = |words: &[&str]| treeferry(repo, words).success().out;
    list(&["refs", "--revision"])
        + &list(&["refs", "--alias"])
        + &list(&["refs", "--collections", "--revision"])
}

/// Copies everything.
pub(crate) fn copy(from: &Path, to: &Path) {
    let words = ["copy", from.to_str().unwrap(), to.to_str().unwrap()];
    treeferry(from, words).success();
}

#[test]
fn a_repository_comes_back_from_every_place_as_it_was() {
    let place = Place::new();
    let source = make_source(&place);
    let stick = PathBuf::from(format!("usb:{}", place.join("stick").display()));
    std::fs::create_dir(place.join("stick")).unwrap();
    treeferry(&stick, ["init"]).success();
    let archive = place.init("archive", "archive");
    let file = sqlite(&place, "file.sqlite");
    let back = place.init("back", "bare-user");
    comes_back(&source, &[&archive, &file, &stick, &back]);
    assert_c_fsck(&archive);
    assert_c_fsck(&back);
}

/// Copies everything from each place to the next; nothing may be lost or changed.
pub(crate) fn comes_back(source: &Path, places: &[&Path]) {
    let refs = all_refs(source);
    for part in [
        "vendor:os/theirs",
        "os/current -> os/stable",
        "(org.example.Other, os/mirrored)",
    ] {
        assert!(refs.contains(part), "{refs}");
    }
    let mut from = source;
    for to in places {
        copy(from, to);
        assert_eq!(all_refs(to), refs);
        treeferry(to, ["fsck"]).success();
        let words = ["show", "--print-detached-metadata-key=signed", "os/stable"];
        assert_eq!(treeferry(to, words).success().trim(), "'by-nobody'");
        // Its history came along, and its summary.
        treeferry(to, ["rev-parse", "os/stable^"]).success();
        let summary = |repo: &Path| treeferry(repo, ["summary", "--raw"]).success().out;
        assert_eq!(summary(to), summary(source));
        from = to;
    }
}

#[test]
fn some_refs_are_copied_by_name_and_a_mirror_of_a_collection_is_one() {
    let place = Place::new();
    let source = make_source(&place);
    let to = sqlite(&place, "to.sqlite");
    let words = ["copy", source.to_str().unwrap(), to.to_str().unwrap()];
    let refs = ["org.example.Other:os/mirrored", "vendor:os/theirs"];
    treeferry(&to, words.into_iter().chain(refs)).success();
    let held = all_refs(&to);
    assert!(held.contains("(org.example.Other, os/mirrored)"), "{held}");
    assert!(held.contains("vendor:os/theirs"), "{held}");
    assert!(!held.contains("os/stable\t"), "{held}");
    treeferry(&to, words.into_iter().chain(["os/no"])).failure_naming(&["os/no"]);
}

#[test]
fn the_refs_of_one_collection_are_not_put_among_those_of_another() {
    let place = Place::new();
    let made = |name: &str, id: &str| {
        let repo = place.join(name);
        let id = format!("--collection-id={id}");
        treeferry(&repo, ["init", "--mode=archive", &id]).success();
        repo
    };
    let (ours, theirs) = (
        made("ours", "org.example.Ours"),
        made("theirs", "org.example.Theirs"),
    );
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    commit(&ours, "os", &tree);
    let (from, to) = (ours.to_str().unwrap(), theirs.to_str().unwrap());
    treeferry(&ours, ["copy", from, to]).failure_naming(&["org.example.Ours", "collection-id"]);
    assert_eq!(treeferry(&theirs, ["refs"]).success().out, "");
    // A new place belongs to the collection of what comes first.
    let new = sqlite(&place, "new.sqlite");
    copy(&ours, &new);
    let id = treeferry(&new, ["config", "get", "core.collection-id"]).success();
    assert_eq!(id.trim(), "org.example.Ours");
}

#[test]
fn c_pulls_what_was_copied_out_of_a_file() {
    let place = Place::new();
    let source = make_source(&place);
    let file = sqlite(&place, "file.sqlite");
    copy(&source, &file);
    let archive = place.init("archive", "archive");
    copy(&file, &archive);
    let client = place.init_c("client", "bare-user");
    ostree(
        &client,
        ["pull-local", archive.to_str().unwrap(), "os/stable"],
    )
    .success();
    assert_c_fsck(&client);
}
