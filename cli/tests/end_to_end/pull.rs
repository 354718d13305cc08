//! Pulls over HTTP, in each mode, from and to the C `ostree`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::nginx::{Manners, Nginx};
use crate::support::run::{ostree, treeferry};
use crate::support::serve::Serving;
use crate::support::tree::{Compare, assert_same, make_next, make_odd, make_plain, write};
use crate::support::{
    Place, add_origin, assert_c_fsck, commit, commit_c, object_path, objects, rev,
};

/// An archive of two versions, and the trees they were made of.
struct Source {
    place: Place,
    repo: PathBuf,
    v1: PathBuf,
    v2: PathBuf,
}

impl Source {
    /// Both versions committed by the C implementation.
    fn of_c(make: fn(&Path, u64)) -> Self {
        let place = Place::new();
        let repo = place.init_c("source", "archive");
        Self::fill(place, repo, make, commit_c)
    }

    /// Both versions committed by our own command.
    fn of_ours(make: fn(&Path, u64)) -> Self {
        let place = Place::new();
        let repo = place.init("source", "archive");
        Self::fill(place, repo, make, commit)
    }

    fn fill(
        place: Place,
        repo: PathBuf,
        make: fn(&Path, u64),
        commit: fn(&Path, &str, &Path) -> String,
    ) -> Self {
        let (v1, v2) = (place.join("v1"), place.join("v2"));
        make(&v1, 1);
        make(&v2, 1);
        make_next(&v2, 2);
        commit(&repo, "main", &v1);
        Self {
            place,
            repo,
            v1,
            v2,
        }
    }
}

/// Pulls v1, publishes and pulls v2, and has all looked at by both implementations.
fn pulls_both_versions(mode: &str, make: fn(&Path, u64), compare: Compare) {
    let source = Source::of_c(make);
    let nginx = Nginx::start(&source.repo, Manners::default());
    let repo = source.place.init("pulled", mode);
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["pull", "origin", "main"]).success();
    assert_c_fsck(&repo);
    assert_eq!(rev(&repo, "origin:main"), rev(&source.repo, "main"));
    assert_checks_out(&repo, "origin:main", &source.v1, compare);

    let first = objects(&repo);
    commit_c(&source.repo, "main", &source.v2);
    let before = nginx.requests().len();
    treeferry(&repo, ["pull", "origin", "main"]).success();
    assert_c_fsck(&repo);
    assert_eq!(rev(&repo, "origin:main"), rev(&source.repo, "main"));
    assert_checks_out(&repo, "origin:main", &source.v2, compare);

    // Only what is new was asked for.
    let asked: Vec<_> = nginx.requests().split_off(before);
    for name in &first {
        let served = name.replace(".file", ".filez");
        let again = asked.iter().find(|request| request.path.ends_with(&served));
        assert_eq!(again, None, "was there already");
    }
    treeferry(&repo, ["fsck"]).success();
}

