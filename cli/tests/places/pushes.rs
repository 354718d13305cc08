//! A push moves refs only from what they are expected to hold.

use std::fs;

use crate::addresses::sqlite;
use crate::support::run::treeferry;
use crate::support::tree::write;
use crate::support::{Place, add_origin, assert_c_fsck, commit, rev};

#[test]
fn what_is_pushed_is_there_for_c_with_its_detached_metadata() {
    let place = Place::new();
    let (from, to) = (place.init("from", "bare-user"), place.init("to", "archive"));
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    let words = [
        "commit",
        "-b",
        "os",
        "-s",
        "s",
        "--add-detached-metadata-string=by=us",
    ];
    let tree_word = format!("--tree=dir={}", tree.display());
    let pushed = treeferry(&from, words.into_iter().chain([tree_word.as_str()])).success();
    let address = to.to_str().unwrap();
    let said = treeferry(&from, ["push", address, "os"]).success().out;
    assert!(said.contains("os (new)"), "{said}");
    assert_eq!(rev(&to, "os").unwrap(), pushed.trim());
    assert_c_fsck(&to);
    let by = treeferry(&to, ["show", "--print-detached-metadata-key=by", "os"]).success();
    assert_eq!(by.trim(), "'us'");
    let again = treeferry(&from, ["push", address]).success().out;
    assert!(again.contains("os is up to date"), "{again}");
}

#[test]
fn a_remote_is_pushed_to_by_its_name_and_gets_refs_of_its_own() {
    let place = Place::new();
    let from = place.init("from", "archive");
    let to = sqlite(&place, "to.sqlite");
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    let pushed = commit(&from, "os", &tree);
    add_origin(&from, to.to_str().unwrap());
    treeferry(&from, ["refs", "--create=other:os-mirrored", "os"]).success();
    treeferry(&from, ["push", "origin", "os", "other:os-mirrored"]).success();
    let refs = treeferry(&to, ["refs", "--revision"]).success().out;
    assert_eq!(refs, format!("os\t{pushed}\nos-mirrored\t{pushed}\n"));
    treeferry(&from, ["push", "origin", "no/such"]).failure_naming(&["no/such"]);
}

#[test]
fn a_ref_that_somebody_else_moved_is_left_alone_and_what_it_holds_is_named() {
    let place = Place::new();
    let (ours, theirs) = (
        place.init("ours", "archive"),
        place.init("theirs", "archive"),
    );
    let to = sqlite(&place, "to.sqlite");
    let address = to.to_str().unwrap();
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    let first = commit(&ours, "os", &tree);
    treeferry(&ours, ["push", "--expect=none", address, "os"]).success();
    write(&tree, "a", b"theirs");
    let other = commit(&theirs, "os", &tree);
    let expect = format!("--expect={first}");
    treeferry(&theirs, ["push", &expect, address, "os"]).success();
    write(&tree, "a", b"ours");
    commit(&ours, "os", &tree);
    for words in [["push", &expect], ["push", "--expect=none"]] {
        let words = words.into_iter().chain([address, "os"]);
        treeferry(&ours, words).failure_naming(&[&other, address, "somebody else"]);
    }
    let words = ["push", "--dry-run", &expect, address, "os"];
    treeferry(&ours, words).failure_naming(&[&other]);
    let held = treeferry(&to, ["rev-parse", "os"]).success().trim();
    assert_eq!(held, other);
    // Nothing came along with what was refused.
    let objects = treeferry(&to, ["prune", "--no-prune", "--depth=-1"])
        .success()
        .out;
    assert!(objects.contains("No unreachable objects"), "{objects}");
}

#[test]
fn the_summary_there_follows_unless_it_is_signed() {
    let place = Place::new();
    let (from, to) = (place.init("from", "archive"), place.init("to", "archive"));
    let address = to.to_str().unwrap();
    let tree = place.join("tree");
    let push = |text: &str, options: &[&str]| {
        write(&tree, "a", text.as_bytes());
        let commit = commit(&from, "os", &tree);
        let words = ["push", address, "os"].into_iter();
        let words = words.chain(options.iter().copied());
        let said = treeferry(&from, words).success().out;
        let listed = treeferry(&to, ["summary", "--view"]);
        (listed.ok() && listed.success().out.contains(&commit), said)
    };
    assert!(!push("no summary is made where there is none", &[]).0);
    assert!(push("but if asked for", &["--summary"]).0);
    assert!(push("and then kept up to date", &[]).0);
    assert!(!push("but if told not to", &["--no-summary"]).0);
    fs::write(to.join("summary.sig"), [0; 8]).unwrap();
    let (listed, said) = push("a signed one is left alone", &[]);
    assert!(!listed && said.contains("signed"), "{said}");
    assert!(to.join("summary.sig").exists());
    assert!(push("unless it is to be replaced", &["--summary"]).0);
    assert!(!to.join("summary.sig").exists());
}
