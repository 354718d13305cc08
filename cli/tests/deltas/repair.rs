//! `fsck --repair`.

use std::fs;

use crate::Versions;
use crate::support::nginx::{Manners, Nginx};
use crate::support::run::treeferry;
use crate::support::{add_origin, objects};

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn only_what_is_bad_is_fetched_and_all_is_whole_again() {
    let versions = Versions::new();
    let nginx = Nginx::start(&versions.repo, Manners::default());
    let repo = versions.place.init_unsynced("device", "bare-user");
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["pull", "--disable-static-deltas", "origin", "main"]).success();
    let all = objects(&repo);
    let of_kind = |kind: &str| {
        let mut found = all.iter().filter(|name| name.ends_with(kind));
        let large = |name: &&String| {
            let found = fs::symlink_metadata(repo.join("objects").join(name)).unwrap();
            found.is_file() && found.len() > 100
        };
        found.find(large).unwrap().clone()
    };
    let (file, tree) = (of_kind(".file"), of_kind(".dirtree"));
    let gone = all
        .iter()
        .rfind(|name| name.ends_with(".file"))
        .unwrap()
        .clone();
    for name in [&file, &tree] {
        let path = repo.join("objects").join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[50] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    if gone != file {
        fs::remove_file(repo.join("objects").join(&gone)).unwrap();
    }
    treeferry(&repo, ["fsck", "--quiet"]).failure();
    let before = nginx.requests().len();
    let told = treeferry(&repo, ["fsck", "--repair"]).success().out;
    assert!(told.contains("Repaired commit: "), "{told}");
    let requests = nginx.requests().split_off(before);
    let fetched = requests
        .iter()
        .filter(|request| request.path.contains("/objects/"));
    let mut fetched: Vec<_> = fetched
        .filter(|request| request.status == 200)
        .map(|request| request.path.clone())
        .collect();
    fetched.sort();
    fetched.dedup();
    assert!(fetched.len() <= 3, "{fetched:?}");
    treeferry(&repo, ["fsck", "--quiet"]).success();
    assert_eq!(objects(&repo), all);
}

#[test]
fn a_repair_that_no_remote_can_make_says_what_is_missing() {
    let versions = Versions::new();
    let (source, repo) = (
        versions.with_first("source", "archive"),
        versions.place.init_unsynced("device", "bare-user"),
    );
    let from = versions.repo.to_str().unwrap();
    treeferry(&repo, ["pull-local", from, "main"]).success();
    treeferry(&repo, ["fsck", "--repair"]).failure_naming(&["--remote"]);
    let lost = objects(&repo)
        .into_iter()
        .filter(|name| name.ends_with(".file"));
    let lost: Vec<_> = lost
        .filter(|name| !objects(&source).contains(&name.replace(".file", ".filez")))
        .collect();
    fs::remove_file(repo.join("objects").join(&lost[0])).unwrap();
    let remote = format!("--remote={}", source.display());
    treeferry(&repo, ["fsck", "--repair", &remote]).failure_naming(&["is not at"]);
    let remote = format!("--remote={from}");
    treeferry(&repo, ["fsck", "--repair", &remote]).success();
    treeferry(&repo, ["fsck", "--quiet"]).success();
}
