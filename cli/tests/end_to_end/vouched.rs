//! Mirrors whose operator vouches for the remote, beside the C `ostree`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::damage::{checksum_of, rot};
use crate::support::chance::Chance;
use crate::support::nginx::{Manners, Nginx};
use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::{ostree, treeferry, treeferry_command};
use crate::support::tree::write;
use crate::support::{Place, add_origin, commit_c, objects, rev, wait_for_a_part};

const TRUSTED: [&str; 2] = ["--mirror", "--http-trusted"];

/// An archive with files that are held in memory on their way, and one that is too long for that.
fn archive(place: &Place) -> (PathBuf, String) {
    let tree = place.join("tree");
    write(&tree, "short", b"short");
    write(&tree, "long", &Chance::new(3).bytes(400_000));
    std::os::unix::fs::symlink("short", tree.join("link")).unwrap();
    let source = place.init_c("source", "archive");
    let commit = commit_c(&source, "main", &tree);
    (source, commit)
}

fn pull<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["pull"], options, &["origin", "main"]].concat()
}

/// Cuts the longest file of a repository in half. Returns its name.
fn cut(repo: &Path) -> String {
    let length = |name: &String| fs::metadata(repo.join("objects").join(name)).unwrap().len();
    let name = objects(repo).into_iter().max_by_key(length).unwrap();
    let path = repo.join("objects").join(&name);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    name
}

/// Damages the longest file so, pulls it with all that bears on it, and compares with C.
fn is_believed_only_if_vouched_for(damage: fn(&Path) -> String) {
    let place = Place::new();
    let (source, commit) = archive(&place);
    let whole = place.join("whole");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&source, &whole])
        .status();
    assert!(copied.unwrap().success());
    let name = damage(&source);
    let bytes = fs::read(source.join("objects").join(&name)).unwrap();
    let nginx = Nginx::start(&source, Manners::default());
    let cases: [(&str, &[&str], bool); 6] = [
        ("archive", &["--mirror"], false),
        ("archive", &["--http-trusted"], false),
        ("archive", &TRUSTED, true),
        (
            "archive",
            &["--mirror", "--http-trusted", "--bareuseronly-files"],
            false,
        ),
        ("bare-user", &TRUSTED, false),
        ("bare-user-only", &TRUSTED, false),
    ];
    for (at, (mode, options, believed)) in cases.into_iter().enumerate() {
        let (ours, theirs) = (format!("ours-{at}"), format!("theirs-{at}"));
        let (ours, theirs) = (place.init(&ours, mode), place.init(&theirs, mode));
        add_origin(&ours, &nginx.url());
        add_origin(&theirs, &nginx.url());
        let our = treeferry(&ours, pull(options));
        let their = ostree(&theirs, pull(options));
        assert_eq!(their.ok(), believed, "C: {mode} {options:?}");
        if !believed {
            our.failure_naming(&[&checksum_of(&name)]);
            assert_eq!(rev(&ours, "main"), None);
            assert!(!objects(&ours).contains(&name));
            continue;
        }
        our.success();
        for repo in [&ours, &theirs] {
            assert_eq!(rev(repo, "main").as_ref(), Some(&commit));
            assert_eq!(fs::read(repo.join("objects").join(&name)).unwrap(), bytes);
            treeferry(repo, ["fsck"]).failure_naming(&[&checksum_of(&name)]);
            assert!(!ostree(repo, ["fsck"]).ok());
        }
        // Healed by a remote that has it whole: at once, or by what is deleted and pulled again.
        let good = Nginx::start(&whole, Manners::default());
        let from = format!("--remote={}", good.url());
        treeferry(&ours, ["fsck", "--repair", &from]).success();
        assert!(!treeferry(&theirs, ["fsck", "--delete"]).ok());
        let from = format!("--url={}", good.url());
        treeferry(&theirs, pull(&["--mirror", &from])).success();
        for repo in [&ours, &theirs] {
            treeferry(repo, ["fsck"]).success();
            ostree(repo, ["fsck"]).success();
        }
    }
    // By any other kind of repository nothing is believed.
    let file = place.join("file.sqlite");
    let sqlite = PathBuf::from(format!("sqlite:{}", file.display()));
    treeferry(&sqlite, ["init"]).success();
    add_origin(&sqlite, &nginx.url());
    treeferry(&sqlite, pull(&TRUSTED)).failure_naming(&[&checksum_of(&name)]);
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_file_with_a_flipped_bit_comes_along_only_into_a_mirror_that_is_to_trust() {
    is_believed_only_if_vouched_for(|repo| rot(repo, ".filez"));
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_file_that_is_short_at_the_remote_comes_along_only_into_a_mirror_that_is_to_trust() {
    is_believed_only_if_vouched_for(cut);
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn metadata_is_verified_whatever_is_vouched_for() {
    for suffix in [".commit", ".dirtree", ".dirmeta"] {
        let place = Place::new();
        let (source, _) = archive(&place);
        let name = rot(&source, suffix);
        let nginx = Nginx::start(&source, Manners::default());
        let (ours, theirs) = (
            place.init("ours", "archive"),
            place.init("theirs", "archive"),
        );
        add_origin(&ours, &nginx.url());
        add_origin(&theirs, &nginx.url());
        treeferry(&ours, pull(&TRUSTED)).failure_naming(&[&checksum_of(&name)]);
        assert!(!ostree(&theirs, pull(&TRUSTED)).ok(), "{suffix}");
        assert_eq!(rev(&ours, "main"), None);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_transfer_that_ends_early_is_never_an_object() {
    let place = Place::new();
    let (source, commit) = archive(&place);
    let server = RawServer::start(&source, |path, before| match before {
        0..3 if path.ends_with(".filez") => Answer::HalfThenClose,
        _ => Answer::File,
    });
    let repo = place.init("repo", "archive");
    add_origin(&repo, server.url());
    let impatient = ["--mirror", "--http-trusted", "--network-retries=1"];
    treeferry(&repo, pull(&impatient)).failure();
    let is_file = |name: &String| name.ends_with(".filez");
    assert!(!objects(&repo).iter().any(is_file));
    treeferry(&repo, pull(&TRUSTED)).success();
    assert_eq!(rev(&repo, "main"), Some(commit));
    treeferry(&repo, ["fsck"]).success();
}

/// So slow that the server can be stopped in between.
const SLOW: Manners<'_> = Manners {
    http: "",
    location: "limit_rate 40k;",
};

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_file_that_came_in_parts_is_verified_all_the_same() {
    let place = Place::new();
    let (source, _) = archive(&place);
    let name = rot(&source, ".filez");
    let mut nginx = Nginx::start(&source, SLOW);
    let repo = place.init("repo", "archive");
    add_origin(&repo, &nginx.url());
    let mut pulling = treeferry_command(&repo, pull(&TRUSTED)).spawn().unwrap();
    wait_for_a_part(&repo);
    assert_eq!(pulling.try_wait().unwrap(), None, "it ended too early");
    nginx.stop();
    nginx.restart(Manners::default());
    assert!(!pulling.wait().unwrap().success());
    let continued = nginx.requests().into_iter().any(|request| request.from > 0);
    assert!(continued, "it did not continue in the middle of a file");
    assert!(!objects(&repo).contains(&name));
}
