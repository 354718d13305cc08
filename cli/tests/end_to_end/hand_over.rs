//! One repository, worked in by both implementations in turn and at once.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::nginx::{Manners, Nginx};
use crate::support::run::{Ran, ostree, ostree_command, treeferry, treeferry_command};
use crate::support::tree::{Compare, assert_same, make_next, make_odd, make_plain, write};
use crate::support::{
    Place, assert_c_fsck, commit, commit_c, object_path, objects, rev, wait_for_a_part,
};

/// What somebody wrote into a configuration by hand.
const BY_HAND: &str = "
# Why this is so: ask the builders
[core]
repo_version=1
mode=MODE
  # indented, and odd
x-unknown-key = kept as it is
tmp-expiry-secs=86400

[x-unknown group]
list=a;b;c;
\u{00fc}=\u{00e4}
";

fn comments_and_unknown(config: &Path) -> Vec<String> {
    let text = fs::read_to_string(config).unwrap();
    let kept = text
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with(['#', 'x', '\u{fc}', '[']) || line.starts_with("list"));
    kept.filter(|line| !line.starts_with("[remote"))
        .map(str::to_owned)
        .collect()
}

/// Pulls, commits, prunes, configures, checks and checks out with one of the two commands.
fn works(run: fn(&Path, &[&str]) -> Ran, repo: &Path, place: &Place, name: &str) {
    run(repo, &["pull", "origin", "main"]).success();
    let tree = format!("--tree=dir={}", place.join("v2").display());
    let branch = format!("--branch=by/{name}");
    run(repo, &["commit", "--subject=s", &branch, &tree]).success();
    // A commit that nothing holds any more, for the prune to take.
    let gone = format!("--tree=dir={}", place.join("gone").display());
    write(&place.join("gone"), "only-here", name.as_bytes());
    run(repo, &["commit", "--subject=s", "--branch=gone", &gone]).success();
    run(repo, &["refs", "--delete", "gone"]).success();
    let before = objects(repo).len();
    run(repo, &["prune", "--refs-only"]).success();
    assert!(objects(repo).len() < before);
    run(repo, &["config", "set", "core.x-of", name]).success();
    run(repo, &["summary", "--update"]).success();
    run(repo, &["fsck"]).success();
    for (rev, version) in [("origin:main", "v1"), (&*format!("by/{name}"), "v2")] {
        let out = place.join("out");
        run(repo, &["checkout", rev, out.to_str().unwrap()]).success();
        assert_same(&place.join(version), &out, Compare::All);
        fs::remove_dir_all(out).unwrap();
    }
}

fn ours(repo: &Path, args: &[&str]) -> Ran {
    treeferry(repo, args)
}

fn theirs(repo: &Path, args: &[&str]) -> Ran {
    ostree(repo, args)
}

fn is_handed_over(mode: &str) {
    let place = Place::new();
    make_odd(&place.join("v1"), 1);
    make_odd(&place.join("v2"), 1);
    make_next(&place.join("v2"), 2);
    let source = place.init_c("source", "archive");
    commit_c(&source, "main", &place.join("v1"));
    let nginx = Nginx::start(&source, Manners::default());
    let repo = place.init("repo", mode);
    let config = repo.join("config");
    let mode = if mode == "archive" {
        "archive-z2"
    } else {
        mode
    };
    fs::write(&config, BY_HAND.replace("MODE", mode)).unwrap();
    let by_hand = comments_and_unknown(&config);
    assert_eq!(by_hand.len(), 7);

    let url = nginx.url();
    ours(&repo, &["remote", "add", "--no-gpg-verify", "origin", &url]).success();
    works(ours, &repo, &place, "ours");
    let mut after = comments_and_unknown(&config);
    after.retain(|line| !line.starts_with("x-of"));
    assert_eq!(
        after, by_hand,
        "our command lost something of the configuration"
    );
    works(theirs, &repo, &place, "theirs");
    works(ours, &repo, &place, "ours-again");
    for branch in ["by/ours", "by/theirs", "by/ours-again"] {
        assert!(rev(&repo, branch).is_some(), "{branch}");
    }
    assert_c_fsck(&repo);
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn a_bare_repository_goes_from_hand_to_hand() {
    is_handed_over("bare");
}

#[test]
#[cfg_attr(
    not(all(has_nginx, has_ostree, is_root)),
    ignore = "needs nginx, ostree and root"
)]
fn an_archive_goes_from_hand_to_hand() {
    is_handed_over("archive");
}

