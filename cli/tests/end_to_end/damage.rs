//! Objects that rot where they lie, and repositories that are no archives.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::nginx::{Manners, Nginx};
use crate::support::run::{ostree, treeferry, treeferry_command};
use crate::support::tree::{Compare, assert_same, make_plain, set_xattr, write};
use crate::support::{Place, add_origin, assert_c_fsck, commit_c, objects, rev};

/// Flips a bit of the longest object whose name ends so; its length stays. Returns its name.
pub(crate) fn rot(repo: &Path, suffix: &str) -> String {
    let names = objects(repo)
        .into_iter()
        .filter(|name| name.ends_with(suffix));
    let length = |name: &String| fs::symlink_metadata(repo.join("objects").join(name)).unwrap();
    let name = names.max_by_key(|name| length(name).len()).unwrap();
    let path: PathBuf = repo.join("objects").join(&name);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let permissions = fs::metadata(&path).unwrap().permissions();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, permissions).unwrap();
    name
}

pub(crate) fn checksum_of(name: &str) -> String {
    name.replace('/', "").split('.').next().unwrap().to_owned()
}

fn heals(mode: &str, suffix: &str) {
    let place = Place::new();
    make_plain(&place.join("tree"), 3);
    let source = place.init_c("source", "archive");
    commit_c(&source, "main", &place.join("tree"));
    let nginx = Nginx::start(&source, Manners::default());
    let repo = place.init("repo", mode);
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["pull", "origin", "main"]).success();
    let rotten = checksum_of(&rot(&repo, suffix));
    // A pull believes what it verified before.
    treeferry(&repo, ["pull", "origin", "main"]).success();
    treeferry(&repo, ["fsck"]).failure_naming(&[&rotten]);
    assert!(!ostree(&repo, ["fsck"]).ok());
    assert!(!treeferry(&repo, ["fsck", "--delete"]).ok());
    assert!(
        !objects(&repo)
            .iter()
            .any(|name| checksum_of(name) == rotten)
    );
    treeferry(&repo, ["pull", "origin", "main"]).success();
    treeferry(&repo, ["fsck"]).success();
    assert_c_fsck(&repo);
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_file_that_rots_without_a_change_of_length_is_found_and_healed() {
    heals("bare-user", ".file");
    heals("archive", ".filez");
}

#[test]
fn a_rotten_object_comes_along_only_where_the_source_is_vouched_for() {
    // A bit of a file's content, and of a directory's group: what names others would lead astray.
    for suffix in [".file", ".dirmeta"] {
        let place = Place::new();
        make_plain(&place.join("tree"), 3);
        let source = place.init("source", "bare-user");
        let tree = place.join("tree");
        let tree = tree.to_str().unwrap();
        treeferry(&source, ["commit", "-b", "main", tree]).success();
        let rotten = checksum_of(&rot(&source, suffix));
        let from = source.to_str().unwrap();
        let pull = |name: &str, options: &[&str]| {
            let repo = place.init(name, "bare-user");
            let mut words = vec!["pull-local"];
            words.extend(options);
            words.extend([from, "main"]);
            let ran = treeferry(&repo, words);
            (repo, ran)
        };
        let (repo, ran) = pull("believes-nothing", &[]);
        ran.failure_naming(&[&rotten]);
        assert_eq!(objects(&repo), Vec::<String>::new());
        pull("nor-this", &["--untrusted"])
            .1
            .failure_naming(&[&rotten]);
        let (repo, ran) = pull("believes", &["--trusted"]);
        ran.success();
        treeferry(&repo, ["fsck"]).failure_naming(&[&rotten]);
        let (there, here) = (objects(&source), objects(&repo));
        assert_eq!(there, here);
    }
}

