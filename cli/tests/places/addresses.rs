//! Every verb takes the same addresses.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::run::{ostree, treeferry};
use crate::support::tree::{Compare, assert_same, make_plain, write};
use crate::support::{Place, add_origin, commit};

/// Makes a repository in one SQLite file, and returns its address.
pub(crate) fn sqlite(place: &Place, name: &str) -> PathBuf {
    let address = PathBuf::from(format!("sqlite:{}", place.join(name).display()));
    treeferry(&address, ["init"]).success();
    address
}

#[test]
fn a_repository_in_one_file_is_worked_with_as_any() {
    let place = Place::new();
    let repo = sqlite(&place, "repo.sqlite");
    let tree = place.join("tree");
    make_plain(&tree, 1);
    let first = commit(&repo, "os/stable", &tree);
    write(&tree, "new", b"new");
    let second = commit(&repo, "os/stable", &tree);
    let run = |words: &[&str]| treeferry(&repo, words).success().out;
    assert_eq!(run(&["rev-parse", "os/stable"]).trim(), second);
    assert_eq!(run(&["rev-parse", "os/stable^"]).trim(), first);
    assert_eq!(run(&["cat", "os/stable", "new"]), "new");
    assert!(run(&["log", "os/stable"]).contains(&first));
    assert!(run(&["ls", "-R", "os/stable"]).contains("/plain/executable"));
    assert_eq!(run(&["diff", "os/stable"]).trim(), "A    /new");
    run(&["summary", "--update"]);
    assert!(run(&["summary", "--view"]).contains(&second));
    run(&["refs", "--create=os/old", &first]);
    assert_eq!(run(&["refs"]), "os/old\nos/stable\n");
    run(&["refs", "--delete", "os/old"]);
    assert!(run(&["prune", "--refs-only", "--depth=0"]).contains("Deleted"));
    run(&["fsck"]);
    let out = place.join("out");
    run(&["checkout", "-U", "os/stable", out.to_str().unwrap()]);
    assert_same(&out, &tree, Compare::ContentOnly);
}

#[test]
fn what_takes_a_directory_says_so() {
    let place = Place::new();
    let repo = sqlite(&place, "repo.sqlite");
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    commit(&repo, "os", &tree);
    treeferry(&repo, ["serve"]).failure_naming(&["serve takes a repository in a directory"]);
    let out = place.join("out");
    treeferry(&repo, ["checkout", "-H", "os", out.to_str().unwrap()])
        .failure_naming(&["--require-hardlinks takes a repository in a directory"]);
    let web = Path::new("http://127.0.0.1:9/repo");
    treeferry(web, ["refs"]).failure_naming(&["http://127.0.0.1:9/repo", "only be pulled"]);
    treeferry(Path::new("ftp://a/b"), ["refs"]).failure_naming(&["ftp://a/b", "expected a path"]);
    let absent = PathBuf::from(format!("sqlite:{}", place.join("absent").display()));
    treeferry(&absent, ["refs"]).failure_naming(&["there is no such file", "init"]);
    assert!(!place.join("absent").exists());
    treeferry(&absent, ["init", "--mode=bare"]).failure_naming(&["leave --mode out"]);
    assert!(!place.join("absent").exists());
}

#[test]
fn a_pull_takes_addresses_and_the_names_of_remotes() {
    let place = Place::new();
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    let from = sqlite(&place, "from.sqlite");
    let pulled = commit(&from, "os/stable", &tree);
    let to = place.init("to", "archive");
    let address = from.to_str().unwrap();
    treeferry(&to, ["pull", address, "os/stable"]).success();
    let held = treeferry(&to, ["rev-parse", "os/stable"]).success().trim();
    assert_eq!(held, pulled);
    // As a remote it keeps its refs apart, as any.
    add_origin(&to, address);
    treeferry(&to, ["pull", "origin:os/stable"]).success();
    let held = treeferry(&to, ["rev-parse", "origin:os/stable"]);
    assert_eq!(held.success().trim(), pulled);
    // Without refs: all that are its own.
    let all = place.init("all", "bare-user");
    treeferry(&all, ["pull", address]).success();
    let held = treeferry(&all, ["rev-parse", "os/stable"]).success().trim();
    assert_eq!(held, pulled);
    treeferry(&all, ["pull", address, "no/such"]).failure_naming(&["no/such"]);
    ostree(&to, ["fsck", "--quiet"]).success();
}

#[test]
fn by_the_other_name_everything_is_a_path() {
    let place = Place::new();
    let link = place.join("ostree");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_treeferry"), &link).unwrap();
    let mut command = std::process::Command::new(&link);
    let made = command.current_dir(place.path());
    let made = made.args(["--repo=sqlite:a", "init", "--mode=archive"]);
    assert!(made.status().unwrap().success());
    assert!(
        fs::metadata(place.join("sqlite:a/objects"))
            .unwrap()
            .is_dir()
    );
}