/// A pull that takes some seconds, of a repository whose locks are waited for one second.
fn slow_pull(place: &Place) -> (Nginx, std::path::PathBuf) {
    make_plain(&place.join("tree"), 1);
    let source = place.init_c("source", "archive");
    commit_c(&source, "main", &place.join("tree"));
    let slow = Manners {
        http: "",
        location: "limit_rate 200k;",
    };
    let nginx = Nginx::start(&source, slow);
    let repo = place.init("repo", "archive");
    crate::support::add_origin(&repo, &nginx.url());
    write(&place.join("other"), "file", b"other");
    commit(&repo, "other", &place.join("other"));
    (nginx, repo)
}

fn set_lock_timeout(repo: &Path, seconds: &str) {
    ostree(repo, ["config", "set", "core.lock-timeout-secs", seconds]).success();
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_prune_of_c_waits_for_our_pull() {
    let place = Place::new();
    let (_nginx, repo) = slow_pull(&place);
    let mut pulling = treeferry_command(&repo, ["pull", "origin", "main"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // A part has come: the pull holds its lock.
    wait_for_a_part(&repo);
    set_lock_timeout(&repo, "0");
    let err = ostree(&repo, ["prune", "--refs-only"]).failure();
    assert!(err.to_lowercase().contains("lock"), "{err}");
    assert_eq!(pulling.try_wait().unwrap(), None, "it ended too early");
    set_lock_timeout(&repo, "60");
    ostree(&repo, ["prune", "--refs-only"]).success();
    // It had to wait until all was there: the commit comes last.
    let commit = rev(&place.join("source"), "main").unwrap();
    assert!(object_path(&repo, &commit, "commit").exists());
    assert!(pulling.wait().unwrap().success());
    assert!(rev(&repo, "origin:main").is_some());
    assert_c_fsck(&repo);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn our_prune_waits_for_a_commit_of_c() {
    let place = Place::new();
    let repo = place.init("repo", "archive");
    write(&place.join("other"), "file", b"other");
    commit(&repo, "other", &place.join("other"));
    // A commit of an archive that is still being written holds its lock for as long.
    let pipe = place.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let tree = format!("--tree=tar={}", pipe.display());
    let mut committing = ostree_command(&repo, ["commit", "--branch=main", &tree])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Opens once the other side does.
    let writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    set_lock_timeout(&repo, "1");
    let err = treeferry(&repo, ["prune", "--refs-only"]).failure_naming(&["locked", "repo"]);
    println!("{}", err.trim());
    // Others may work beside it.
    commit(&repo, "beside", &place.join("other"));
    let packed = Command::new("tar")
        .args(["-C", place.join("other").to_str().unwrap(), "-c", "."])
        .stdout(writer)
        .status()
        .unwrap();
    assert!(packed.success());
    assert!(committing.wait().unwrap().success());
    treeferry(&repo, ["prune", "--refs-only"]).success();
    for branch in ["main", "beside", "other"] {
        assert!(rev(&repo, branch).is_some(), "{branch}");
    }
    assert_c_fsck(&repo);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn both_commit_and_prune_at_once() {
    let place = Place::new();
    let repo = place.init_c("repo", "bare-user");
    let tree = place.join("tree");
    for at in 0..200 {
        write(
            &tree,
            format!("d{}/f{at}", at % 9),
            format!("{at}").as_bytes(),
        );
    }
    let from = format!("--tree=dir={}", tree.display());
    std::thread::scope(|scope| {
        for (name, run) in [
            ("ours", ours as fn(&Path, &[&str]) -> Ran),
            ("theirs", theirs),
        ] {
            let (repo, from) = (&repo, &from);
            scope.spawn(move || {
                for round in 0..8 {
                    let branch = format!("--branch={name}/{round}");
                    let subject = format!("--subject={name} {round}");
                    run(repo, &["commit", &subject, &branch, from]).success();
                }
            });
            scope.spawn(move || {
                for _ in 0..4 {
                    run(repo, &["prune", "--refs-only"]).success();
                }
            });
        }
    });
    assert_c_fsck(&repo);
    treeferry(&repo, ["fsck"]).success();
    for name in ["ours", "theirs"] {
        for round in 0..8 {
            let branch = format!("{name}/{round}");
            assert!(rev(&repo, &branch).is_some(), "{branch}");
        }
    }
}