/// Into an archive files have to be copied: beside C, which trusts as much by default.
#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_rotten_file_is_copied_only_where_the_source_is_vouched_for() {
    let place = Place::new();
    make_plain(&place.join("tree"), 3);
    let source = place.init("source", "bare-user");
    let tree = place.join("tree");
    treeferry(&source, ["commit", "-b", "main", tree.to_str().unwrap()]).success();
    let rotten = checksum_of(&rot(&source, ".file"));
    let from = source.to_str().unwrap();
    for (option, believed) in [("--trusted", true), ("--untrusted", false)] {
        let (ours, theirs) = (
            place.init(&format!("ours{option}"), "archive"),
            place.init(&format!("theirs{option}"), "archive"),
        );
        let our = treeferry(&ours, ["pull-local", option, from, "main"]);
        let words = ["pull-local", from, "main", "--untrusted"];
        let words = &words[..if believed { 3 } else { 4 }];
        assert_eq!(ostree(&theirs, words).ok(), believed);
        if !believed {
            our.failure_naming(&[&rotten]);
            assert_eq!(objects(&ours), Vec::<String>::new());
            continue;
        }
        our.success();
        assert_eq!(objects(&ours), objects(&theirs));
        for repo in [&ours, &theirs] {
            treeferry(repo, ["fsck"]).failure_naming(&[&rotten]);
            assert!(!ostree(repo, ["fsck"]).ok());
        }
    }
    // By our own name nothing is believed that was not said to be.
    let ours = place.init("ours", "archive");
    treeferry(&ours, ["pull-local", from, "main"]).failure_naming(&[&rotten]);
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn metadata_that_rots_is_healed_by_any_pull() {
    let place = Place::new();
    make_plain(&place.join("tree"), 3);
    let source = place.init_c("source", "archive");
    commit_c(&source, "main", &place.join("tree"));
    let nginx = Nginx::start(&source, Manners::default());
    let repo = place.init("repo", "archive");
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["pull", "--commit-metadata-only", "origin", "main"]).success();
    treeferry(&repo, ["pull", "origin", "main"]).success();
    let commit = rev(&repo, "origin:main").unwrap();
    rot(&repo, ".dirtree");
    // It is only walked where it is not known to be whole.
    fs::write(repo.join(format!("state/{commit}.commitpartial")), "").unwrap();
    treeferry(&repo, ["pull", "origin", "main"]).success();
    treeferry(&repo, ["fsck"]).success();
    assert_c_fsck(&repo);
}

/// Runs our command, allowed to write what OSTree calls experimental.
fn experimental<'a>(repo: &Path, args: impl IntoIterator<Item = &'a str>) {
    let mut command = treeferry_command(repo, args);
    command.env("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn split_attributes_are_pulled_into_over_http_and_not_from() {
    let place = Place::new();
    let tree = place.join("tree");
    make_plain(&tree, 5);
    write(&tree, "with-attribute", b"content");
    set_xattr(tree.join("with-attribute"), "user.kept", b"apart");
    let source = place.init_c("source", "archive");
    let commit = commit_c(&source, "main", &tree);
    let nginx = Nginx::start(&source, Manners::default());
    let split = place.join("split");
    experimental(&split, ["init", "--mode=bare-split-xattrs"]);
    add_origin(&split, &nginx.url());
    experimental(&split, ["pull", "--mirror", "origin", "main"]);
    assert_eq!(rev(&split, "main"), Some(commit.clone()));
    assert_c_fsck(&split);
    treeferry(&split, ["fsck"]).success();
    assert!(
        objects(&split)
            .iter()
            .any(|name| name.ends_with(".file-xattrs"))
    );

    // Served like an archive it is none: a client finds the metadata, and no file.
    let served = Nginx::start(&split, Manners::default());
    let ours = place.init("ours", "bare-user");
    add_origin(&ours, &served.url());
    let refused = treeferry(&ours, ["pull", "origin", "main"]);
    refused.failure_naming(&["mode bare-split-xattrs", "pull-local", ".file"]);
    assert_eq!(rev(&ours, "origin:main"), None);
    let theirs = place.init("theirs", "bare-user");
    add_origin(&theirs, &served.url());
    assert!(!ostree(&theirs, ["pull", "origin", "main"]).ok());

    // On one machine it is a source as any other.
    let split = split.to_str().unwrap();
    for (repo, run) in [(&ours, "ours"), (&theirs, "theirs")] {
        match run {
            "ours" => _ = treeferry(repo, ["pull-local", split, "main"]).success(),
            _ => _ = ostree(repo, ["pull-local", split, "main"]).success(),
        }
        assert_eq!(rev(repo, "main"), Some(commit.clone()));
        assert_c_fsck(repo);
    }
    let out = place.join("out");
    treeferry(&ours, ["checkout", "-U", "main", out.to_str().unwrap()]).success();
    assert_same(&tree, &out, Compare::ContentOnly);
}