fn assert_checks_out(repo: &Path, rev: &str, original: &Path, compare: Compare) {
    let place = Place::new();
    let mut args = vec!["checkout"];
    if compare == Compare::ContentOnly {
        args.push("-U");
    }
    let (theirs, ours) = (place.join("theirs"), place.join("ours"));
    ostree(repo, args.iter().chain(&[rev, theirs.to_str().unwrap()])).success();
    assert_same(original, &theirs, compare);
    treeferry(repo, args.iter().chain(&[rev, ours.to_str().unwrap()])).success();
    assert_same(original, &ours, compare);
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn a_bare_repository_pulls_two_versions() {
    pulls_both_versions("bare", make_odd, Compare::All);
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn an_archive_pulls_two_versions() {
    pulls_both_versions("archive", make_odd, Compare::All);
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn a_bare_user_repository_pulls_two_versions() {
    let source = Source::of_c(make_odd);
    let nginx = Nginx::start(&source.repo, Manners::default());
    let repo = source.place.init("pulled", "bare-user");
    add_origin(&repo, &nginx.url());
    for version in [&source.v1, &source.v2] {
        commit_c(&source.repo, "main", version);
        treeferry(&repo, ["pull", "origin", "main"]).success();
        assert_c_fsck(&repo);
        treeferry(&repo, ["fsck"]).success();
        // What such a repository keeps beside the files is seen in another one that takes it over.
        let other = source.place.join("other");
        ostree(&other, ["init", "--mode=archive"]).success();
        let commit = rev(&repo, "origin:main").unwrap();
        let from = repo.to_str().unwrap();
        ostree(&other, ["pull-local", from, &commit]).success();
        assert_checks_out(&other, &commit, version, Compare::All);
    }
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_bare_user_only_repository_pulls_two_versions() {
    pulls_both_versions("bare-user-only", make_canonical, Compare::ContentOnly);
}

/// A tree without anything that bare-user-only does not keep.
fn make_canonical(root: &Path, seed: u64) {
    make_plain(root, seed);
    crate::support::tree::chmod(root.join("plain/only-mine"), 0o644);
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn a_mirror_holds_the_same_bytes() {
    let source = Source::of_c(make_odd);
    commit_c(&source.repo, "main", &source.v2);
    commit_c(&source.repo, "other/branch", &source.v1);
    ostree(&source.repo, ["summary", "--update"]).success();
    let nginx = Nginx::start(&source.repo, Manners::default());
    let mirror = source.place.init("mirror", "archive");
    add_origin(&mirror, &nginx.url());
    treeferry(&mirror, ["pull", "--mirror", "--depth=-1", "origin"]).success();

    let (theirs, ours) = (objects(&source.repo), objects(&mirror));
    assert_eq!(ours, theirs);
    for name in &ours {
        let name = Path::new("objects").join(name);
        let (left, right) = (source.repo.join(&name), mirror.join(&name));
        assert_eq!(
            fs::read(left).unwrap(),
            fs::read(right).unwrap(),
            "{name:?}"
        );
    }
    for name in ["refs/heads/main", "refs/heads/other/branch", "summary"] {
        let (left, right) = (source.repo.join(name), mirror.join(name));
        assert_eq!(fs::read(left).unwrap(), fs::read(right).unwrap(), "{name}");
    }
    assert_c_fsck(&mirror);
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn ostree_pulls_what_our_command_committed() {
    let source = Source::of_ours(make_odd);
    let nginx = Nginx::start(&source.repo, Manners::default());
    let serving = Serving::start(&source.repo);
    for (name, url) in [("by-nginx", nginx.url().as_str()), ("by-us", serving.url())] {
        for mode in ["bare", "archive"] {
            let repo = source.place.init_c(&format!("{name}-{mode}"), mode);
            ostree(&repo, ["remote", "add", "--no-gpg-verify", "origin", url]).success();
            ostree(&repo, ["pull", "origin", "main"]).success();
            assert_c_fsck(&repo);
            assert_checks_out(&repo, "origin:main", &source.v1, Compare::All);
        }
    }
    commit(&source.repo, "main", &source.v2);
    for name in ["by-nginx-bare", "by-us-bare"] {
        let repo = source.place.join(name);
        ostree(&repo, ["pull", "origin", "main"]).success();
        assert_c_fsck(&repo);
        assert_checks_out(&repo, "origin:main", &source.v2, Compare::All);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_directory_of_twenty_thousand_entries_arrives() {
    let place = Place::new();
    let tree = place.join("tree");
    for at in 0..20_000 {
        // Half of them have the same content: as many names, fewer objects.
        write(
            &tree,
            format!("d/entry {at}"),
            format!("{}", at % 10_000).as_bytes(),
        );
    }
    let source = place.init_unsynced("source", "archive");
    let commit = commit(&source, "main", &tree);
    let serving = Serving::start(&source);
    let repo = place.init_unsynced("pulled", "bare-user");
    add_origin(&repo, serving.url());
    treeferry(&repo, ["pull", "origin", "main"]).success();
    assert_eq!(rev(&repo, "origin:main"), Some(commit));
    assert_c_fsck(&repo);
    let files = objects(&repo);
    let files = files.iter().filter(|name| name.ends_with(".file"));
    assert_eq!(files.count(), 10_000);
    let out = place.join("out");
    let args = ["checkout", "-U", "origin:main", out.to_str().unwrap()];
    ostree(&repo, args).success();
    assert_same(&tree, &out, Compare::ContentOnly);
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn history_comes_as_deep_as_asked() {
    let place = Place::new();
    let source = place.init_c("source", "archive");
    let commits: Vec<String> = (0..5)
        .map(|at| {
            let tree = place.join("tree");
            write(&tree, "file", format!("version {at}").as_bytes());
            commit_c(&source, "main", &tree)
        })
        .collect();
    let nginx = Nginx::start(&source, Manners::default());
    for (depth, whole) in [("0", 1), ("2", 3), ("-1", 5)] {
        let repo = place.init(&format!("depth{depth}"), "archive");
        add_origin(&repo, &nginx.url());
        let depth = format!("--depth={depth}");
        treeferry(&repo, ["pull", &depth, "origin", "main"]).success();
        assert_c_fsck(&repo);
        for (age, commit) in commits.iter().rev().enumerate() {
            let there = object_path(&repo, commit, "commit").exists();
            assert_eq!(there, age < whole, "{depth}, {age} before the newest");
        }
    }
    // What was pulled shallow is deepened by asking for more.
    let shallow = place.join("depth0");
    treeferry(&shallow, ["pull", "--depth=-1", "origin", "main"]).success();
    assert_c_fsck(&shallow);
    assert!(object_path(&shallow, &commits[0], "commit").exists());
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_part_of_a_tree_is_marked_as_a_part_and_becomes_whole() {
    let source = Source::of_c(make_plain);
    let commit = rev(&source.repo, "main").unwrap();
    let nginx = Nginx::start(&source.repo, Manners::default());
    let repo = source.place.init("part", "bare-user");
    add_origin(&repo, &nginx.url());
    let mark = repo.join(format!("state/{commit}.commitpartial"));

    treeferry(&repo, ["pull", "--commit-metadata-only", "origin", "main"]).success();
    assert!(mark.exists());
    assert_eq!(objects(&repo).len(), 1);
    assert_c_fsck(&repo);

    treeferry(&repo, ["pull", "--subpath=/plain", "origin", "main"]).success();
    assert!(mark.exists());
    let out = source.place.join("out");
    let to = out.to_str().unwrap();
    let part = ["checkout", "-U", "--subpath=/plain", "origin:main", to];
    ostree(&repo, part).success();
    assert_same(&source.v1.join("plain"), &out, Compare::ContentOnly);
    let big = nginx.requests();
    assert!(!big.iter().any(|request| request.body_bytes > 2_000_000));
    assert_c_fsck(&repo);

    treeferry(&repo, ["pull", "origin", "main"]).success();
    assert!(!mark.exists());
    assert_c_fsck(&repo);
    assert_checks_out(&repo, "origin:main", &source.v1, Compare::ContentOnly);
}

#[test]
fn the_end_of_a_branch_is_told_with_what_takes_its_place() {
    let place = Place::new();
    let source = place.init_unsynced("source", "archive");
    write(&place.join("tree"), "file", b"last");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let end = [
        "--add-metadata-string=ostree.endoflife=no more updates",
        "--add-metadata-string=ostree.endoflife-rebase=os/10",
    ];
    treeferry(&source, ["commit", "-b", "os/9", &tree, end[0], end[1]]).success();
    treeferry(&source, ["commit", "-b", "os/10", &tree]).success();
    let server = Serving::start(&source);
    let repo = place.init_unsynced("pulled", "bare-user");
    add_origin(&repo, server.url());
    // Each time, also when there is nothing new.
    for _ in 0..2 {
        let told = treeferry(&repo, ["pull", "origin", "os/9"]).success().err;
        for word in ["origin:os/9", "no more updates", "pull origin os/10"] {
            assert!(told.contains(word), "{told}");
        }
    }
    let told = treeferry(&repo, ["pull", "--json", "origin", "os/9"])
        .success()
        .out;
    assert!(told.contains(r#""rebase":"os/10""#), "{told}");
    let told = treeferry(&repo, ["pull", "origin", "os/10"]).success().err;
    assert!(!told.contains("warning"), "{told}");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_commit_that_was_deleted_on_purpose_is_told_from_one_that_is_missing() {
    let place = Place::new();
    let source = place.init_c("source", "archive");
    ostree(&source, ["config", "set", "core.tombstone-commits", "true"]).success();
    write(&place.join("tree"), "file", b"first");
    let gone = commit_c(&source, "main", &place.join("tree"));
    write(&place.join("tree"), "file", b"second");
    commit_c(&source, "main", &place.join("tree"));
    ostree(&source, ["prune", &format!("--delete-commit={gone}")]).success();
    let server = Serving::start(&source);
    let repo = place.init_unsynced("pulled", "bare-user");
    add_origin(&repo, server.url());
    let told = treeferry(&repo, ["pull", "origin", &gone]);
    told.failure_naming(&[&gone, "deleted that commit on purpose"]);
    let never = "0".repeat(64);
    let told = treeferry(&repo, ["pull", "origin", &never]).failure();
    assert!(!told.contains("on purpose"), "{told}");
    assert_eq!(objects(&repo), Vec::<String>::new());
    // What comes before the branch may be gone.
    treeferry(&repo, ["pull", "--depth=-1", "origin", "main"]).success();
    assert_c_fsck(&repo);
}
